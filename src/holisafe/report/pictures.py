"""Images for the page: each shrunk, encoded and embedded once, however many pairs show it."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable

from PIL import Image

from ..errors import ChangedError, InputError
from ..images import pixel_hash

LONGEST_SIDE = 256
"""Pixels; a larger image is shrunk to this before it is embedded."""


class Pictures:
    """Collects images by their pixels. `urls` is what the page embeds; `add` gives an image's place in it."""

    def __init__(self) -> None:
        self.urls: list[str] = []
        self.unreadable = 0
        self.changed: set[str] = set()
        self._by_pixels: dict[str, int] = {}
        self._by_name: dict[tuple[str, str], int | None] = {}

    def add(self, source: str, name: str, opener: Callable[[], Image.Image]) -> int | None:
        """The place of image `name` of `source`. An image that cannot be opened gives None and is counted.

        `changed` names the sources whose images are not those that a model was asked about.
        """
        if (source, name) not in self._by_name:
            try:
                self._by_name[source, name] = self._embed(opener())
            except InputError as fault:
                self.unreadable += 1
                if isinstance(fault, ChangedError):
                    self.changed.add(source)
                self._by_name[source, name] = None
        return self._by_name[source, name]

    def _embed(self, image: Image.Image) -> int:
        pixels = pixel_hash(image)
        if pixels not in self._by_pixels:
            self._by_pixels[pixels] = len(self.urls)
            self.urls.append(as_webp_url(image))
        return self._by_pixels[pixels]


def as_webp_url(image: Image.Image) -> str:
    """A `data:` URL of the image as WebP, at most `LONGEST_SIDE` pixels long."""
    small = image.convert("RGB")
    small.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, format="WEBP", quality=82, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
