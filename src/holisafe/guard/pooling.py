"""Mean-pool features of the text decoder, one row a sample (or an image).

    input_ids   <pad> <bos> <img> <img> <tok>  Is   this  safe  ?
    image         .     .     x     x     .     .    .    .     .    [B, S]
    token         .     .     .     .     x     .    .    .     .
    text          .     x     .     .     .     x    x    x     x
    features      .     .    f2    f3     .     .    .    .     .    [B, S, H]
    pooled                (f2 + f3) / 2                              [B, H]

Sums and counts travel apart, so that a prefill cut into chunks, or a conversation of several turns on one cache, adds
up to the same mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final, Literal

import torch
from torch import Tensor, nn

Side = Literal["input", "output"]
Positions = Literal["image", "token", "text"]
Part = tuple[Side, Positions]

PARTS: Final[dict[str, tuple[Part, ...]]] = {
    "last_hidden": (("output", "image"),),
    "projected": (("input", "image"),),
    "token": (("output", "token"),),
    "image_and_text": (("output", "image"), ("output", "text")),
}
"""Pooling source -> what of the text decoder it averages: which side, at which positions; several parts are
concatenated. The decoder's output is its last hidden state, its input at image positions the projected features."""

OLD_NAMES: Final = {"hidden": "last_hidden", "visual": "projected"}
"""Sources as folders of schema 1 name them."""


def sources(pool: str) -> tuple[str, ...]:
    """ "last_hidden+token" -> its sources, under today's names."""
    return tuple(OLD_NAMES.get(name, name) for name in pool.split("+"))


def parts_of(pool: str) -> tuple[Part, ...]:
    """Every part that the head's input is made of, in order."""
    return tuple(part for source in sources(pool) for part in PARTS[source])


@dataclass
class Pooled:
    """Sums [B, H] in float32 and how many positions went into each [B]."""

    total: Tensor
    count: Tensor

    def __add__(self, other: Pooled) -> Pooled:
        return Pooled(self.total + other.total, self.count + other.count)

    @property
    def mean(self) -> Tensor:
        """[B, H]; zeros for a sample without image."""
        return self.total / self.count.clamp(min=1).unsqueeze(-1)

    @property
    def valid(self) -> Tensor:
        """[B], True where the sample had an image."""
        return self.count > 0


def image_mask(input_ids: Tensor, token_ids: Sequence[int]) -> Tensor:
    """[B, S] -> [B, S], True where a placeholder token stands."""
    mask = torch.zeros_like(input_ids, dtype=torch.bool)
    for token in token_ids:
        mask = mask | (input_ids == token)
    return mask


def image_mask_from_embeddings(inputs_embeds: Tensor, embedding: nn.Module, token_ids: Sequence[int]) -> Tensor:
    """[B, S, H] -> [B, S] for callers that pass embeddings: a placeholder is found by its embedding, as transformers
    does. Features that were put in beforehand are not recognisable."""
    mask = torch.zeros(inputs_embeds.shape[:2], dtype=torch.bool, device=inputs_embeds.device)
    for token in token_ids:
        placeholder = embedding(torch.full((), token, dtype=torch.long, device=inputs_embeds.device))
        mask = mask | (inputs_embeds == placeholder).all(-1)
    return mask


def pool(features: Tensor, mask: Tensor) -> Pooled:
    """features [B, S, H], mask [B, S] -> sums and counts. Positions outside the mask may hold anything, even NaN."""
    mask = mask.to(features.device)
    total = torch.where(mask.unsqueeze(-1), features, 0).sum(dim=1, dtype=torch.float32)
    return Pooled(total, mask.sum(dim=1))


@dataclass
class Reading:
    """What was read of a batch so far. A later piece of the same conversations continues it.

    pooled  for every part its sums, one Pooled an image; one in all with unit "sample", and for text
    images  [B] how many images were met; inside [B], whether the last position was an image's
    """

    parts: tuple[Part, ...]
    pooled: list[list[Pooled]]
    images: Tensor
    inside: Tensor

    def __add__(self, later: Reading) -> Reading:
        """Sums add up; of a token the later occurrence counts."""
        pooled = []
        for (_, positions), old, new in zip(self.parts, self.pooled, later.pooled, strict=True):
            join = _newest if positions == "token" else Pooled.__add__
            common = [join(a, b) for a, b in zip(old, new, strict=False)]
            pooled.append(common + old[len(new) :] + new[len(old) :])
        return Reading(self.parts, pooled, later.images, later.inside)

    def _of_rows(self, pick: Callable[[Tensor], Tensor]) -> Reading:
        pooled = [[Pooled(pick(one.total), pick(one.count)) for one in group] for group in self.pooled]
        return Reading(self.parts, pooled, pick(self.images), pick(self.inside))

    def every(self, step: int) -> Reading:
        """Rows 0, step, 2 step ...: the samples, where each was repeated `step` times for its beams."""
        return self._of_rows(lambda tensor: tensor[::step])

    def repeated(self, times: int) -> Reading:
        return self._of_rows(lambda tensor: tensor.repeat_interleave(times, dim=0))

    def detached(self) -> Reading:
        return self._of_rows(Tensor.detach)

    @property
    def groups(self) -> int:
        return max(len(group) for group in self.pooled)

    def _filled(self, positions: Positions, group: list[Pooled]) -> list[Pooled]:
        """As many as there are images: the text is every image's, a token that was not there is empty."""
        if positions == "text":
            return group * self.groups
        empty = Pooled(torch.zeros_like(group[0].total), torch.zeros_like(group[0].count))
        return group + [empty] * (self.groups - len(group))

    def _stacked(self) -> list[list[Pooled]]:
        return [self._filled(part[1], group) for part, group in zip(self.parts, self.pooled, strict=True)]

    @property
    def features(self) -> Tensor:
        """[B, M, P * H]: for each image (M = 1 with unit "sample") the means of the P parts side by side."""
        return torch.cat([torch.stack([one.mean for one in group], dim=1) for group in self._stacked()], dim=-1)

    @property
    def valid(self) -> Tensor:
        """[B, M], True where no part is empty."""
        return torch.stack([torch.stack([one.valid for one in g], dim=1) for g in self._stacked()]).all(0)


def _newest(old: Pooled, new: Pooled) -> Pooled:
    there = new.valid
    return Pooled(torch.where(there.unsqueeze(-1), new.total, old.total), torch.where(there, new.count, old.count))


def read(
    features: Mapping[Side, Tensor],
    masks: Mapping[Positions, Tensor],
    parts: tuple[Part, ...],
    *,
    per_image: bool = False,
    image_numbers: Tensor | None = None,
    before: Reading | None = None,
) -> Reading:
    """Pool every part over a piece of a batch, and join it to what was read before.

    features      side of the decoder -> [B, S, H]
    masks         kind of position -> [B, S]; "token" counts only after an image, its last occurrence
    per_image     apart for each image; image_numbers [B, S] from 1 says which (0: none). Without them every run of
                  consecutive image positions is one image, also across pieces
    """
    is_image = masks["image"]
    start = before.inside if before else torch.zeros_like(is_image[:, 0])
    met = before.images if before else torch.zeros_like(is_image[:, 0], dtype=torch.long)
    begins = is_image & ~torch.cat([start.unsqueeze(1), is_image[:, :-1]], dim=1)
    numbers = begins.cumsum(1) + met.unsqueeze(1)
    if image_numbers is not None:
        numbers = image_numbers.to(numbers.device).cummax(1).values
    groups = max(1, int(numbers.max())) if per_image else 1

    pooled = []
    for side, positions in parts:
        mask = masks[positions]
        if positions == "token":
            mask = mask & (numbers > 0)
        row = []
        for group in range(1, groups + 1 if positions != "text" else 2):
            chosen = mask & (numbers == group) if per_image and positions != "text" else mask
            row.append(pool(features[side], _last(chosen) if positions == "token" else chosen))
        pooled.append(row)
    reading = Reading(parts, pooled, numbers[:, -1], is_image[:, -1])
    return before + reading if before else reading


def _last(mask: Tensor) -> Tensor:
    """[B, S] -> [B, S], True at the last True of each row."""
    return mask & (mask.flip(1).cumsum(1).flip(1) == 1)


def split_at(spans: Sequence[tuple[int, slice]], tensor: Tensor) -> Tensor:
    """[B, S, ...] -> [N, L, ...]: every span (row, slice) a row of its own, padded with zeros."""
    return nn.utils.rnn.pad_sequence([tensor[row, span] for row, span in spans], batch_first=True)


def segments(ids: Tensor) -> list[tuple[int, slice]]:
    """Segment ids [B, S] of packed sequences -> the span of every one, in order; a negative id is padding."""
    spans = []
    for row, values in enumerate(ids.tolist()):
        for value, places in groupby(range(len(values)), key=values.__getitem__):
            if value >= 0:
                run = list(places)
                spans.append((row, slice(run[0], run[-1] + 1)))
    return spans


def segments_of_positions(position_ids: Tensor) -> Tensor:
    """Position ids [B, S] that start anew in every packed sequence -> segment ids [B, S]."""
    breaks = position_ids[:, 1:] != position_ids[:, :-1] + 1
    return nn.functional.pad(breaks.cumsum(1), (1, 0))
