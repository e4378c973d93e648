from __future__ import annotations

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
from PIL import Image, ImageOps

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
        with pytest.raises(InputError, match="leads outside its folder through a link; --follow-links allows it"):
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


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def test_sixteen_bits_keep_their_range() -> None:
    """Pillow's own conversion cuts them off at 255."""
    values = np.random.default_rng(0).integers(0, 65_536, (40, 50), dtype=np.uint16)
    for kind in ("PNG", "TIFF"):
        opened = np.asarray(images.decode_image(encoded(Image.fromarray(values), kind)))
        assert np.abs(opened[..., 0] - np.rint(values / 257)).max() <= 1
    few = (np.arange(16, dtype=np.uint16) * 4096)[None].repeat(2, axis=0)
    opened = np.asarray(images.decode_image(encoded(Image.fromarray(few), "PNG")))
    assert sorted(set(opened[..., 0].flat)) == [17 * level for level in range(16)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 100.4, 255.0], [0, 100, 255]),
        ([0.0, 32_767.5, 65_535.0], [0, 128, 255]),
        ([-1.0, 0.0, 1.0], [0, 128, 255]),
        ([1e6, 1.5e6, 2e6], [0, 128, 255]),
        ([7.0, 7.0, 7.0], [7, 7, 7]),
    ],
)
def test_fractions_and_long_numbers_keep_theirs(values: list[float], expected: list[int]) -> None:
    kinds = [np.float32, np.int32] if all(value.is_integer() for value in values) and max(values) > 1 else [np.float32]
    for kind in kinds:
        opened = images.decode_image(encoded(Image.fromarray(np.array([values], dtype=kind)), "TIFF"))
        assert np.abs(np.asarray(opened)[0, :, 0].astype(int) - expected).max() <= 1, kind
    broken = Image.fromarray(np.array([[1.0, np.nan]], dtype=np.float32))
    with pytest.raises(InputError, match="no numbers"):
        images.decode_image(encoded(broken, "TIFF"))


def test_sixteen_bits_a_colour_lose_their_lower_half() -> None:
    values = np.random.default_rng(0).integers(0, 65_536, (4, 5, 3), dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    opened = images.decode_image(
        png((b"IHDR", struct.pack(">IIBBBBB", 5, 4, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)))
    )
    assert np.array_equal(np.asarray(opened), (values >> 8).astype(np.uint8))


def png(*chunks: tuple[bytes, bytes], broken: bytes = b"") -> bytes:
    """A PNG file of these chunks; those called `broken` have a wrong checksum."""
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body) ^ (kind == broken))
        for kind, body in (*chunks, (b"IEND", b""))
    )


def chunks_of(image: Image.Image) -> dict[bytes, bytes]:
    data, at, found = encoded(image, "PNG"), 8, {}
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        found[data[at + 4 : at + 8]] = data[at + 8 : at + 8 + length]
        at += 12 + length
    return found


BOMB = zlib.compress(b"x" * 80_000_000, 9)
ODD_CHUNKS = {
    "a wrong checksum": ((b"tIME", bytes(7)), b"tIME"),
    "broken EXIF": ((b"eXIf", b"\0\x08\0\x02\x01\x12\0\x03\0\0\0\x01"), b""),
    "a bomb of text": ((b"zTXt", b"k\0\0" + BOMB), b""),
    "a bomb of a colour profile": ((b"iCCP", b"k\0\0" + BOMB), b""),
    "long text": ((b"tEXt", b"k\0" + b"x" * 3_000_000), b""),
    "an animation": ((b"acTL", struct.pack(">II", 1_000_000, 0)), b""),
}


@pytest.mark.parametrize("kind", ODD_CHUNKS)
def test_what_every_viewer_opens_is_opened(kind: str) -> None:
    chunk, broken = ODD_CHUNKS[kind]
    own = chunks_of(picture())
    opened = images.decode_image(png((b"IHDR", own[b"IHDR"]), chunk, (b"IDAT", own[b"IDAT"]), broken=broken))
    assert np.array_equal(np.asarray(opened), np.asarray(picture()))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_every_orientation_is_set_upright_as_pillow_does(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(picture(size=(16, 8)), kind, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    assert np.array_equal(np.asarray(images.decode_image(data)), np.asarray(expected))


def test_kinds_of_pictures_that_phones_presses_and_scanners_make() -> None:
    image = picture(size=(16, 16))
    assert images.decode_image(encoded(image, "AVIF", quality=100)).size == (16, 16)
    assert images.decode_image(encoded(image, "MPO", save_all=True, append_images=[image])).size == (16, 16)
    cmyk = np.asarray(images.decode_image(encoded(image.convert("CMYK"), "JPEG", quality=100)))
    assert np.abs(cmyk.astype(int) - np.asarray(image)).mean() < 12
    bits = images.decode_image(encoded(image.convert("1"), "PNG"))
    assert set(np.unique(np.asarray(bits))) == {0, 255}
    later = Image.new("RGB", (16, 16), "red")
    for kind in ("GIF", "TIFF", "WEBP"):
        first = images.decode_image(encoded(image, kind, save_all=True, append_images=[later] * 3))
        assert first.getpixel((3, 3)) != (255, 0, 0), "the first of several pages"


def test_heic_is_read_or_says_what_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    data = encoded(Image.new("RGB", (64, 64), (200, 10, 10)), "HEIF")
    red, green, _ = images.decode_image(data).getpixel((32, 32))  # type: ignore[misc]
    assert red > 180
    assert green < 40
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(InputError, match=r"pip install 'holisafe\[heic\]'"):
        images.decode_image(data)


def test_nothing_but_pixels_is_kept_of_a_picture() -> None:
    exif = Image.Exif()
    exif[0x010F] = "the maker"
    opened = images.decode_image(encoded(picture(), "TIFF", exif=exif, icc_profile=b"profile"))
    assert opened.info == {}
    assert b"profile" not in images.as_png(opened)


def test_the_limit_may_be_raised_and_says_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "x.png", picture(size=(10, 10)))
    monkeypatch.setenv("HOLISAFE_PIXEL_LIMIT", "99")
    with pytest.raises(InputError, match=r"limit of 99 \(HOLISAFE_PIXEL_LIMIT raises it\)"):
        images.open_image(path)
    monkeypatch.setenv("HOLISAFE_PIXEL_LIMIT", "100")
    assert images.open_image(path).size == (10, 10)
    path.write_bytes(path.read_bytes() + bytes(1000))
    with pytest.raises(InputError, match=r"more than 800 bytes"):
        images.open_image(path)
    for wrong in ("many", "0", "-1", "1e9"):
        monkeypatch.setenv("HOLISAFE_PIXEL_LIMIT", wrong)
        with pytest.raises(InputError, match="not a number of pixels"):
            images.open_image(path)


MEMORY = """
import resource, struct, sys, threading, zlib
from holisafe import images
data = open(sys.argv[1], "rb").read()
def work():
    with images.decoded(data) as image:
        images.pixel_hash(image)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
threads = [threading.Thread(target=work) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_threads_share_one_room_for_decoded_pixels(tmp_path: Path) -> None:
    """Four pictures of 20 million pixels with transparency, of which one fits: one of them takes about 160 MB."""
    path = tmp_path / "wide.png"
    row = zlib.compress(bytes(4000 * (1 + 4 * 5000)), 9)
    path.write_bytes(png((b"IHDR", struct.pack(">IIBBBBB", 5000, 4000, 8, 6, 0, 0, 0)), (b"IDAT", row)))
    assert path.stat().st_size < 100_000
    environment = {**os.environ, "HOLISAFE_PIXEL_LIMIT": "20000000"}
    command = [sys.executable, "-c", MEMORY, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert int(done.stdout) < 260


def test_one_who_fails_gives_the_room_back() -> None:
    data = encoded(picture(size=(64, 64)), "PNG")
    own = chunks_of(picture(size=(64, 64)))
    half = png((b"IHDR", own[b"IHDR"]), (b"IDAT", own[b"IDAT"][:500]))
    with pytest.raises(InputError, match="broken image"):
        images.decode_image(half)
    with pytest.raises(RuntimeError, match="mine"), images.decoded(data):
        raise RuntimeError("mine")
    assert images.ROOM.taken == 0
