"""`blur,radius=4`: every picture blurred."""

from __future__ import annotations

from PIL import ImageFilter
from PIL.Image import Image
from pydantic import Field

from ...registry import attacks
from ..attack import PictureAttack
from ..base import Options


class BlurOptions(Options):
    """`radius`: the standard deviation of the Gaussian, pixels; 0 changes nothing."""

    radius: float = Field(4.0, ge=0, le=1000)


@attacks.register("blur", summary="every picture blurred", needs="pictures", pictosafe="yes")
class Blur(PictureAttack):
    attack, reads = "blur", BlurOptions

    def idle(self) -> bool:
        return bool(self.options.radius == 0)

    def changed(self, image: Image, seed: int) -> Image:
        return image.filter(ImageFilter.GaussianBlur(self.options.radius))
