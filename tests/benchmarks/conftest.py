"""What tests of readers share: tiny pictures under the names that a release gives them."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from PIL import Image

Draw = Callable[[Path, Iterable[str]], None]


@pytest.fixture(scope="session")
def draw() -> Draw:
    """Writes a 4 x 3 PNG for each name, a path under the folder; whatever its suffix says, as releases do too."""
    buffer = io.BytesIO()
    Image.new("RGB", (4, 3), (200, 120, 40)).save(buffer, format="PNG")

    def write(folder: Path, names: Iterable[str]) -> None:
        for name in names:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(buffer.getvalue())

    return write
