"""`contrast,lost=0.8`: every picture paler, towards its mean grey."""

from __future__ import annotations

from PIL import ImageEnhance
from PIL.Image import Image
from pydantic import Field

from ...registry import attacks
from ..attack import PictureAttack
from ..base import Options


class ContrastOptions(Options):
    """`lost`: the share of contrast that goes; 0 changes nothing, 1 leaves a grey picture."""

    lost: float = Field(0.8, ge=0, le=1)


@attacks.register("contrast", summary="every picture with little contrast", needs="pictures", pictosafe="yes")
class Contrast(PictureAttack):
    attack, reads = "contrast", ContrastOptions

    def idle(self) -> bool:
        return bool(self.options.lost == 0)

    def changed(self, image: Image, seed: int) -> Image:
        return ImageEnhance.Contrast(image).enhance(1 - self.options.lost)
