"""Pictures for the page: each shrunk, encoded and embedded once, however many pairs show it, and all within the room
that the page has for them."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from ..errors import ChangedError, InputError

OpenImage = Callable[[Path, str], Image.Image]
"""The pixels of a picture, by run folder and name."""

Progress = Callable[[str, int, int], None]

FORMS = ((512, 80), (384, 75), (256, 75), (256, 60), (192, 60), (160, 45), (128, 40), (96, 30))
"""Longest side in pixels and WebP's quality, the best first: the first with which all pictures fit is taken."""

LARGE = 60_000
"""Bytes that a picture of the first form hardly ever exceeds."""

SAMPLE = 24
"""How many pictures tell how large all of them would be."""

URL = "data:image/webp;base64,"


class Embedded(NamedTuple):
    """`urls` are what the page embeds, `places` where each picture wanted is among them, None for one that is not."""

    urls: list[str]
    places: list[int | None]
    unreadable: int
    no_room: int
    changed: list[str]


def embed(wanted: Sequence[tuple[Path, str]], open_image: OpenImage, room: int, tell: Progress) -> Embedded:
    """The pictures wanted, in at most `room` characters. Those that cannot be opened, or for which there is no room,
    are counted; `changed` names the run folders whose pictures are not those that a model was asked about."""

    def opened(one: tuple[Path, str]) -> Image.Image | InputError:
        try:
            return open_image(*one)
        except InputError as fault:
            return fault

    def encoded(one: tuple[Path, str], side: int, quality: int) -> str | InputError:
        found = opened(one)
        return found if isinstance(found, InputError) else as_webp(found, side, quality)

    form = FORMS[0]
    if len(wanted) * LARGE > room:
        some = map(opened, wanted[:: -(-len(wanted) // SAMPLE)])
        tried = [image for image in some if not isinstance(image, InputError)]
        form = _fitting(tried, room * len(tried) / len(wanted))
    urls: dict[str, int] = {}
    places: list[int | None] = []
    faults: list[InputError] = []
    no_room = 0
    changed: dict[str, None] = {}
    with ThreadPoolExecutor() as pool:  # Pillow decodes and encodes outside of Python's lock
        made = pool.map(partial(encoded, side=form[0], quality=form[1]), wanted)
        for done, ((folder, _), found) in enumerate(zip(wanted, made, strict=True), start=1):
            tell("pictures", done, len(wanted))
            place = None
            if isinstance(found, InputError):
                faults.append(found)
                changed |= {str(folder): None} if isinstance(found, ChangedError) else {}
            elif found in urls or len(found) <= room:
                room -= 0 if found in urls else len(found)
                place = urls.setdefault(found, len(urls))
            else:
                no_room += 1
            places.append(place)
    return Embedded(list(urls), places, len(faults), no_room, list(changed))


def _fitting(tried: Sequence[Image.Image], room: float) -> tuple[int, int]:
    """The first form in which these take no more room, with a tenth to spare; else the last."""
    return next((form for form in FORMS if 1.1 * sum(len(as_webp(one, *form)) for one in tried) <= room), FORMS[-1])


def as_webp(image: Image.Image, side: int, quality: int) -> str:
    """A `data:` URL of the image as WebP, at most `side` pixels long."""
    small = image.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.HAMMING, reducing_gap=1.5)
    buffer = io.BytesIO()
    small.save(buffer, format="WEBP", quality=quality, method=2)
    return URL + base64.b64encode(buffer.getvalue()).decode()
