"""`decoy`: a harmless picture beside the sample's own, as another picture or joined to it."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Literal

from PIL import Image, ImageDraw

from ...images import blank, open_image, pixel_hash
from ...records import Message, Picture, Request, digest
from ...registry import attacks
from ...specs import typed_path
from ...targets.base import Target
from ..attack import Attack, SeededOptions


class DecoyOptions(SeededOptions):
    """`place`: a picture before or after the others, or `joined` to the right of the last. `file`: a picture of one's
    own; without, a hill under a sun is drawn, other colours and places for each sample."""

    place: Literal["before", "after", "joined"] = "before"
    file: str | None = None


@attacks.register("decoy", summary="a harmless picture beside the sample's own",
                  needs="a model that takes several pictures, or place=joined", pictosafe="yes")  # fmt: skip
class Decoy(Attack):
    attack, reads, adds_pictures = "decoy", DecoyOptions, 1

    def __init__(self, target: Target, told: dict[str, str]) -> None:
        if told.get("place") == "joined":
            self.adds_pictures = 0
        super().__init__(target, told)
        if self.options.file is not None:
            self.facts["pixels"] = pixel_hash(self.shown(""))

    def turned(self, turn: Message, request: Request) -> Message:
        if self.options.place == "joined" and not turn.pictures:
            return turn
        place, own = self.options.place, turn.pictures
        seed = digest([self.attack, self.options.seed, request.sample_id])
        if place == "joined":
            pictures = (*own[:-1], Picture(own[-1].name, lambda: joined(own[-1].open(), self.shown(seed))))
        else:
            added = Picture("decoy.png", lambda: self.shown(seed))
            pictures = (added, *own) if place == "before" else (*own, added)
        return replace(turn, pictures=pictures)

    def shown(self, seed: str) -> Image.Image:
        return landscape(seed) if self.options.file is None else open_image(typed_path(self.options.file))


def landscape(seed: str, size: int = 192) -> Image.Image:
    """A green hill under a blue sky with a sun, square, `size` pixels wide."""
    draw = random.Random(seed)
    image = Image.new("RGB", (size, size), (120 + int(60 * draw.random()), 180 + int(40 * draw.random()), 235))
    pen = ImageDraw.Draw(image)
    left, top, wide = (int(size * share) for share in (0.7 * draw.random(), 0.2 * draw.random(), 0.18))
    pen.ellipse((left, top, left + wide, top + wide), fill=(250, 210, 60))
    middle, high = int(size * draw.random()), int(size * (0.45 + 0.2 * draw.random()))
    pen.ellipse((middle - size, high, middle + size, high + 2 * size), fill=(60, 130 + int(60 * draw.random()), 60))
    return image


def joined(first: Image.Image, second: Image.Image) -> Image.Image:
    """Two pictures side by side, the second as high as the first. Raises InputError for more pixels than the limit."""
    width = max(1, round(second.width * first.height / second.height))
    both = blank(first.width + width, first.height)
    both.paste(first, (0, 0))
    both.paste(second.resize((width, first.height)), (first.width, 0))
    return both
