"""Pictures as PNG or JPEG: encoded once, off the event loop, and shared by every request of the process.

Several queries on one image, retries, and judges that look at it all use the same bytes. The least recently used are
dropped beyond a budget. Base64 is made anew for every call: that takes 0.05 ms, and keeping it a third more memory.
"""

from __future__ import annotations

import asyncio
import base64
import io
import threading
from collections import OrderedDict
from collections.abc import Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cache, partial
from typing import NamedTuple

from PIL import Image

from ..images import as_png
from ..records import Picture

BUDGET = 150_000_000
"""Bytes of encoded pictures that are kept: 1,800 of 80 KB. A whole evaluation with them then stays below 500 MB."""


class Encoding(NamedTuple):
    """How pictures are sent: longest side in pixels (None leaves them as they are), JPEG quality (None is PNG)."""

    max_side: int | None = None
    jpeg_quality: int | None = None

    @property
    def format(self) -> str:
        return "png" if self.jpeg_quality is None else f"jpeg:{self.jpeg_quality}"

    def size(self, width: int, height: int) -> tuple[int, int]:
        """The size a picture is sent in, its proportions kept; never enlarged."""
        longest = max(width, height)
        if self.max_side is None or longest <= self.max_side:
            return width, height
        scale = self.max_side / longest
        return max(1, round(width * scale)), max(1, round(height * scale))

    def encoded(self, image: Image.Image) -> bytes:
        """The picture as a file's bytes."""
        size = self.size(*image.size)
        if size != image.size:
            image = image.resize(size, Image.Resampling.LANCZOS)
        if self.jpeg_quality is None:
            return as_png(image)
        buffer = io.BytesIO()
        image.save(buffer, format="JPEG", quality=self.jpeg_quality)
        return buffer.getvalue()

    def data_url(self, encoded: bytes) -> bytes:
        """A file's bytes as the address that stands in a request."""
        kind = b"png" if self.jpeg_quality is None else b"jpeg"
        return b"data:image/" + kind + b";base64," + base64.b64encode(encoded)


class EncodedPictures:
    """Encoded pictures by name, origin and encoding. May be used from several threads and event loops."""

    def __init__(self, budget: int = BUDGET) -> None:
        self.budget, self.held = budget, 0
        self._files: OrderedDict[Hashable, Future[bytes]] = OrderedDict()
        self._lock = threading.RLock()

    async def url(self, picture: Picture, encoding: Encoding) -> bytes:
        """The picture's data URL. Raises whatever opening it raises, to everyone who waits; it is then not kept."""
        key = (picture.name, origin(picture), encoding)
        with self._lock:
            future = self._files.get(key)
            if future is None:
                future = self._files[key] = _workers().submit(lambda: encoding.encoded(picture.open()))
                future.add_done_callback(partial(self._settle, key))
            else:
                self._files.move_to_end(key)
        if not future.done():
            loop, ready = asyncio.get_running_loop(), asyncio.Event()

            def ring(_: Future[bytes]) -> None:
                with suppress(RuntimeError):  # the loop has been closed meanwhile
                    loop.call_soon_threadsafe(ready.set)

            future.add_done_callback(ring)
            await ready.wait()
        return encoding.data_url(future.result())

    def _settle(self, key: Hashable, future: Future[bytes]) -> None:
        """Count a picture that is now encoded, forget one that cannot be, and keep to the budget."""
        with self._lock:
            if future.cancelled() or future.exception() is not None:
                self._files.pop(key, None)
                return
            self.held += len(future.result())
            if self.held > self.budget:
                for oldest, file in list(self._files.items()):
                    if self.held > self.budget and file.done():
                        self.held -= len(self._files.pop(oldest).result())


def origin(picture: Picture) -> Hashable:
    """What tells pictures of one name apart: benchmarks open theirs by `partial(open_image, name)`."""
    opener = picture.open
    return (opener.func, opener.args) if isinstance(opener, partial) else opener


@cache
def _workers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=4, thread_name_prefix="pictures")


SHARED = EncodedPictures()
"""The process's pictures."""
