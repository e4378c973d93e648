"""Mean-pool features of the text decoder, one row a sample (or an image).

    input_ids   <pad> <bos> <img> <img> <tok>  Is   this  safe  ?
    image         .     .     x     x     .     .    .    .     .    [B, S]
    token         .     .     .     .     x     .    .    .     .
    text          .     x     .     .     .     x    x    x     x
    features      .     .    f2    f3     .     .    .    .     .    [B, S, H]
    pooled                (f2 + f3) / 2                              [B, H]

Sums and counts travel apart, so that a prefill cut into chunks, or a conversation of several turns on one cache, adds
up to the same mean. Only the positions that count are gathered, never the whole of the features.

Letters in shapes: B samples, S positions in a row, H the decoder's width, N positions of the batch that count, n those
of one sample.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, reduce
from operator import or_
from typing import Final, Literal

import torch
from torch import Tensor, nn

Side = Literal["input", "output"] | int
"""Of the text decoder: its input, its output after the final norm, or the state between layers, after so many."""

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

EARLY: Final = re.compile(r"(hidden|token|image_and_text)@([1-9]\d{0,3})")
"""`hidden@8`: as "last_hidden", but of the state after 8 layers, as the next one is given it. A guard that is read
alone stops there."""

OLD_NAMES: Final = {"hidden": "last_hidden", "visual": "projected"}
"""Sources as folders of schema 1 name them."""


def sources(pool: str) -> tuple[str, ...]:
    """ "last_hidden+token" -> its sources, under today's names."""
    return tuple(OLD_NAMES.get(name, name) for name in pool.split("+"))


@cache
def parts_of(pool: str) -> tuple[Part, ...]:
    """Every part that the head's input is made of, in order. Raises KeyError for a source that is none."""
    return tuple(part for source in sources(pool) for part in _parts(source))


def _parts(source: str) -> tuple[Part, ...]:
    if (early := EARLY.fullmatch(source)) is None:
        return PARTS[source]
    name, layers = early.groups()
    return tuple((int(layers), positions) for _, positions in PARTS[OLD_NAMES.get(name, name)])


def layers_of(pool: str) -> tuple[int, ...]:
    """After how many layers the states between layers are read, ascending."""
    return tuple(sorted({side for side, _ in parts_of(pool) if isinstance(side, int)}))


def is_source(name: str) -> bool:
    return name in PARTS or EARLY.fullmatch(name) is not None


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
    return reduce(or_, [input_ids == token for token in token_ids])


def image_mask_from_embeddings(inputs_embeds: Tensor, embedding: nn.Module, token_ids: Sequence[int]) -> Tensor:
    """[B, S, H] -> [B, S] for callers that pass embeddings: a placeholder is found by its embedding, as transformers
    does. Features that were put in beforehand are not recognisable."""
    mask = torch.zeros(inputs_embeds.shape[:2], dtype=torch.bool, device=inputs_embeds.device)
    for token in token_ids:
        placeholder = embedding(torch.full((), token, dtype=torch.long, device=inputs_embeds.device))  # [H]
        mask = mask | (inputs_embeds == placeholder).all(-1)  # [B, S]
    return mask


@dataclass(frozen=True)
class Places:
    """Positions to average over: `index` [N] counts through the batch [B, S] row by row, `counts` says how many of them
    belong to each sample, in order; `count` [B] is the same as a tensor."""

    index: Tensor
    count: Tensor
    counts: list[int]


def places(mask: Tensor, numbers: Tensor | None = None) -> Places:
    """Where the mask [B, S] is True. For rows that were cut out of a batch, `numbers` [B, S] says which of its
    positions each one is. On a GPU this waits for the mask, so it is done before the decoder has work."""
    count = mask.sum(dim=1)  # [B]
    index = mask.flatten().nonzero().squeeze(1) if numbers is None else numbers[mask]  # [N]
    return Places(index, count, count.tolist())


def pool(features: Tensor, at: Places) -> Pooled:
    """features [B, S, H] -> sums and counts, a row a sample. Other positions may hold anything, even NaN."""
    chosen = features.flatten(0, 1).index_select(0, at.index.to(features.device))  # [B * S, H] -> [N, H]
    if min(at.counts) == max(at.counts):  # the usual batch, in one operation
        alike = chosen.view(len(at.counts), at.counts[0], features.shape[-1])  # [B, n, H]
        total = alike.sum(dim=1, dtype=torch.float32)  # [B, H]
    else:
        # B x [n, H], n differing, -> [B, H]
        total = torch.stack([rows.sum(dim=0, dtype=torch.float32) for rows in chosen.split(at.counts)])
    return Pooled(total, at.count.to(features.device))
