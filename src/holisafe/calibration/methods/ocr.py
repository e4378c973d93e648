"""`ocr`: what is written in a picture is read and told the model beside it, as text that it may judge like any other.

Against queries that are typed into pictures (FigStep, arXiv 2311.05608): many models refuse in words what they follow
in a picture. Reading costs time on this machine and no call; each picture is read once.
"""

from __future__ import annotations

from dataclasses import replace

from ...read_pictures import OcrOptions, PictureTexts
from ...records import Request
from ...registry import calibrations
from ...targets.base import Target
from ..base import Calibrated, read_options


class Ocr(Calibrated):
    """A target that is told in words what stands in the pictures of every turn of the user."""

    def __init__(self, target: Target, told: dict[str, str]) -> None:
        self.texts = PictureTexts(read_options(OcrOptions, told, "ocr"))
        super().__init__(target, "ocr", told, **self.texts.facts)

    def edit(self, request: Request) -> Request:
        turns = self.texts.told(request.messages)
        return request if turns == request.messages else replace(request, messages=turns)


@calibrations.register("ocr", summary="text in a picture is told beside it", needs="rapidocr or tesseract")
def load(target: Target, options: dict[str, str]) -> Ocr:
    """`ocr,reader=auto|rapidocr|tesseract,placement=before|after`. Raises InputError where no reader is here."""
    return Ocr(target, options)
