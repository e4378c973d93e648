"""Pictures: sent as they are unless asked otherwise, encoded once, forgotten beyond the budget."""

from __future__ import annotations

import asyncio
import base64
import io
import threading
from collections import Counter
from functools import partial

import numpy as np
import pytest
from PIL import Image

from holisafe.benchmarks.base import Benchmark
from holisafe.clients.pictures import EncodedPictures, Encoding
from holisafe.errors import InputError
from holisafe.images import decode_image
from holisafe.records import Picture, Sample


def noise(size: tuple[int, int], seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def decoded(url: bytes) -> Image.Image:
    head, _, data = url.partition(b",")
    assert head in (b"data:image/png;base64", b"data:image/jpeg;base64", b"data:image/webp;base64")
    return Image.open(io.BytesIO(base64.b64decode(data, validate=True)))


def sent_as(encoding: Encoding, image: Image.Image) -> Image.Image:
    return decoded(encoding.encoded(Picture("x", lambda: image)).url())


def test_png_keeps_every_pixel() -> None:
    grey, flat = noise((37, 21)).convert("L").convert("RGB"), noise((37, 21)).quantize(9).convert("RGB")
    for image, mode in ((noise((37, 21)), "RGB"), (grey, "L"), (flat, "P")):
        sent = sent_as(Encoding(), image)
        assert (sent.format, sent.mode) == ("PNG", mode)
        assert np.array_equal(np.asarray(sent.convert("RGB")), np.asarray(image))


def test_jpeg_and_smaller_only_when_asked() -> None:
    image = noise((300, 100))
    sent = sent_as(Encoding(jpeg_quality=90), image)
    assert (sent.format, sent.size) == ("JPEG", (300, 100))
    rough, fine = (Encoding(jpeg_quality=quality).encoded(Picture("x", lambda: image)) for quality in (30, 90))
    assert len(rough.data) < len(fine.data)
    assert sent_as(Encoding(max_side=150), image).size == (150, 50)
    assert sent_as(Encoding(max_side=300), image).size == (300, 100)
    assert Encoding(max_side=1000).size(300, 100) == (300, 100), "never enlarged"
    assert Encoding(max_side=10).size(3000, 1) == (10, 1)


def file(kind: str, image: Image.Image, **options: object) -> Picture:
    """A picture that is stored in a file, and fails when it is decoded for nothing."""
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)  # type: ignore[arg-type]
    data = buffer.getvalue() + b"and something behind it"
    return Picture("x", lambda: decode_image(data), lambda: data)


SECRET = Image.Exif()
SECRET[0x010F] = "who took it"
TURNED = Image.Exif()
TURNED[0x0112] = 6


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_file_that_says_the_same_is_sent_as_it_is(kind: str) -> None:
    image = noise((40, 30))
    bare = io.BytesIO()
    image.save(bare, format=kind)
    sent = Encoding(max_side=40).encoded(file(kind, image, exif=SECRET, icc_profile=b"profile"))
    assert sent == (kind.lower(), bare.getvalue())
    assert Encoding(own=False).encoded(file(kind, image)).kind == "png"
    assert Encoding(max_side=39).encoded(file(kind, image)).kind == "png"
    assert Encoding(jpeg_quality=80).encoded(file(kind, image)).data != bare.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
def test_the_size_in_which_a_file_is_sent_is_known_without_sending_it(kind: str) -> None:
    turned = {} if kind == "BMP" else {"exif": TURNED}
    for picture in (file(kind, noise((40, 30))), file(kind, noise((40, 30)), **turned)):
        for encoding in (Encoding(), Encoding(max_side=20)):
            assert encoding.sent_size(picture) == decoded(encoding.encoded(picture).url()).size
    header_alone = Picture("x", lambda: pytest.fail("decoded"), file(kind, noise((40, 30))).file)
    if kind != "BMP":
        assert Encoding().sent_size(header_alone) == (40, 30)


CONVERTED = {
    "turned": ("JPEG", noise((40, 30)), {"exif": TURNED}),
    "alpha": ("PNG", noise((40, 30)).convert("RGBA").rotate(20), {}),
    "16 bits": ("PNG", Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40) * 50), {}),
    "CMYK": ("JPEG", noise((40, 30)).convert("CMYK"), {}),
    "moving": ("WEBP", noise((40, 30)), {"save_all": True, "append_images": [noise((40, 30), 1)], "lossless": True}),
    "another kind": ("BMP", noise((40, 30)), {}),
}


@pytest.mark.parametrize("name", CONVERTED)
def test_any_other_file_is_sent_as_what_a_local_model_sees(name: str) -> None:
    kind, image, options = CONVERTED[name]
    picture = file(kind, image, **options)
    sent = Encoding().encoded(picture)
    assert sent.kind == "png"
    assert np.array_equal(np.asarray(decoded(sent.url()).convert("RGB")), np.asarray(picture.open()))


class Counting:
    """A benchmark that counts how often each image is opened."""

    def __init__(self) -> None:
        self.opened: Counter[str] = Counter()
        sample = Sample(benchmark="b", id="1", query="?", expected="answer", images=("a", "b"))
        self.benchmark = Benchmark("b", (sample,), self.open)

    def open(self, name: str) -> Image.Image:
        self.opened[name] += 1
        return noise((8, 8), ord(name))

    def pictures(self) -> tuple[Picture, ...]:
        return self.benchmark.pictures(self.benchmark.samples[0])


def test_one_encoding_serves_many_requests_event_loops_and_readers() -> None:
    source, pictures = Counting(), EncodedPictures()

    async def ask() -> list[bytes]:
        both = [picture for _ in range(20) for picture in source.pictures()]
        return await asyncio.gather(*(pictures.url(picture, Encoding()) for picture in both))

    urls = {url for _ in range(3) for url in asyncio.run(ask())}
    assert (source.opened, len(urls)) == ({"a": 1, "b": 1}, 2)
    asyncio.run(pictures.url(source.pictures()[0], Encoding(max_side=4)))
    assert source.opened["a"] == 2, "another encoding is another picture"


def test_pictures_of_one_name_from_two_places_stay_apart() -> None:
    pictures = EncodedPictures()
    one, other = (Picture("x", partial(noise, (4, 4), seed)) for seed in (1, 2))
    urls = [asyncio.run(pictures.url(picture, Encoding())) for picture in (one, other, one)]
    assert urls[0] == urls[2] != urls[1]


def test_the_least_recently_used_go_beyond_the_budget() -> None:
    source = Counting()
    a, b = source.pictures()
    size = len(Encoding().encoded(a).data)
    pictures = EncodedPictures(budget=int(2.5 * size))
    c = Picture("c", partial(source.open, "c"))

    async def ask() -> None:
        for picture in (a, b, a, c, a, b):
            await pictures.url(picture, Encoding())
            assert pictures.held <= pictures.budget

    asyncio.run(ask())
    assert source.opened == {"a": 2, "b": 2, "c": 1}  # once for a was to know the size


def test_a_picture_that_cannot_be_opened_fails_everyone_who_waits_and_is_tried_anew() -> None:
    broken = threading.Event()
    broken.set()

    def open_picture() -> Image.Image:
        if broken.is_set():
            raise InputError("broken image", where="x.png")
        return noise((4, 4))

    pictures, picture = EncodedPictures(), Picture("x", open_picture)

    async def ask() -> list[bytes | BaseException]:
        return await asyncio.gather(*(pictures.url(picture, Encoding()) for _ in range(3)), return_exceptions=True)

    assert {type(found) for found in asyncio.run(ask())} == {InputError}
    broken.clear()
    assert {type(found) for found in asyncio.run(ask())} == {bytes}


def test_one_who_goes_does_not_take_the_picture_from_the_others() -> None:
    began, gate = threading.Event(), threading.Event()

    def open_picture() -> Image.Image:
        began.set()
        gate.wait(10)
        return noise((4, 4))

    pictures, picture = EncodedPictures(), Picture("x", open_picture)

    async def ask() -> bytes:
        first, second = (asyncio.create_task(pictures.url(picture, Encoding())) for _ in range(2))
        await asyncio.to_thread(began.wait, 10)
        first.cancel()
        gate.set()
        with pytest.raises(asyncio.CancelledError):
            await first
        return await second

    assert decoded(asyncio.run(ask())).size == (4, 4)
