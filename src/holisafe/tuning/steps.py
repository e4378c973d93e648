"""How many optimiser steps a run has, on how many processes, and in which order its examples come."""

from __future__ import annotations

import os
from collections.abc import Iterator

import torch
from transformers.trainer_pt_utils import LengthGroupedSampler

from .recipe import Recipe


def steps_per_epoch(examples: int, recipe: Recipe) -> int:
    """Optimiser steps that see every example once, on all processes together."""
    batches = -(-examples // (recipe.optimiser.batch_size * processes()))
    return max(1, -(-batches // recipe.optimiser.gradient_accumulation))


def processes() -> int:
    """How many processes work on the run together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


class LikeLengths(LengthGroupedSampler):
    """Alike lengths together, in an order that seed and epoch decide: a resumed run finds its place again."""

    def __init__(self, batch_size: int, lengths: list[int], seed: int) -> None:
        super().__init__(batch_size, lengths=lengths)
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        self.generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order: Iterator[int] = super().__iter__()  # type: ignore[no-untyped-call]
        return order
