"""The guard's loss: cross-entropy over the samples that have an image and a label."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORED = -100
"""The id of a sample, or a token, that has nothing to learn."""


def guard_loss(logits: Tensor, valid: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """logits [B, K], valid [B], labels [B] ids or -100, weights [K] of the labels, None: alike -> the mean, a number.

    Divided by the number of samples that count, not by the sum of their weights: in a micro-batch of one a weight would
    cancel out. 0, with a gradient of 0, where no sample counts. Raises ValueError unless every sample has an id.
    """
    if labels.shape != logits.shape[:1]:
        raise ValueError(f"safety_labels must have one id a sample, {len(logits)} in all, not {tuple(labels.shape)}")
    labels = torch.where(valid, labels.to(logits.device), IGNORED)
    weights = None if weights is None else weights.to(logits.device)
    total = F.cross_entropy(logits.float(), labels, weight=weights, ignore_index=IGNORED, reduction="sum")
    return total / (labels != IGNORED).sum().clamp(min=1)
