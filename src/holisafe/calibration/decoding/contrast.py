"""Decoding a conversation beside another wording of itself, and widening the difference that the wording makes.

    as asked    logits z      together in one batch of `generate`, as twice the rows: the same tokens are
    reworded    logits z'     told to both, so each has its own cache and left padding

    z + scale (z' - z)        0: as asked, 1: reworded, above: further along

Source: constitutional calibration (CoCA, arXiv 2409.11365), whose wording is a safety principle and whose safety delta
is z' - z.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import LogitsProcessor

from ...records import Request

if TYPE_CHECKING:
    from ...targets.huggingface import HuggingFaceTarget


class Contrast(LogitsProcessor):
    """Mixes the logits of conversations as asked and, in as many rows below, reworded; both get what is mixed."""

    def __init__(self, reworded: Callable[[Request], Request], scale: float) -> None:
        self.reworded, self.scale = reworded, scale

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """`scores` [2B, V] of the next token, whatever `input_ids` are."""
        asked, other = scores.chunk(2)
        mixed = torch.lerp(asked, other, self.scale)  # exact at 0 and 1
        return torch.cat([mixed, mixed])


@contextmanager
def contrasted(model: HuggingFaceTarget, reworded: Callable[[Request], Request], scale: float) -> Iterator[None]:
    """Within it, every conversation is decoded beside `reworded` of it. Of several the last to begin is in force."""
    contrast = Contrast(reworded, scale)
    model.contrasts.append(contrast)
    try:
        yield
    finally:
        model.contrasts.remove(contrast)
