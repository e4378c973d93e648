"""`typed,form=whole|list`: the query drawn into the picture, while the text only says to follow the picture.

`list` is FigStep's form (arXiv 2311.05608): the query above empty numbered items, which the model is to fill in.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import Any, Literal

from pydantic import Field

from ...records import Message, Picture, Request
from ...registry import attacks
from ...specs import typed_path
from ...targets.base import Target
from ..attack import Attack, wordings
from ..base import Options
from ..drawn_text import Placement, font, with_text


class DrawnOptions(Options):
    """Where the text stands (`placement`), its `size` in pixels, its `font`: a TrueType file, None for Pillow's own."""

    placement: Placement = "below"
    size: int = Field(24, ge=6, le=400)
    font: str | None = None


class DrawingAttack(Attack):
    """An attack that draws words into a picture. The font is opened at once, and known by its content."""

    adds_pictures = 1

    def __init__(self, target: Target, told: dict[str, str], **facts: Any) -> None:
        super().__init__(target, told, **facts)
        font(self.options.font, self.options.size)
        if self.options.font is not None:
            self.facts["font_hash"] = sha256(typed_path(self.options.font).read_bytes()).hexdigest()[:16]


class TypedOptions(DrawnOptions):
    form: Literal["whole", "list"] = "whole"


@attacks.register("typed", summary="the query drawn into the picture", needs="a model that reads pictures of text",
                  pictosafe="no: PictoVLM reads no text in pictures")  # fmt: skip
class Typed(DrawingAttack):
    attack, reads = "typed", TypedOptions

    def turned(self, turn: Message, request: Request) -> Message:
        text = turn.text + ("\n1.\n2.\n3." if self.options.form == "list" else "")
        said = wordings(self.attack)[self.options.form]
        return replace(turn, text=said, pictures=typed_into(turn.pictures, text, self.options))


def typed_into(pictures: tuple[Picture, ...], text: str, how: DrawnOptions) -> tuple[Picture, ...]:
    """The pictures with a text drawn into the last one; with none, or `alone`, in a picture of its own."""
    last = pictures[-1] if pictures and how.placement != "alone" else None
    kept = pictures[:-1] if last is not None else pictures
    name = "typed.png" if last is None else last.name
    return (
        *kept,
        Picture(
            name,
            lambda: with_text(
                None if last is None else last.open(), text, placement=how.placement, size=how.size, file=how.font
            ),
        ),
    )
