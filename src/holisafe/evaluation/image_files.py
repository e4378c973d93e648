"""The images in a folder."""

from __future__ import annotations

from pathlib import Path

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
"""What is taken for an image in a folder, in any case."""


def image_files(folder: Path) -> list[Path]:
    """The images anywhere below a folder, by path; links that lead out of it are left aside."""
    home = folder.resolve()
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file() and path.resolve().is_relative_to(home)
    )
