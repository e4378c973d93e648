"""Scenes drawn from a seed: pictograms in a 3 x 3 grid on a soft background, the same pixels on every machine.

Only integer arithmetic, Pillow's fixed-point 8-bit resize and `random.Random` seeded with text are used, whose
results do not depend on the platform. A scene is 96 x 96 RGB; each of its nine cells is 32 x 32.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .catalog import concepts

SPRITE_PIXELS = 48
SPRITES_PER_ROW = 12
GRID = 3
CELL_PIXELS = 32
SCENE_PIXELS = GRID * CELL_PIXELS

STYLES: dict[str, tuple[str, ...]] = {
    "seen": ("noto", "fluent"),
    "development": ("emojione",),
    "unseen": ("twemoji",),
}
"""Style -> the sprite sheets it draws from. Choices are made on `development`; `unseen` is only ever tested."""

CELL_NAMES = ("top left", "top", "top right", "left", "middle", "right", "bottom left", "bottom", "bottom right")


@dataclass(frozen=True)
class Scene:
    """What stands where. `placed` holds (cell 0 to 8, concept) in reading order; `seed` fixes everything else."""

    placed: tuple[tuple[int, str], ...]
    style: str
    seed: str


@functools.cache
def sprites(sheet: str) -> dict[str, Image.Image]:
    """Concept -> its 48 x 48 RGBA sprite in one sheet."""
    with Image.open(Path(__file__).with_name("sprites") / f"{sheet}.png") as opened:
        image = opened.convert("RGBA")
    corners = (
        (name, index % SPRITES_PER_ROW * SPRITE_PIXELS, index // SPRITES_PER_ROW * SPRITE_PIXELS)
        for index, name in enumerate(concepts())
    )
    return {name: image.crop((x, y, x + SPRITE_PIXELS, y + SPRITE_PIXELS)) for name, x, y in corners}


def background(draw: random.Random) -> NDArray[np.int32]:
    """A gradient between two related colours with a little grain, (96, 96, 3)."""
    start = np.array([60 + int(draw.random() * 196) for _ in range(3)], np.int32)
    end = np.clip(start + np.array([int(draw.random() * 121) - 60 for _ in range(3)], np.int32), 40, 255)
    ramp = np.arange(SCENE_PIXELS, dtype=np.int32)[:, None, None]
    gradient = (start * (SCENE_PIXELS - 1 - ramp) + end * ramp) // (SCENE_PIXELS - 1)
    canvas = np.broadcast_to(gradient, (SCENE_PIXELS, SCENE_PIXELS, 3))
    if draw.random() < 0.5:
        canvas = canvas.transpose(1, 0, 2)
    strength = int(draw.random() * 6)
    noise = np.frombuffer(draw.randbytes(SCENE_PIXELS * SCENE_PIXELS), np.uint8).astype(np.int32)
    grain = (noise.reshape(SCENE_PIXELS, SCENE_PIXELS, 1) - 128) * strength // 64
    return np.clip(canvas + grain, 0, 255)


def paste(canvas: NDArray[np.int32], sprite: Image.Image, cell: int, draw: random.Random) -> None:
    """Blend a sprite of 26 to 32 pixels into its cell, up to two pixels off its place."""
    size = 26 + int(draw.random() * 7)
    slack = CELL_PIXELS - size
    offset = [int(draw.random() * (slack + 5)) - 2 for _ in range(2)]
    x, y = (
        min(max(0, corner * CELL_PIXELS + shift), SCENE_PIXELS - size)
        for corner, shift in zip((cell % GRID, cell // GRID), offset, strict=True)
    )
    pixels = np.asarray(sprite.resize((size, size), Image.Resampling.BILINEAR), np.int32)
    alpha = pixels[..., 3:]
    region = canvas[y : y + size, x : x + size]
    region[...] = (pixels[..., :3] * alpha + region * (255 - alpha) + 127) // 255


def render(scene: Scene) -> Image.Image:
    """Draw a scene; equal scenes give equal pixels. Raises KeyError for an unknown style or concept."""
    draw = random.Random(scene.seed)
    canvas = background(draw)
    sheets: Sequence[str] = STYLES[scene.style]
    for cell, concept in scene.placed:
        sheet = sheets[int(draw.random() * len(sheets))]
        paste(canvas, sprites(sheet)[concept], cell, draw)
    return Image.fromarray(canvas.astype(np.uint8))
