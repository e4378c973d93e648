"""Open images safely: inside their folder, within a limit on pixels, fully decoded, as RGB."""

from __future__ import annotations

import hashlib
import io
import os
import re
import threading
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache, partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import unquote

from PIL import Image, ImageChops, UnidentifiedImageError

from .archives import Member, archives, member
from .errors import InputError
from .image_bytes import plain
from .image_kinds import HEIC, kind_of

PIXEL_LIMIT, LIMIT_VARIABLE = 100_000_000, "HOLISAFE_PIXEL_LIMIT"
"""Images with more pixels than this are refused before they are decoded; the variable sets another limit."""

BYTES_PER_PIXEL = 8
"""What a pixel takes while it is decoded, and the most that it may take in a file."""

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
"""What is decoded. Others that Pillow knows run programs (EPS) or are rarely anything but an attack."""

FOLLOW_VARIABLE = "HOLISAFE_FOLLOW_LINKS"
"""Set to 1 by `--follow-links`, so that every part and every process of a command sees it."""

STRIP = 1_000_000
"""Pixels that are worked on at once where a whole image more in memory would be too much."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF's orientation -> what sets the image upright."""

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # the limit here says it, as an error


def inside(folder: Path, name: str) -> Path:
    """The path of `name` under `folder`. Raises InputError when the name is absolute or leads out of the folder.

    Links may lead around in the folder, from a snapshot of the hub's cache into its blobs, and with `--follow-links`
    anywhere.
    """
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or not parts.parts or ":" in parts.parts[0] or "\0" in name:
        raise InputError(f"{name!r} leads outside its folder")
    return not_led_out(folder, folder.joinpath(*parts.parts))


def not_led_out(folder: Path, path: Path) -> Path:
    """A path under `folder` as it is. Raises InputError when links lead it out, as `inside` says."""
    if os.environ.get(FOLLOW_VARIABLE) == "1":
        return path
    try:
        home, end = folder.resolve(), path.resolve()
        within = any(end.is_relative_to(allowed) for allowed in (home, *_blobs(home)))
    except (OSError, RuntimeError):  # links in a circle
        within = False
    if not within:
        name = str(path.relative_to(folder))
        raise InputError(f"{name!r} leads outside its folder through a link; --follow-links allows it")
    return path


def _blobs(home: Path) -> Iterator[Path]:
    """Where the hub's cache keeps the files that `.../snapshots/COMMIT/...` links to."""
    for folder in (home, *home.parents):
        if folder.parent.name == "snapshots" and re.fullmatch("[0-9a-f]{40}", folder.name):
            yield folder.parent.parent / "blobs"


class Room:
    """Decoded pixels in flight, shared by all threads: who would go beyond it waits; one that is larger goes alone."""

    def __init__(self) -> None:
        self.taken, self._changed = 0, threading.Condition()

    @contextmanager
    def hold(self, pixels: int, most: int) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self.taken or self.taken + pixels <= most)
            self.taken += pixels
        try:
            yield
        finally:
            with self._changed:
                self.taken -= pixels
                self._changed.notify_all()


ROOM = Room()


def pixel_limit() -> int:
    """The most pixels that an image may have, which is also how many are decoded at the same time."""
    told = os.environ.get(LIMIT_VARIABLE, "").strip()
    if told and (not told.isascii() or not told.isdecimal() or not 0 < int(told) < 1e12):
        raise InputError(f"not a number of pixels: {told[:40]!r}", where=LIMIT_VARIABLE)
    return int(told) if told else PIXEL_LIMIT


def _within_limit(pixels: int, limit: int) -> None:
    if pixels > limit:
        raise InputError(f"{pixels:,} pixels are more than the limit of {limit:,} ({LIMIT_VARIABLE} raises it)")


class ImageFile(NamedTuple):
    """Where an image is stored: a file, or with `part` a place in one; `read` gives the image's own bytes."""

    path: Path
    read: Callable[[], bytes]
    part: str = ""


def stored(folder: Path, name: str) -> ImageFile:
    """The image called `name` under `folder`, or in an archive there that was not unpacked; not read yet. Raises
    InputError when it leads out of the folder."""
    path = inside(folder, name)
    if not os.path.lexists(path):
        for other in _spellings(path, name):
            if os.path.lexists(near := inside(folder, other)):
                return ImageFile(near, partial(read_bytes, near))
        for archive, names in archives(folder, name):
            if (found := member(not_led_out(folder, archive), names)) is not None:
                return ImageFile(archive, partial(_unpacked, archive, found), found.name)
    return ImageFile(path, partial(read_bytes, path))


def _spellings(path: Path, name: str) -> Iterator[str]:
    """Other ways to write a name that is not there: as in a URL, with spaces around it, its letters composed or not, or
    large for small, where there is one such file only."""
    for once in (name.strip(), unquote(name).strip()):
        yield from (once, unicodedata.normalize("NFC", once), unicodedata.normalize("NFD", once))
    if path.parent.is_dir():
        alike = _listing(path.parent, path.parent.stat().st_mtime_ns).get(path.name.lower(), [])
        if len(alike) == 1:
            yield str(PurePosixPath(name.replace("\\", "/")).with_name(alike[0]))


@lru_cache(maxsize=16)
def _listing(folder: Path, changed: int) -> dict[str, list[str]]:
    """The names in a folder by how they read in small letters."""
    found: dict[str, list[str]] = {}
    for path in folder.iterdir():
        found.setdefault(path.name.lower(), []).append(path.name)
    return found


def _unpacked(archive: Path, found: Member) -> bytes:
    """A picture's bytes out of an archive, as `read_bytes`."""
    most = BYTES_PER_PIXEL * pixel_limit()
    if found.size > most:
        raise InputError(f"more than {most:,} bytes ({LIMIT_VARIABLE} raises the limit)", where=archive)
    try:
        return found.read()
    except Exception as error:  # noqa: BLE001  (broken or encrypted archives raise nearly anything)
        raise InputError(f"{found.name} cannot be read ({error})", where=archive) from None


def open_image(path: Path) -> Image.Image:
    """Decode an image to RGB, upright by its EXIF orientation; transparency is laid on white.

    Raises InputError when the file is missing, is no image, is cut short, or holds more pixels than the limit.
    """
    return decode_image(read_bytes(path), path)


def read_bytes(path: Path) -> bytes:
    """An image file's bytes. Raises InputError when there is no such file, or more of it than any image needs."""
    if not os.path.isfile(path):  # noqa: PTH113  (for which a name that is too long is none)
        raise InputError("not a file" if os.path.exists(path) else "no such image", where=path)  # noqa: PTH110
    most = BYTES_PER_PIXEL * pixel_limit()
    if path.stat().st_size > most:
        raise InputError(f"more than {most:,} bytes ({LIMIT_VARIABLE} raises the limit)", where=path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", where=path) from None


def decode_image(data: bytes, where: str | Path | None = None) -> Image.Image:
    """As `open_image`, from the bytes of a file, which `where` names in InputError."""
    with decoded(data, where) as image:
        return image


@contextmanager
def decoded(data: bytes, where: str | Path | None = None) -> Iterator[Image.Image]:
    """An image to use and let go: while it is held, its pixels count against those that may be decoded at once.

    Of several frames or pages the first is taken. Never open another image while holding one.
    """
    limit, form = pixel_limit(), plain(data)
    with ExitStack() as held:
        try:
            Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, limit)
            file = io.BytesIO(data if form is None else form.data)
            opened = held.enter_context(Image.open(file, formats=_formats(data)))
            pixels = opened.width * opened.height
            _within_limit(pixels, limit)
            held.enter_context(ROOM.hold(pixels, limit))
            opened.load()
            turn = TURNS.get(orientation(opened) if form is None else orientation(form.exif))
            image = as_rgb(opened if turn is None else opened.transpose(turn))
        except InputError as fault:
            raise InputError(fault.problem, where=where) from None
        except Image.DecompressionBombError:
            raise InputError(
                f"more pixels than the limit of {limit:,} ({LIMIT_VARIABLE} raises it)", where=where
            ) from None
        except UnidentifiedImageError:
            kind = kind_of(data)
            raise InputError(f"not an image: {kind}" if kind else "not an image", where=where) from None
        except OSError as error:
            raise InputError(f"broken image ({error.strerror or error})", where=where) from None
        except Exception as error:  # noqa: BLE001  (decoders raise nearly anything on broken bytes)
            raise InputError(f"broken image ({error})", where=where) from None
        yield image


def _formats(data: bytes) -> tuple[str, ...]:
    """What Pillow may take the bytes for. Raises InputError for a HEIC picture that nothing here reads."""
    if not HEIC.match(data):
        return FORMATS
    try:
        from pillow_heif import register_heif_opener
    except ModuleNotFoundError:
        raise InputError("a HEIC picture, try: pip install 'holisafe[heic]'") from None
    register_heif_opener()
    return ("HEIF",)


def orientation(said: bytes | Image.Image) -> int:
    """How an image is to be turned, by its EXIF: a key of `TURNS`, or 1. Broken EXIF turns nothing, as in viewers."""
    try:
        if isinstance(said, bytes):
            exif = Image.Exif()
            exif.load(said)
        else:
            exif = said.getexif()
        return int(exif.get(0x0112, 1))
    except Exception:  # noqa: BLE001  (as above)
        return 1


def as_rgb(image: Image.Image) -> Image.Image:
    """RGB with any transparency laid on white, so that every model sees the same pixels. Nothing else is kept of it."""
    if image.mode.startswith("I") or image.mode == "F":
        image = _eight_bits(image)
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        rgb = Image.new("RGB", image.size)
        for box in _strips(image):
            layer = image.crop(box).convert("RGBA")
            white = Image.new("RGBA", layer.size, "white")
            rgb.paste(Image.alpha_composite(white, layer).convert("RGB"), box)
        return rgb
    rgb = image.convert("RGB")
    rgb.info.clear()
    return rgb


def _eight_bits(image: Image.Image) -> Image.Image:
    """Greys of 16 or 32 bits, or with fractions, as 8 bits, of which 255 is white.

    Of 16 bits those at the end that no pixel uses do not count: a picture of 4 bits filled up with zeros has 16 levels
    from black to white. Other numbers are taken to count up to 1 (fractions only), 255 or 65,535, whichever they stay
    within; what does not is stretched from the least to the greatest.
    """
    import numpy as np

    values: Any = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise InputError("holds pixels that are no numbers")
    if image.mode.startswith("I;16"):
        used = int(np.bitwise_or.reduce(values, axis=None))
        low, high = 0.0, float(65_536 - (used & -used or 1))
    elif low >= 0 and high <= 65_535:
        low, high = 0.0, next(top for top in (1.0, 255.0, 65_535.0) if high <= top and (top > 1 or image.mode == "F"))
    scaled = (values.astype(np.float32) - low) * (255 / (high - low or 1))
    return Image.fromarray(np.rint(scaled).astype(np.uint8))


def _strips(image: Image.Image) -> Iterator[tuple[int, int, int, int]]:
    """Boxes that cover the image from top to bottom, of few pixels each."""
    rows = max(1, STRIP // image.width)
    for top in range(0, image.height, rows):
        yield 0, top, image.width, min(top + rows, image.height)


def blank(width: int, height: int) -> Image.Image:
    """A white picture to draw on. Raises InputError when it would hold more pixels than the limit."""
    _within_limit(width * height, pixel_limit())
    return Image.new("RGB", (width, height), "white")


def pixel_hash(image: Image.Image) -> str:
    """SHA-256 of size and decoded RGB pixels, 16 hexadecimal digits: equal however the file was compressed."""
    found = hashlib.sha256(f"{image.width}x{image.height}".encode())
    for box in _strips(image):
        found.update(image.crop(box).convert("RGB").tobytes())
    return found.hexdigest()[:16]


def as_png(image: Image.Image) -> bytes:
    """An RGB image as PNG bytes, in grey or with a palette where that says the same in less."""
    buffer = io.BytesIO()
    _fewest_bands(image).save(buffer, format="PNG", compress_level=3)  # 6 takes 2 to 5 times as long for 1 to 10 %
    return buffer.getvalue()


def _fewest_bands(image: Image.Image) -> Image.Image:
    if image.mode != "RGB":
        return image
    colours = image.getcolors(256)
    for small in (image.convert("L"), image.quantize(len(colours)) if colours else image):
        if ImageChops.difference(small.convert("RGB"), image).getbbox() is None:
            return small
    return image
