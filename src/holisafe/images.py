"""Open images safely: inside their folder, below a pixel limit, fully decoded, as RGB."""

from __future__ import annotations

import base64
import hashlib
import io
import warnings
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from PIL import Image, ImageOps, UnidentifiedImageError

from .errors import InputError

PIXEL_LIMIT = 100_000_000
"""Images with more pixels than this are refused before they are decoded."""

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
"""What is decoded. Others that Pillow knows run programs (EPS) or are rarely anything but an attack."""

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # PIXEL_LIMIT says it, as an error


def inside(folder: Path, name: str) -> Path:
    """The path of `name` under `folder`. Raises InputError when the name is absolute or leads out of the folder."""
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or not parts.parts or ":" in parts.parts[0] or "\0" in name:
        raise InputError(f"{name!r} leads outside its folder")
    path = folder.joinpath(*parts.parts)
    try:
        within = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # links in a circle
        within = False
    if not within:
        raise InputError(f"{name!r} leads outside its folder through a link")
    return path


def open_image(path: Path) -> Image.Image:
    """Decode an image to RGB, upright by its EXIF orientation; transparency is laid on white.

    Raises InputError when the file is missing, is no image, is cut short, or holds more than `PIXEL_LIMIT` pixels.
    """
    if not path.is_file():
        raise InputError("not a file" if path.exists() else "no such image", where=path)
    return decode_image(path, path)


def decode_image(source: Path | BinaryIO, where: str | Path | None = None) -> Image.Image:
    """As `open_image`, from a file that is there or from bytes in memory, which `where` names in InputError."""
    try:
        with Image.open(source, formats=FORMATS) as opened:
            pixels = opened.width * opened.height
            if pixels > PIXEL_LIMIT:
                raise InputError(f"{pixels:,} pixels are more than the limit of {PIXEL_LIMIT:,}", where=where)
            opened.load()
            return as_rgb(ImageOps.exif_transpose(opened))
    except InputError:
        raise
    except Image.DecompressionBombError:
        raise InputError(f"more pixels than the limit of {PIXEL_LIMIT:,}", where=where) from None
    except UnidentifiedImageError:
        raise InputError("not an image", where=where) from None
    except OSError as error:
        raise InputError(f"broken image ({error.strerror or error})", where=where) from None
    except Exception as error:  # noqa: BLE001  (decoders raise nearly anything on broken bytes)
        raise InputError(f"broken image ({error})", where=where) from None


def as_rgb(image: Image.Image) -> Image.Image:
    """RGB with any transparency laid on white, so that every model sees the same pixels."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def pixel_hash(image: Image.Image) -> str:
    """SHA-256 of size and decoded RGB pixels, 16 hexadecimal digits: equal however the file was compressed."""
    rgb = image.convert("RGB")
    return hashlib.sha256(f"{rgb.width}x{rgb.height}".encode() + rgb.tobytes()).hexdigest()[:16]


def as_png(image: Image.Image) -> bytes:
    """The image as PNG bytes."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def as_data_url(image: Image.Image) -> str:
    """The image as a `data:` URL, as chat APIs and self-contained pages take it."""
    return "data:image/png;base64," + base64.b64encode(as_png(image)).decode()
