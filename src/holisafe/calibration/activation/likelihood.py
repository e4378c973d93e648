"""How likely a model finds given answers: one forward a batch, nothing is generated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...guard.quiet import quiet

if TYPE_CHECKING:
    from ...targets.huggingface import HuggingFaceTarget
    from .collect import Reading

WINDOW = 16
"""Batches' worth of conversations whose images are open at a time."""


def mean_log_likelihoods(target: HuggingFaceTarget, readings: Sequence[Reading]) -> list[float]:
    """The mean log-probability of each answer's tokens, its end of turn included, after its conversation."""
    step, values = WINDOW * target.batch_size, list[float]()
    with quiet():
        for start in range(0, len(readings), step):
            window = [target.passage(*one) for one in readings[start : start + step]]
            values += target.mean_log_likelihoods(window)
    return values
