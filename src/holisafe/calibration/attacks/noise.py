"""`noise,sigma=32`: Gaussian noise on every picture, another for each sample."""

from __future__ import annotations

import numpy as np
from PIL import Image
from pydantic import Field

from ...registry import attacks
from ..attack import PictureAttack, SeededOptions


class NoiseOptions(SeededOptions):
    """`sigma`: the noise's standard deviation, of 255 levels; 0 changes nothing."""

    sigma: float = Field(32.0, ge=0, le=255)


@attacks.register("noise", summary="Gaussian noise on every picture", needs="pictures", pictosafe="yes")
class Noise(PictureAttack):
    attack, reads = "noise", NoiseOptions

    def idle(self) -> bool:
        return bool(self.options.sigma == 0)

    def changed(self, image: Image.Image, seed: int) -> Image.Image:
        levels = np.asarray(image, dtype=np.float64)
        drawn = np.random.RandomState(seed).standard_normal(levels.shape)  # the one whose numbers NumPy never changes
        return Image.fromarray(np.rint(levels + self.options.sigma * drawn).clip(0, 255).astype(np.uint8))
