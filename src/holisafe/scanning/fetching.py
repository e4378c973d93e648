"""Units fetched ahead of the guard: read, hashed, decoded and looked at in threads, given out in their order.

Pillow decodes outside of Python's lock, so threads are enough. What is held ahead is bounded: a few units, each with
its file's bytes and no more than `KEPT` pixels; a larger picture is decoded again when the guard takes it.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from PIL import Image

from ..errors import InputError
from ..images import decode_image
from ..near_duplicates import image_hash
from .sources import Source
from .units import Unit

AHEAD = 32
"""Units that are fetched before the guard asks for them."""

KEPT = 4_000_000
"""Pixels of a picture up to which they wait decoded."""


@dataclass
class Fetched:
    """A unit with what was found. `content` is None where no bytes were read, `fault` tells why it cannot be shown.
    A copy of what was given out before is not decoded."""

    unit: Unit
    content: str | None = None
    data: bytes = b""
    image: Image.Image | None = None
    size: tuple[int, int] | None = None
    looks: bytes | None = None
    fault: str | None = None

    def open(self) -> Image.Image:
        return self.image if self.image is not None else decode_image(self.data)


def fetch(unit: Unit, source: Source, with_text: bool, known: Callable[[str], bool]) -> Fetched:
    """Read and decode one unit; whatever is wrong with it is its fault. What is `known` is not decoded."""
    try:
        data = source.read(unit)
    except InputError as fault:
        return Fetched(unit, fault=fault.problem)
    found = Fetched(unit, content_hash(data, unit.text if with_text else ""), data)
    if not known(str(found.content)):
        look_at(found)
    return found


def look_at(found: Fetched) -> None:
    """Decode what was read, and note what it looks like."""
    try:
        image = decode_image(found.data)
    except InputError as fault:
        found.fault = fault.problem
        return
    bits, colours = image_hash(image)
    found.size, found.looks = image.size, bits.tobytes() + colours.tobytes()
    found.image = image if image.width * image.height <= KEPT else None


def content_hash(data: bytes, text: str) -> str:
    """What identifies all that the guard sees: the picture's file, byte by byte, and its text. 32 hexadecimal digits
    of SHA-256."""
    found = hashlib.sha256(data)
    if text:
        found.update(b"\0" + text.encode("utf-8", "backslashreplace"))
    return found.hexdigest()[:32]


def fetched_ahead(units: Iterable[Unit], fetch_one: Callable[[Unit], Fetched], workers: int) -> Iterator[Fetched]:
    """Units fetched in their order by so many threads, at most `AHEAD` before they are asked for."""
    coming: deque[Future[Fetched]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="holisafe-fetch")
    try:
        for unit in units:
            coming.append(pool.submit(fetch_one, unit))
            if len(coming) >= AHEAD:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
