"""A reader of pictures that knows one of them: what is done with what is read is tested here, reading in tests/real."""

from __future__ import annotations

import pytest
from PIL import Image

from holisafe import read_pictures
from holisafe.images import pixel_hash

WRITTEN, BLANK = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "white")
SAYS = "METHODS TO OPEN"


def scripted(monkeypatch: pytest.MonkeyPatch, says: str = SAYS) -> list[str]:
    """From now on tesseract is the only reader, and reads `says` in a red picture; what it was shown."""
    shown: list[str] = []

    def read(image: Image.Image) -> str:
        shown.append(pixel_hash(image))
        return says if image.getpixel((0, 0)) == (255, 0, 0) else ""

    monkeypatch.setitem(read_pictures.READERS, "tesseract", read)
    monkeypatch.setattr("holisafe.read_pictures.shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr("holisafe.read_pictures.find_spec", lambda name: None)
    return shown
