from __future__ import annotations

import base64
import io
import random
from pathlib import Path

import pytest
from PIL import Image

from holisafe.errors import ChangedError, InputError
from holisafe.report.pictures import FORMS, URL, Embedded, embed

RUN, AGAIN = Path("one"), Path("two")


def embedded(images: dict[str, Image.Image | InputError], room: int = 10**7) -> Embedded:
    def open_image(run: Path, name: str) -> Image.Image:
        if isinstance(found := images[name], InputError):
            raise found
        return found

    return embed([(RUN, name) for name in images], open_image, room, lambda *said: None)


def decoded(url: str) -> Image.Image:
    assert url.startswith(URL)
    return Image.open(io.BytesIO(base64.b64decode(url.removeprefix(URL)))).convert("RGB")


def noise(seed: int, size: tuple[int, int] = (600, 400)) -> Image.Image:
    """What compresses as badly as a picture can."""
    return Image.frombytes("RGB", size, random.Random(seed).randbytes(3 * size[0] * size[1]))


def test_equal_pictures_are_embedded_once() -> None:
    red, same, blue = (Image.new("RGB", (8, 8), colour) for colour in ("red", "red", "blue"))
    found = embedded({"a": red, "b": same, "c": blue})
    assert (found.places, len(found.urls)) == ([0, 0, 1], 2)


def test_large_images_shrink_and_keep_their_shape() -> None:
    side = FORMS[0][0]
    wide, small = Image.new("RGB", (4 * side, 2 * side), "green"), Image.new("RGB", (96, 96), "green")
    found = [decoded(url) for url in embedded({"wide": wide, "small": small}).urls]
    assert [image.size for image in found] == [(side, side // 2), (96, 96)]
    red, green, blue = found[1].getpixel((48, 48))
    assert abs(green - 128) < 10
    assert max(red, blue) < 20


@pytest.mark.parametrize("room", [2_000_000, 300_000, 80_000])
def test_pictures_shrink_as_far_as_it_takes(room: int) -> None:
    found = embedded({str(number): noise(number) for number in range(40)}, room)
    assert sum(map(len, found.urls)) <= room
    assert found.no_room == 0
    assert None not in found.places
    assert sum(map(len, found.urls)) > room / 8, "and no further"


def test_what_finds_no_room_is_counted() -> None:
    found = embedded({str(number): noise(number) for number in range(40)}, 12_000)
    assert sum(map(len, found.urls)) <= 12_000
    assert found.no_room == found.places.count(None) > 0
    assert found.unreadable == 0


def test_images_that_cannot_be_opened_are_counted_and_changed_ones_named() -> None:
    fine, gone, other = Image.new("RGB", (8, 8)), InputError("no such image"), ChangedError("another picture")
    found = embedded({"gone": gone, "fine": fine, "other": other})
    assert (found.places, found.unreadable, found.changed) == ([None, 0, None], 2, [str(RUN)])


def test_an_image_is_opened_once_and_progress_told() -> None:
    opened: list[str] = []
    told: list[tuple[str, int, int]] = []

    def open_image(run: Path, name: str) -> Image.Image:
        opened.append(name)
        return Image.new("RGB", (8, 8))

    embed([(RUN, "a"), (AGAIN, "a")], open_image, 10**6, lambda *said: told.append(said))
    assert opened == ["a", "a"]
    assert told == [("pictures", 1, 2), ("pictures", 2, 2)]
