"""A guard that anyone can work out by hand: a picture is unsafe when it is bright, a text when it says so.

`bright/LOG,delay=SECONDS,fail=FILE,pairs=yes` writes the id of what it reads to LOG, a line each. While FILE is there,
every third call fails, as one to a server may. With `pairs` it sees texts: "unsafe" in one is enough.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from holisafe.guards.base import CALL_FAILED, Item, Kind, Reading, reading, unreadable
from holisafe.guards.policy import Policy
from holisafe.registry import guards

BATCH = 8


def brightness(image: Image.Image) -> float:
    """0 to 1, never quite either."""
    return (float(np.asarray(image.convert("RGB"), dtype=np.float64).mean()) + 1) / 257


@dataclass
class BrightGuard:
    log: Path | None = None
    delay: float = 0.0
    fail: Path | None = None
    takes: frozenset[Kind] = frozenset({"image"})
    name: str = "bright"
    version: str = "1"
    taxonomy: None = None
    decides: str = "brighter than half"
    note: str = "It sees how bright a picture is."

    def read(self, items: Iterable[Item]) -> Iterator[Reading]:
        remaining = iter(items)
        while batch := list(islice(remaining, BATCH)):
            for item in batch:
                time.sleep(self.delay)
                if self.log is not None:
                    with self.log.open("ab", buffering=0) as file:
                        file.write(f"{item.id}\n".encode())
                share = brightness(item.pictures[0].open())
                if self.fail is not None and self.fail.exists() and int(share * 1000) % 3 == 0:
                    yield unreadable(item, f"{CALL_FAILED}no luck")
                    continue
                unsafe = share > 0.5 or ("pair" in self.takes and "unsafe" in item.text)
                scores = {"bright": share, "dark": 1 - share}
                yield reading(self, item, unsafe, ["bright"] if unsafe else [], score=share, scores=scores)


@guards.register("bright", summary="bright pictures")
def load(name: str, options: Mapping[str, str], policy: Policy | None) -> BrightGuard:
    return BrightGuard(
        Path(name) if name != "-" else None,
        float(options.get("delay", 0)),
        Path(options["fail"]) if "fail" in options else None,
        frozenset({"image", "pair"} if "pairs" in options else {"image"}),
    )


def environment(folder: Path) -> dict[str, str]:
    """That of a process in which this guard is installed, its entry point in `folder`."""
    info = folder / "bright-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bright\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[holisafe.guards]\nbright = bright_guard\n")
    path = [str(folder), str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path), "COLUMNS": "120"}


def paint(path: Path, seed: int, side: int = 24) -> Path:
    """A picture of a brightness and a texture of its own."""
    draw = np.random.default_rng(seed)
    pixels = draw.integers(0, 60, (side, side, 3)) + draw.integers(0, 196)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path
