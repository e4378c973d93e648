from __future__ import annotations

import base64
import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from holisafe import images
from holisafe.errors import InputError


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def picture(mode: str = "RGB", size: tuple[int, int] = (7, 5)) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(noise).convert(mode)


def claims_to_be(width: int, height: int) -> bytes:
    """A tiny PNG file whose header claims these sides."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


@pytest.mark.parametrize(
    "name", ["../secret.png", "a/../../secret.png", "/etc/passwd", "", ".", "..", "C:/x.png", "C:x"]
)
def test_a_name_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="leads outside its folder"):
        images.inside(tmp_path, name)


def test_a_name_may_not_climb_even_if_it_comes_back(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^'a/\.\./b\.png' leads outside its folder$"):
        images.inside(tmp_path, "a/../b.png")


@pytest.mark.parametrize("name", ["..\\secret.png", "a\\..\\..\\secret.png", "\\etc\\passwd", "a\0b.png"])
def test_so_is_one_written_for_another_system(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="leads outside its folder"):
        images.inside(tmp_path, name)


def test_links_may_lead_around_inside_but_not_out(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "a").mkdir(parents=True)
    (tmp_path / "outside.png").write_bytes(b"")
    (folder / "a" / "link.png").symlink_to(folder / "b.png")
    (folder / "a" / "out.png").symlink_to(tmp_path / "outside.png")
    (folder / "up").symlink_to(tmp_path)
    (folder / "circle").symlink_to(folder / "circle")
    assert images.inside(folder, "a/link.png") == folder / "a" / "link.png"
    for name in ("a/out.png", "up/outside.png", "circle/x.png"):
        with pytest.raises(InputError, match="leads outside its folder through a link"):
            images.inside(folder, name)


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert images.inside(tmp_path / "link", "x.png") == tmp_path / "link" / "x.png"


@pytest.mark.parametrize(
    ("extension", "mode"), [("png", "RGB"), ("png", "L"), ("png", "P"), ("bmp", "RGB"), ("gif", "P")]
)
def test_lossless_files_give_their_pixels(tmp_path: Path, extension: str, mode: str) -> None:
    image = picture(mode)
    opened = images.open_image(saved(tmp_path / f"x.{extension}", image))
    assert opened.mode == "RGB"
    assert np.array_equal(np.asarray(opened), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_laid_on_white(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGBA", (2, 1), (10, 20, 30, 255))
    image.putpixel((0, 0), (10, 20, 30, 0))
    options: dict[str, object] = {}
    if mode == "P":
        image = Image.new("P", (2, 1), 1)
        image.putpalette([0, 0, 0, 10, 20, 30])
        image.putpixel((0, 0), 0)
        options = {"transparency": 0}
    else:
        image = image.convert(mode)
    opened = images.open_image(saved(tmp_path / "x.png", image, **options))
    assert opened.getpixel((0, 0)) == (255, 255, 255)
    assert opened.getpixel((1, 0)) != (255, 255, 255)


def test_a_turned_photograph_is_set_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    opened = images.open_image(saved(tmp_path / "x.png", picture(size=(7, 5)), exif=exif))
    assert opened.size == (5, 7)
    assert np.array_equal(np.asarray(opened), np.rot90(np.asarray(picture()), -1))


def test_missing_images_and_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"x\.png: no such image"):
        images.open_image(tmp_path / "x.png")
    with pytest.raises(InputError, match="not a file"):
        images.open_image(tmp_path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.png")
    with pytest.raises(InputError, match="not a file"):
        images.open_image(tmp_path / "x.png")


def test_no_program_is_run_for_an_image(tmp_path: Path) -> None:
    """Pillow gives EPS to Ghostscript: a page-description program inside a data set must stay unopened."""
    file = saved(tmp_path / "x.eps", picture())
    with pytest.raises(InputError, match="not an image"):
        images.open_image(file)


@pytest.mark.parametrize(("width", "height"), [(25_000, 20_000), (12_000, 10_000), (10_000, 10_001)])
def test_a_small_file_of_many_pixels_is_refused_before_it_is_decoded(tmp_path: Path, width: int, height: int) -> None:
    path = tmp_path / "huge.png"
    path.write_bytes(claims_to_be(width, height))
    assert path.stat().st_size < 200
    code = f"from pathlib import Path; from holisafe.images import open_image; open_image(Path({str(path)!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "InputError" in done.stderr.splitlines()[-1]
    assert "limit of 100,000,000" in done.stderr.splitlines()[-1]
    assert "Warning" not in done.stderr


def test_the_limit_itself_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "x.png", picture(size=(10, 10)))
    monkeypatch.setattr(images, "PIXEL_LIMIT", 100)
    assert images.open_image(path).size == (10, 10)
    monkeypatch.setattr(images, "PIXEL_LIMIT", 99)
    with pytest.raises(InputError, match="100 pixels are more than the limit of 99"):
        images.open_image(path)


@pytest.mark.parametrize("extension", ["png", "jpg", "gif", "bmp", "webp", "tif"])
def test_a_file_cut_short_is_refused(tmp_path: Path, extension: str) -> None:
    path = saved(tmp_path / f"x.{extension}", picture(size=(64, 64)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"broken image|not an image"):
        images.open_image(path)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_broken_bytes_give_an_image_or_a_named_fault_but_nothing_else(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    buffer = io.BytesIO()
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"]))
    picture(size=(16, 16)).save(buffer, format=kind)
    content = bytearray(buffer.getvalue())
    for place, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=8)
    ):
        content[place] = value
    path = tmp_path_factory.getbasetemp() / "broken"
    path.write_bytes(bytes(content))
    try:
        outcome = images.open_image(path).mode
    except InputError as error:
        outcome = str(error)
    assert outcome == "RGB" or (str(path) in outcome and "\n" not in outcome)


def test_the_hash_is_of_pixels_and_size_not_of_the_file(tmp_path: Path) -> None:
    image = picture()
    small, large = (saved(tmp_path / f"{level}.png", image, compress_level=level) for level in (0, 9))
    assert small.read_bytes() != large.read_bytes()
    assert images.pixel_hash(images.open_image(small)) == images.pixel_hash(images.open_image(large))
    assert images.pixel_hash(image) != images.pixel_hash(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    flat = Image.new("RGB", (6, 4))
    assert images.pixel_hash(flat) != images.pixel_hash(flat.resize((4, 6)))


def test_a_data_url_holds_the_image() -> None:
    head, _, body = images.as_data_url(picture()).partition(",")
    assert head == "data:image/png;base64"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(body)))), np.asarray(picture()))
