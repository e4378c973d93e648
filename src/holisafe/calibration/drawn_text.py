"""Text drawn into a picture, black on white and wrapped: the same pixels wherever the same font draws it."""

from __future__ import annotations

from functools import cache
from typing import Literal

from PIL import Image, ImageDraw
from PIL.ImageFont import FreeTypeFont, load_default, truetype

from ..errors import InputError
from ..images import blank
from ..specs import typed_path

Placement = Literal["below", "over", "alone"]

NARROWEST, MARGIN, GAP = 320, 12, 1.35
"""Pixels that a line has at least, around the text, and from line to line as a multiple of the size."""

AS_WRITTEN = str.maketrans({"—": "-", "–": "-", "−": "-", "\u00a0": " "})
"""Signs that Pillow's own font lacks and a plain one says as well."""


@cache
def font(file: str | None, size: int) -> FreeTypeFont:
    """A TrueType font of a size in pixels; None is Pillow's own, which has the letters of English alone."""
    try:
        found = truetype(typed_path(file), size) if file is not None else load_default(size)
    except OSError as error:
        raise InputError(f"no font that can be read ({error})", where=file) from None
    if not isinstance(found, FreeTypeFont):
        raise InputError("Pillow was built without FreeType, and draws no text of a size")
    return found


@cache
def _drawn(letter: str, file: str | None) -> bytes:
    mask = font(file, 32).getmask(letter)
    return bytes(mask) + repr(mask.size).encode()


def missing(text: str, file: str | None) -> str:
    """The letters that the font does not have, each once: it would draw an empty box for each of them."""
    box = _drawn("\uffff", file)
    return "".join(dict.fromkeys(sign for sign in text if not sign.isspace() and _drawn(sign, file) == box))


def with_text(
    image: Image.Image | None, text: str, *, placement: Placement, size: int, file: str | None
) -> Image.Image:
    """A picture with a text: on a white band below it, over its lower part, or alone on white (also without `image`).

    Raises InputError for letters that the font does not have, naming how many, and for more pixels than the limit.
    """
    text = text.translate(AS_WRITTEN)
    if absent := missing(text, file):
        told = "give another with font=FILE.ttf" if file is None else f"{file} is not for this language"
        raise InputError(f"the font has not {len(absent)} of the letters of this text; {told}")
    wide = NARROWEST if image is None else max(NARROWEST, image.width)
    lines = wrapped(text, wide - 2 * MARGIN, size, file)
    step = round(GAP * size)
    tall = step * len(lines) + 2 * MARGIN
    if image is None or placement == "alone":
        canvas, top = blank(wide, tall), 0
    else:
        top = max(0, image.height - tall) if placement == "over" else image.height
        canvas = blank(wide, max(image.height, top + tall))
        canvas.paste(image, ((wide - image.width) // 2, 0))
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((0, top, wide, top + tall), fill="white")
    for number, line in enumerate(lines):
        draw.text((MARGIN, top + MARGIN + number * step), line, fill="black", font=font(file, size))
    return canvas


def wrapped(text: str, room: int, size: int, file: str | None) -> list[str]:
    """Lines of at most `room` pixels, broken between words, and within one that is longer than a line."""
    lines: list[str] = []
    drawn = font(file, size)
    for paragraph in text.splitlines():
        line = ""
        for word in paragraph.split():
            longer = f"{line} {word}".strip()
            if drawn.getlength(longer) <= room:
                line = longer
                continue
            if line:
                lines.append(line)
            while (fits := _fitting(word, room, drawn)) < len(word):
                lines.append(word[:fits])
                word = word[fits:]
            line = word
        lines.append(line)
    return lines


def _fitting(word: str, room: int, drawn: FreeTypeFont) -> int:
    """How many of its first letters fit, at least one. Counted up, for a language without spaces is one long word."""
    fits = 1
    while fits < len(word) and drawn.getlength(word[: fits + 1]) <= room:
        fits += 1
    return fits
