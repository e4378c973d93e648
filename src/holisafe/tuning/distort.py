"""Pictures drawn a little differently: bent, turned, recoloured, blurred; what they show and where stays the same.

A model that learnt to see many styles forgets some of it when it is tuned on pictures of one. Each picture of the
training data is distorted once, by a draw that its example's id and the recipe's `draw_seed` decide, so runs agree.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from ..records import Message, Picture, digest
from .examples import Example

MESH = 6
"""Patches a side that are bent each by itself."""
BEND, TURN, STRETCH, HUE = 0.03, 8.0, 0.12, 18
"""Most that a patch's corner moves (of the side), degrees that a picture turns, stretch of a side, and of 255 hues."""
COLOURS = {"Color": 0.7, "Contrast": 0.3, "Brightness": 0.2}
"""Most that each of Pillow's enhancements takes away or adds."""
BLUR, POSTERISE, SHARPEN = 0.3, 0.25, 0.2
"""Shares of pictures."""


def distort(examples: Sequence[Example], share: float, seed: int) -> list[Example]:
    """`share` of the examples with distorted pictures, the others as they are; a larger share holds a smaller one."""
    if not share:
        return list(examples)
    return [_distorted(one, seed) if _draw(seed, one.id) < share else one for one in examples]


def _draw(seed: int, name: str) -> float:
    return int(digest(["distort", seed, name]), 16) % 10**9 / 10**9


def _distorted(example: Example, seed: int) -> Example:
    def changed(picture: Picture) -> Picture:
        key = digest(["distorted", seed, example.id, picture.name])
        return Picture(f"{picture.name}~{key[:8]}", partial(_opened, picture, key))

    def again(message: Message) -> Message:
        return replace(message, pictures=tuple(map(changed, message.pictures)))

    return replace(example, messages=tuple(map(again, example.messages)))


def _opened(picture: Picture, key: str) -> Image.Image:
    return distorted(picture.open(), random.Random(key))


def distorted(image: Image.Image, draw: random.Random) -> Image.Image:
    """The picture, [H, W, 3] as before, distorted as `draw` says."""
    image = image.convert("RGB")
    ground = image.getpixel((0, 0))
    image = bent(image, draw)
    turned = image.rotate(draw.uniform(-TURN, TURN), Image.Resampling.BILINEAR, fillcolor=ground)
    image = _stretched(turned, draw, ground)
    image = _recoloured(image, draw)
    if draw.random() < BLUR:
        image = image.filter(ImageFilter.GaussianBlur(draw.uniform(0.2, 0.9) * image.width / 96))
    if draw.random() < POSTERISE:
        image = ImageOps.posterize(image, draw.choice([3, 4]))
    if draw.random() < SHARPEN:
        image = image.filter(ImageFilter.EDGE_ENHANCE)
    return image


def bent(image: Image.Image, draw: random.Random) -> Image.Image:
    """A mesh of patches, the inner corners of which moved."""
    width, height = image.size
    most = BEND * min(width, height)
    xs = [round(width * n / MESH) for n in range(MESH + 1)]
    ys = [round(height * n / MESH) for n in range(MESH + 1)]

    def corner(column: int, row: int) -> tuple[float, float]:
        inner = 0 < column < MESH and 0 < row < MESH
        move = (draw.uniform(-most, most), draw.uniform(-most, most)) if inner else (0.0, 0.0)
        return xs[column] + move[0], ys[row] + move[1]

    corners = {(c, r): corner(c, r) for r in range(MESH + 1) for c in range(MESH + 1)}
    mesh = []
    for row in range(MESH):
        for column in range(MESH):
            around = [(column, row), (column, row + 1), (column + 1, row + 1), (column + 1, row)]
            box = (xs[column], ys[row], xs[column + 1], ys[row + 1])
            mesh.append((box, tuple(value for at in around for value in corners[at])))
    return image.transform(image.size, Image.Transform.MESH, mesh, Image.Resampling.BILINEAR)


def _stretched(image: Image.Image, draw: random.Random, ground: Any) -> Image.Image:
    """Wider or higher about the middle, by up to `STRETCH` either way."""
    width, height = image.size
    across, down = (1 + draw.uniform(-STRETCH, STRETCH) for _ in range(2))
    coefficients = (across, 0, width * (1 - across) / 2, 0, down, height * (1 - down) / 2)
    return image.transform(
        image.size, Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR, fillcolor=ground
    )


def _recoloured(image: Image.Image, draw: random.Random) -> Image.Image:
    """Another hue, saturation, contrast and brightness."""
    hue, saturation, value = image.convert("HSV").split()
    moved = draw.randint(-HUE, HUE)
    hue = hue.point(lambda level: (level + moved) % 256)
    image = Image.merge("HSV", (hue, saturation, value)).convert("RGB")
    for name, most in COLOURS.items():
        image = getattr(ImageEnhance, name)(image).enhance(1 + draw.uniform(-most, most))
    return image
