"""Class balance: rare labels weigh more in the guard's cross-entropy."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from ..guard.head import IGNORED


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
