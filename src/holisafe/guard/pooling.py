"""Mean-pool the features at image positions, one row a sample.

    input_ids   <pad> <bos> <img> <img> Is   this  safe  ?
    mask          .     .     x     x    .     .    .    .      [B, S]
    features      .     .    f2    f3    .     .    .    .      [B, S, H]
    pooled                (f2 + f3) / 2                         [B, H]

The sum and the count travel apart, so that a prefill cut into chunks adds up to the same mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor, nn

SOURCES: Final[dict[str, Literal["input", "output"]]] = {"hidden": "output", "visual": "input"}
"""Pooling source -> the side of the text decoder that is tapped: last hidden state, or projected image features."""


@dataclass
class Pooled:
    """Sums [B, H] in float32 and how many positions went into each [B]."""

    total: Tensor
    count: Tensor

    def __add__(self, other: Pooled) -> Pooled:
        return Pooled(self.total + other.total, self.count + other.count)

    def every(self, step: int) -> Pooled:
        """Rows 0, step, 2 step ...: the samples, where each was repeated `step` times for its beams."""
        return Pooled(self.total[::step], self.count[::step])

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
