"""Pictures as files to send, made once, off the event loop, and shared by every request of the process.

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

from ..image_bytes import plain
from ..images import as_png, orientation
from ..records import Picture

BUDGET = 150_000_000
"""Bytes of encoded pictures that are kept: 1,800 of 80 KB. A whole evaluation with them then stays below 500 MB."""


class Encoded(NamedTuple):
    """A picture as it is sent: what kind of file it is, and the file's bytes."""

    kind: str
    data: bytes

    def url(self) -> bytes:
        """The address that stands in a request."""
        return b"data:image/" + self.kind.encode() + b";base64," + base64.b64encode(self.data)


class Encoding(NamedTuple):
    """How pictures are sent: longest side in pixels (None leaves them as they are), JPEG quality (None is lossless).

    `own`: a file that says the same to every decoder (JPEG, PNG or WebP, upright, without transparency, small enough)
    is sent as it is, without its metadata; all others, and without `own` all, as PNG.
    """

    max_side: int | None = None
    jpeg_quality: int | None = None
    own: bool = True

    @property
    def format(self) -> str:
        return f"jpeg:{self.jpeg_quality}" if self.jpeg_quality is not None else "own" if self.own else "png"

    def size(self, width: int, height: int) -> tuple[int, int]:
        """The size a picture is sent in, its proportions kept; never enlarged."""
        longest = max(width, height)
        if self.max_side is None or longest <= self.max_side:
            return width, height
        scale = self.max_side / longest
        return max(1, round(width * scale)), max(1, round(height * scale))

    def sent_size(self, picture: Picture) -> tuple[int, int]:
        """The size in which a picture is sent; it is decoded only where its file's header does not tell."""
        own = picture.file()
        form = None if own is None else plain(own)
        if form is None:
            return self.size(*picture.open().size)
        return self.size(*(form.size if orientation(form.exif) < 5 else form.size[::-1]))

    def encoded(self, picture: Picture) -> Encoded:
        """The picture as it is sent. Raises whatever opening it raises."""
        own = picture.file() if self.own and self.jpeg_quality is None else None
        if own is not None:
            form = plain(own)
            if form and form.direct and self.size(*form.size) == form.size and orientation(form.exif) == 1:
                return Encoded(form.kind, form.data)
        image = picture.open()
        size = self.size(*image.size)
        if size != image.size:
            image = image.resize(size, Image.Resampling.LANCZOS)
        if self.jpeg_quality is None:
            return Encoded("png", as_png(image))
        buffer = io.BytesIO()
        image.save(buffer, format="JPEG", quality=self.jpeg_quality)
        return Encoded("jpeg", buffer.getvalue())


class EncodedPictures:
    """Encoded pictures by name, origin and encoding. May be used from several threads and event loops."""

    def __init__(self, budget: int = BUDGET) -> None:
        self.budget, self.held = budget, 0
        self._files: OrderedDict[Hashable, Future[Encoded]] = OrderedDict()
        self._lock = threading.RLock()

    async def url(self, picture: Picture, encoding: Encoding) -> bytes:
        """The picture's data URL. Raises whatever opening it raises, to everyone who waits; it is then not kept."""
        key = (picture.name, origin(picture), encoding)
        with self._lock:
            future = self._files.get(key)
            if future is None:
                future = self._files[key] = _workers().submit(lambda: encoding.encoded(picture))
                future.add_done_callback(partial(self._settle, key))
            else:
                self._files.move_to_end(key)
        if not future.done():
            loop, ready = asyncio.get_running_loop(), asyncio.Event()

            def ring(_: Future[Encoded]) -> None:
                with suppress(RuntimeError):  # the loop has been closed meanwhile
                    loop.call_soon_threadsafe(ready.set)

            future.add_done_callback(ring)
            await ready.wait()
        return future.result().url()

    def _settle(self, key: Hashable, future: Future[Encoded]) -> None:
        """Count a picture that is now encoded, forget one that cannot be, and keep to the budget."""
        with self._lock:
            if future.cancelled() or future.exception() is not None:
                self._files.pop(key, None)
                return
            self.held += len(future.result().data)
            if self.held > self.budget:
                for oldest, file in list(self._files.items()):
                    if self.held > self.budget and file.done():
                        self.held -= len(self._files.pop(oldest).result().data)


def origin(picture: Picture) -> Hashable:
    """What tells pictures of one name apart: benchmarks open theirs by `partial(open_image, name)`."""
    opener = picture.open
    return (opener.func, opener.args) if isinstance(opener, partial) else opener


@cache
def _workers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=4, thread_name_prefix="pictures")


SHARED = EncodedPictures()
"""The process's pictures."""
