"""The images in a folder, and what else is there."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from PIL.Image import Image

from .images import FOLLOW_VARIABLE, not_led_out, open_image

SUFFIXES = (".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff")
MODERN = (".avif", ".avifs", ".heic", ".heif", ".hif")
"""What is taken for an image in a folder, in any case."""


class Found(NamedTuple):
    """Each image's path and how it is opened, by path, and how many other entries were left out, by what they are."""

    images: dict[Path, Callable[[], Image]]
    left_out: Counter[str]


def image_files(folder: Path) -> Found:
    """The images anywhere below a folder. Opening one raises InputError where a link leads out of the folder.

    Folders that are links are gone into with `--follow-links`, each once.
    """
    paths: list[Path] = []
    left_out: Counter[str] = Counter()
    seen: set[Path] = set()
    following = os.environ.get(FOLLOW_VARIABLE) == "1"
    for place, folders, files in os.walk(folder, followlinks=following):
        real = Path(place).resolve()
        if real in seen:  # links in a circle
            folders.clear()
            continue
        seen.add(real)
        for name in files:
            path = Path(place, name)
            if path.suffix.lower() in (*SUFFIXES, *MODERN):
                paths.append(path)
            else:
                left_out[path.suffix.lower() or "without an ending"] += 1
        if not following:
            left_out["linked folders (--follow-links)"] += sum(Path(place, name).is_symlink() for name in folders)
    return Found({path: partial(_open_below, folder, path) for path in sorted(paths)}, +left_out)


def _open_below(folder: Path, path: Path) -> Image:
    return open_image(not_led_out(folder, path))


def shown_name(path: Path | str) -> str:
    """A path as text that any file can hold: bytes in it that are not UTF-8 are written as \\x and their number."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
