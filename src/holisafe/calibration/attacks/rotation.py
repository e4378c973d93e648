"""`rotation,degrees=90`: every picture turned counter-clockwise; the corners that come free are grey."""

from __future__ import annotations

from PIL import Image
from pydantic import Field

from ...registry import attacks
from ..attack import PictureAttack
from ..base import Options

GREY = (128, 128, 128)


class RotationOptions(Options):
    """`degrees`, counter-clockwise; 0 changes nothing. A quarter turn loses no pixel."""

    degrees: float = Field(90.0, gt=-360, lt=360)


@attacks.register("rotation", summary="every picture turned", needs="pictures", pictosafe="yes")
class Rotation(PictureAttack):
    attack, reads = "rotation", RotationOptions

    def idle(self) -> bool:
        return bool(self.options.degrees == 0)

    def changed(self, image: Image.Image, seed: int) -> Image.Image:
        return image.rotate(self.options.degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=GREY)
