"""The guard's reading of a batch: taken while the decoder runs, continued by later pieces of the same conversations.

call ─ masks ─> Reader ─ places            before the decoder runs
                  │ tap: input, output     each pooled as it passes, then let go
                  v
               Reading ─ + ─ later pieces ─> features of the head

Letters in shapes: B samples, S positions in a row, H the decoder's width, P parts that are pooled, M images of a sample
at most.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from . import pooling
from .pooling import Part, Places, Pooled, Positions, Side


@dataclass
class Met:
    """How far the images were met: how many [B], and whether the last position was an image's [B]."""

    images: Tensor
    inside: Tensor


@dataclass
class Reading:
    """What was read of a batch so far. A later piece of the same conversations continues it.

    pooled  for every part its sums, one Pooled an image; one in all with unit "sample", and for text
    met     None where the images need not be told apart: unit "sample" without a token
    """

    parts: tuple[Part, ...]
    pooled: list[list[Pooled]]
    met: Met | None = None

    def __len__(self) -> int:
        """B."""
        return len(self.pooled[0][0].count)

    def __add__(self, later: Reading) -> Reading:
        """Sums add up; of a token the later occurrence counts."""
        pooled = []
        for (_, positions), old, new in zip(self.parts, self.pooled, later.pooled, strict=True):
            join = _newest if positions == "token" else Pooled.__add__
            common = [join(a, b) for a, b in zip(old, new, strict=False)]
            pooled.append(common + old[len(new) :] + new[len(old) :])
        return Reading(self.parts, pooled, later.met)

    def _of_rows(self, pick: Callable[[Tensor], Tensor]) -> Reading:
        pooled = [[Pooled(pick(one.total), pick(one.count)) for one in images] for images in self.pooled]
        return Reading(self.parts, pooled, self.met and Met(pick(self.met.images), pick(self.met.inside)))

    def every(self, step: int) -> Reading:
        """Rows 0, step, 2 step ...: the samples, where each was repeated `step` times for its beams."""
        return self if step == 1 else self._of_rows(lambda tensor: tensor[::step])

    def repeated(self, times: int) -> Reading:
        return self if times == 1 else self._of_rows(lambda tensor: tensor.repeat_interleave(times, dim=0))

    def detached(self) -> Reading:
        return self._of_rows(Tensor.detach) if torch.is_grad_enabled() else self

    @property
    def images(self) -> int:
        """M, the most images of a sample; 1 with unit "sample"."""
        return max(len(images) for images in self.pooled)

    def image(self, number: int) -> tuple[Tensor, Tensor]:
        """For image `number` from 0 of every sample the means of the P parts side by side [B, P * H], and [B], True
        where no part is empty."""
        of_parts = [self._part(index, number) for index in range(len(self.parts))]
        if len(of_parts) == 1:
            return of_parts[0].mean, of_parts[0].valid  # [B, H], [B]
        features = torch.cat([one.mean for one in of_parts], dim=-1)  # P x [B, H] -> [B, P * H]
        return features, torch.stack([one.valid for one in of_parts]).all(0)  # [P, B] -> [B]

    def _part(self, index: int, number: int) -> Pooled:
        """The text is every image's; a token that was not there is empty."""
        images = self.pooled[index]
        if self.parts[index][1] == "text":
            return images[0]
        if number < len(images):
            return images[number]
        return Pooled(torch.zeros_like(images[0].total), torch.zeros_like(images[0].count))


def _newest(old: Pooled, new: Pooled) -> Pooled:
    there = new.valid  # [B], against sums [B, H] and counts [B]
    return Pooled(torch.where(there.unsqueeze(-1), new.total, old.total), torch.where(there, new.count, old.count))


class Enough(Exception):  # noqa: N818 - no error: what was asked for is there
    """Leaves a forward whose rest nobody wants."""


class Reader:
    """Reads one piece of a batch. Which positions count is settled at once; the features come later, from the tap.

    shape         [B, S] of what the decoder will see
    masks         kind of position -> [B, S]; "token" counts only after an image, its last occurrence
    per_image     apart for each image; image_numbers [B, S] from 1 says which (0: none). Without them every run of
                  consecutive image positions is one image, also across pieces
    cut_from      for masks of rows that were cut out of the batch: the number of each position in it
    before        what was read of earlier pieces
    alone         nothing but the reading is wanted: raises Enough as soon as all was taken
    """

    def __init__(
        self,
        shape: torch.Size,
        masks: Mapping[Positions, Tensor],
        parts: tuple[Part, ...],
        *,
        per_image: bool = False,
        image_numbers: Tensor | None = None,
        cut_from: Tensor | None = None,
        before: Reading | None = None,
        alone: bool = False,
    ) -> None:
        self.shape, self.parts, self.before, self.alone = shape, parts, before, alone
        self.pooled: dict[int, list[Pooled]] = {}
        self.kept: dict[Side, Tensor] = {}
        self.met: Met | None = None
        numbers = None
        if per_image or any(positions == "token" for _, positions in parts):
            numbers = _image_numbers(masks["image"], image_numbers, before.met if before else None)  # [B, S]
            self.met = Met(numbers[:, -1], masks["image"][:, -1])  # [B], [B]
        self.places: dict[int, list[Places]] = {
            index: [pooling.places(mask, cut_from) for mask in _apart(positions, masks[positions], numbers, per_image)]
            for index, (_, positions) in enumerate(parts)
        }

    def take(self, side: Side, features: Tensor) -> None:
        """Pool the features [B, S, H] of one side; only those of the side's first call. Raises RuntimeError when they
        are not of the shape that was announced.

        A layer's input is pooled later where gradients are wanted: a hook on a layer may run inside a checkpoint, which
        runs it again without us, and what is kept is the checkpoint's own input, alive all the same.
        """
        wanted = any(part[0] == side and index not in self.pooled for index, part in enumerate(self.parts))
        if not wanted or side in self.kept:
            return
        if features.shape[:2] != self.shape:
            seen = f"decoder {tuple(features.shape[:2])}, call {tuple(self.shape)}"
            raise RuntimeError(f"the guard cannot tell the image positions: {seen}")
        if isinstance(side, int) and torch.is_grad_enabled():
            self.kept[side] = features
        else:
            self._pool(side, features)
        if self.alone and not self.places and not torch.compiler.is_compiling():
            raise Enough

    def _pool(self, side: Side, features: Tensor) -> None:
        for index, part in enumerate(self.parts):
            if part[0] == side and index not in self.pooled:
                self.pooled[index] = [pooling.pool(features, at) for at in self.places.pop(index)]

    def reading(self) -> Reading:
        """What was taken, joined to what was read before. Raises RuntimeError when a side never came."""
        while self.kept:
            self._pool(*self.kept.popitem())
        for index, (side, _) in enumerate(self.parts):
            if index not in self.pooled:
                raise RuntimeError(f"the guard saw no {_named(side)} of the text decoder, so it has nothing to pool")
        reading = Reading(self.parts, [self.pooled[index] for index in range(len(self.parts))], self.met)
        return self.before + reading if self.before else reading


def _named(side: Side) -> str:
    return f"state after {side} layers" if isinstance(side, int) else side


def _image_numbers(is_image: Tensor, given: Tensor | None, met: Met | None) -> Tensor:
    """[B, S]: which image was met last, from 1; 0 before the first."""
    if given is not None:
        return given.to(is_image.device).cummax(1).values
    inside = met.inside.unsqueeze(1) if met else torch.zeros_like(is_image[:, :1])  # [B, 1], the position before
    begins = is_image & ~torch.cat([inside, is_image[:, :-1]], dim=1)  # [B, S]
    numbers = begins.cumsum(1)  # [B, S]
    return numbers + met.images.unsqueeze(1) if met else numbers  # + [B, 1]


def _apart(positions: Positions, mask: Tensor, numbers: Tensor | None, per_image: bool) -> list[Tensor]:
    """The mask of one kind of position, cut up by image where they are read apart."""
    if numbers is None or positions == "text":
        return [mask]
    if positions == "token":
        mask = mask & (numbers > 0)
    groups = range(1, max(1, int(numbers.max())) + 1) if per_image else ()
    chosen = [mask & (numbers == group) for group in groups] or [mask]  # M masks [B, S]
    return [_last(one) for one in chosen] if positions == "token" else chosen


def _last(mask: Tensor) -> Tensor:
    """[B, S] -> [B, S], True at the last True of each row."""
    return mask & (mask.flip(1).cumsum(1).flip(1) == 1)
