"""`jpeg,loss=90`: every picture compressed as JPEG and opened again."""

from __future__ import annotations

import io

from PIL import Image
from pydantic import Field

from ...registry import attacks
from ..attack import PictureAttack
from ..base import Options


class JpegOptions(Options):
    """`loss`: 100 less the quality that Pillow is given; 0 compresses nothing and changes nothing."""

    loss: int = Field(90, ge=0, le=99)


@attacks.register("jpeg", summary="every picture compressed as JPEG", needs="pictures", pictosafe="yes")
class Jpeg(PictureAttack):
    attack, reads = "jpeg", JpegOptions

    def idle(self) -> bool:
        return bool(self.options.loss == 0)

    def changed(self, image: Image.Image, seed: int) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=100 - self.options.loss)
        return Image.open(file).convert("RGB")
