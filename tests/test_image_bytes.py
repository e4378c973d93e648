"""Plain files: pixels as they were, and nothing else of the file."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from holisafe.image_bytes import plain

SECRET = b"taken by a person at a place"


def photo(mode: str = "RGB", size: tuple[int, int] = (33, 18)) -> Image.Image:
    rough = np.random.default_rng(1).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    return Image.fromarray(rough).resize(size).convert(mode)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as opened:
        return np.asarray(opened.convert("RGB"))


def with_secrets(kind: str, **options: object) -> bytes:
    exif = Image.Exif()
    exif[0x010F] = SECRET.decode()
    more = {"exif": exif, "icc_profile": SECRET, "xmp": SECRET, **options}
    return encoded(photo(), kind, **more)


FILES = {
    "jpeg": ("JPEG", {}),
    "jpeg with a comment": ("JPEG", {"comment": SECRET}),
    "jpeg, progressive": ("JPEG", {"progressive": True}),
    "jpeg with restarts": ("JPEG", {"restart_marker_blocks": 1}),
    "jpeg of RGB": ("JPEG", {"keep_rgb": True}),
    "jpeg, thin": ("JPEG", {"subsampling": 2, "quality": 10}),
    "png": ("PNG", {}),
    "webp": ("WEBP", {}),
    "webp, lossless": ("WEBP", {"lossless": True}),
}


@pytest.mark.parametrize("name", FILES)
def test_pixels_stay_and_the_rest_goes(name: str) -> None:
    kind, options = FILES[name]
    data = with_secrets(kind, **options)
    assert SECRET in data
    form = plain(data + b"PK\x03\x04 another file behind it " + SECRET)
    assert form is not None
    assert (form.kind, form.size, form.direct) == (kind.lower(), (33, 18), True)
    assert SECRET not in form.data
    assert SECRET in form.exif
    assert np.array_equal(pixels(form.data), pixels(data))
    again = plain(form.data)
    assert again is not None
    assert (again.data, again.exif) == (form.data, b"")


def test_a_file_without_anything_else_stays_as_it_is() -> None:
    for kind, options in FILES.values():
        options = {name: value for name, value in options.items() if name != "comment"}
        data = encoded(photo(), kind, **options)
        form = plain(data)
        assert form is not None
        assert form.data == data


def test_a_thumbnail_goes() -> None:
    data = encoded(photo(), "JPEG")
    head = b"JFIF\0\x01\x01\0\0\1\0\1\4\4" + bytes(48)
    assert data[2:4] == b"\xff\xe0"
    fat = data[:2] + b"\xff\xe0" + struct.pack(">H", len(head) + 2) + head + data[20:]
    form = plain(fat)
    assert form is not None
    assert len(form.data) == len(data)
    assert np.array_equal(pixels(form.data), pixels(data))


def test_the_first_of_several_pictures_in_one_jpeg_file_is_left() -> None:
    other = Image.new("RGB", (33, 18), "red")
    data = encoded(photo(), "MPO", save_all=True, append_images=[other])
    form = plain(data)
    assert form is not None
    assert np.array_equal(pixels(form.data), pixels(data))
    assert len(form.data) < len(data)


NOT_DIRECT = {
    "alpha": encoded(photo("RGBA"), "PNG"),
    "grey and alpha": encoded(photo("LA"), "PNG"),
    "one colour is clear": encoded(photo("P"), "PNG", transparency=0),
    "16 bits": encoded(Image.fromarray(np.zeros((4, 4), dtype=np.uint16)), "PNG"),
    "CMYK": encoded(photo("CMYK"), "JPEG"),
    "alpha in lossless webp": encoded(photo("RGBA").rotate(10), "WEBP", lossless=True),
}


@pytest.mark.parametrize("name", NOT_DIRECT)
def test_pictures_on_which_decoders_differ_are_not_direct(name: str) -> None:
    form = plain(NOT_DIRECT[name])
    assert form is not None
    assert not form.direct


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_greys_and_palettes_are_direct(mode: str) -> None:
    form = plain(encoded(photo(mode), "PNG"))
    assert form is not None
    assert form.direct


def test_anything_else_is_left_to_a_decoder() -> None:
    moving = encoded(photo(), "WEBP", save_all=True, append_images=[photo().rotate(90)])
    clear = encoded(photo("RGBA").rotate(10), "WEBP")
    for data in (moving, clear, encoded(photo(), "GIF"), encoded(photo(), "TIFF"), b"", b"\xff\xd8", b"RIFF"):
        assert plain(data) is None


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_short_anywhere_has_no_plain_form(name: str) -> None:
    kind, options = FILES[name]
    data = encoded(photo(), kind, **options)
    assert plain(data) is not None
    assert [end for end in range(len(data)) if plain(data[:end]) is not None] == []


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_whatever_the_bytes_nothing_is_raised_and_plain_stays_plain(data: st.DataObject) -> None:
    kind, options = FILES[data.draw(st.sampled_from(sorted(FILES)))]
    content = bytearray(with_secrets(kind, **options))
    places = st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255))
    for place, value in data.draw(st.lists(places, max_size=6)):
        content[place] = value
    form = plain(bytes(content))
    if form is not None:
        again = plain(form.data)
        assert again is not None
        assert again.data == form.data
