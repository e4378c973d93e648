"""How likely a model finds given answers: one forward a batch, nothing is generated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from ...guard.quiet import quiet

if TYPE_CHECKING:
    from ...targets.huggingface import HuggingFaceTarget
    from .collect import Reading

WINDOW = 16
"""Batches' worth of conversations whose images are open at a time."""


def mean_log_likelihoods(target: HuggingFaceTarget, readings: Sequence[Reading]) -> list[float]:
    """The mean log-probability of each answer's tokens, its end of turn included, after its conversation."""
    values = [0.0] * len(readings)
    options = {"use_cache": False, **({"do_safety": False} if target.labels is not None else {})}
    with quiet(), torch.inference_mode():
        for start in range(0, len(readings), WINDOW * target.batch_size):
            window = readings[start : start + WINDOW * target.batch_size]
            for prefill in target.prefills([target.passage(*one) for one in window]):
                logits = target.model(**prefill.tensors, **options).logits
                for row, place in enumerate(prefill.places):
                    first, last = prefill.spans[row]
                    said = logits[row, first - 1 : last - 1].float().log_softmax(-1)
                    tokens = prefill.tensors["input_ids"][row, first:last]
                    values[start + place] = float(said.gather(1, tokens[:, None]).mean())
    return values
