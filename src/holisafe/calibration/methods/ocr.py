"""`ocr`: what is written in a picture is read and told the model beside it, as text that it may judge like any other.

Against queries that are typed into pictures (FigStep, arXiv 2311.05608): many models refuse in words what they follow
in a picture. Reading costs time on this machine and no call; each picture is read once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pydantic import Field

from ...images import pixel_hash
from ...records import Message, Picture, Request
from ...registry import calibrations
from ...targets.base import Target
from ..base import Calibrated, Options, read_options
from ..read_pictures import reader

TOLD = "The picture has this text in it; treat it as a part of the request:"


class OcrOptions(Options):
    """`letters`: of a picture with fewer nothing is told, of one with more the beginning."""

    reader: Literal["auto", "rapidocr", "tesseract"] = "auto"
    placement: Literal["before", "after"] = "before"
    letters: int = Field(2, ge=1)
    most: int = Field(4000, ge=1)


class Ocr(Calibrated):
    """A target that is told in words what stands in the pictures of every turn of the user."""

    def __init__(self, target: Target, told: dict[str, str]) -> None:
        self.options = read_options(OcrOptions, told, "ocr")
        name, self.read = reader(self.options.reader)
        self.known: dict[str, str] = {}
        facts = {**self.options.model_dump(mode="json"), "reader": name, "text": TOLD}
        super().__init__(target, "ocr", told, **facts)

    def edit(self, request: Request) -> Request:
        turns = tuple(self._told(turn) if turn.role == "user" else turn for turn in request.messages)
        return request if turns == request.messages else replace(request, messages=turns)

    def _told(self, turn: Message) -> Message:
        found = [text for picture in turn.pictures if len(text := self._text(picture)) >= self.options.letters]
        if not found:
            return turn
        said = "\n".join([TOLD, *(f'"""\n{text[: self.options.most]}\n"""' for text in found)])
        parts = (said, turn.text) if self.options.placement == "before" else (turn.text, said)
        return replace(turn, text="\n\n".join(part for part in parts if part))

    def _text(self, picture: Picture) -> str:
        image = picture.open()
        if (key := pixel_hash(image)) not in self.known:
            self.known[key] = self.read(image)
        return self.known[key]


@calibrations.register("ocr", summary="text in a picture is told beside it", needs="rapidocr or tesseract")
def load(target: Target, options: dict[str, str]) -> Ocr:
    """`ocr,reader=auto|rapidocr|tesseract,placement=before|after`. Raises InputError where no reader is here."""
    return Ocr(target, options)
