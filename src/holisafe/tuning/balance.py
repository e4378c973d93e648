"""Class balance: rare labels weigh more in the guard's cross-entropy."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORED = -100


def inverse_frequency(label_ids: Iterable[int], labels: int, cap: float) -> Tensor:
    """Weights [labels] as the inverse of how often each label occurs, at most `cap` times that of a label of average
    frequency, scaled so that the mean over the data is 1: lambda keeps its meaning. Labels that do not occur get 1."""
    ids = torch.tensor([label for label in label_ids if label != IGNORED], dtype=torch.long)
    counts = torch.bincount(ids, minlength=labels).double()
    present = counts > 0
    if not present.any():
        return torch.ones(labels)
    weights = (counts.sum() / (present.sum() * counts.clamp(min=1))).clamp(max=cap)
    weights = weights * counts.sum() / (weights * counts).sum()
    return torch.where(present, weights, 1.0).float()


def balanced_loss(logits: Tensor, valid: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Weighted cross-entropy over the samples that have an image and a label; 0 (with a gradient of 0) without any.

    Divided by their number, not by the sum of their weights: in a micro-batch of one the weight would cancel out.
    """
    labels = torch.where(valid, labels.to(logits.device), IGNORED)
    total = F.cross_entropy(
        logits.float(), labels, weight=weights.to(logits.device), ignore_index=IGNORED, reduction="sum"
    )
    return total / (labels != IGNORED).sum().clamp(min=1)
