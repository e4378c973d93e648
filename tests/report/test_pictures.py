from __future__ import annotations

import base64
import io

from PIL import Image

from holisafe.errors import InputError
from holisafe.report.pictures import LONGEST_SIDE, Pictures


def decoded(url: str) -> Image.Image:
    kind, data = url.split(",")
    assert kind == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_equal_pixels_are_embedded_once():
    pictures = Pictures()
    red, same, blue = (Image.new("RGB", (8, 8), colour) for colour in ("red", "red", "blue"))
    assert [pictures.add("run", name, lambda i=i: i) for name, i in (("a", red), ("b", same), ("c", blue))] == [0, 0, 1]
    assert len(pictures.urls) == 2


def test_an_image_is_opened_once_a_run():
    opened = []
    pictures = Pictures()

    def opener():
        opened.append(1)
        return Image.new("RGB", (8, 8))

    for run in ("one", "one", "two"):
        pictures.add(run, "a.png", opener)
    assert len(opened) == 2


def test_large_images_shrink_and_keep_their_shape():
    pictures = Pictures()
    pictures.add("run", "wide", lambda: Image.new("RGB", (1024, 512), "green"))
    pictures.add("run", "small", lambda: Image.new("RGB", (96, 96), "green"))
    assert [decoded(url).size for url in pictures.urls] == [(LONGEST_SIDE, LONGEST_SIDE // 2), (96, 96)]
    red, green, blue = decoded(pictures.urls[1]).convert("RGB").getpixel((48, 48))
    assert abs(green - 128) < 10
    assert max(red, blue) < 20


def test_an_image_that_cannot_be_opened_is_counted_once():
    pictures = Pictures()

    def opener():
        raise InputError("no such image")

    assert [pictures.add("run", "gone", opener) for _ in range(2)] == [None, None]
    assert pictures.unreadable == 1
