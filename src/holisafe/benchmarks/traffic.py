"""What a gateway logged in a day, as samples: `holisafe judge` and `holisafe report` open their pictures through this.

The folder is the run itself: `manifest.json`, `samples.jsonl` and, where they were kept, `pictures/`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..errors import InputError
from ..images import open_image, stored
from ..journal import read_json, read_lines
from ..records import Sample, from_line
from ..registry import benchmarks
from .base import Benchmark


@dataclass(frozen=True, repr=False)
class Traffic(Benchmark):
    """Traffic grows while it is judged: what identifies it is the folder's own mark, not what is in it so far."""

    mark: str = ""

    def content_hash(self, progress: object = None) -> str:
        return self.mark


@benchmarks.register(
    "traffic",
    summary="What `holisafe serve --log` kept of a day's requests",
    size="any",
    licence="yours",
    access="--root FOLDER, a day's folder of the log",
)
def load(root: Path | None) -> Benchmark:
    """Raises InputError for a folder that no gateway wrote."""
    if root is None or not (root / "manifest.json").is_file():
        raise InputError("give a day's folder of a gateway's log with --root", where=root)
    manifest = read_json(root / "manifest.json")
    told = manifest.get("benchmark") if isinstance(manifest, dict) else None
    if not isinstance(told, dict) or told.get("reader") != "traffic" or not isinstance(told.get("content_hash"), str):
        raise InputError("no gateway wrote this", where=root / "manifest.json", field="benchmark")
    path = root / "samples.jsonl"
    samples = {one.id: one for row, line in read_lines(path) for one in [from_line(Sample, line, path, row)]}
    return Traffic(
        "traffic",
        tuple(samples.values()),
        lambda name: open_image(stored(root, name).path),
        partial(stored, root),
        mark=told["content_hash"],
    )
