"""How a figure over readings changes with the weight of each of them, at weight 1: what its standard error is made of.

Of very many clusters none matters much alone, so a figure is as good as linear in how often each is drawn: drawing them
anew would give a normal spread, whose variance is the sum over clusters of the squared sum of their slopes (the
infinitesimal jackknife; for AUROC, Obuchowski 1997). It takes one pass where 2,000 draws take as many.
"""

from __future__ import annotations

import numpy as np

from .intervals import NORMAL_QUANTILE, Floats, Ints
from .rates import Mask


def normal_interval(value: float, slopes: Floats, groups: Ints | None) -> tuple[float, float] | None:
    """The 95 % interval of a figure between 0 and 1; None where no cluster changes it."""
    by_cluster = slopes if groups is None else np.bincount(groups, weights=slopes)
    half = NORMAL_QUANTILE * float(np.sqrt((by_cluster**2).sum()))
    return (max(value - half, 0.0), min(value + half, 1.0)) if half else None


def macro_f1_slopes(true: Ints, named: Ints, size: int) -> Floats:
    """(n,): of `guard.macro_f1`."""
    both = np.bincount(true[true == named], minlength=size)
    there = np.bincount(true, minlength=size) + np.bincount(named, minlength=size)
    per = 1 / np.maximum(there, 1)
    f1 = 2 * both * per
    one_label = 2 * (true == named) * per[true] - (f1 * per)[true] - (f1 * per)[named]
    slopes: Floats = one_label / (there > 0).sum()
    return slopes


def binary_f1_slopes(unsafe: Mask, called_unsafe: Mask) -> Floats:
    """(n,): of `guard.binary_f1`."""
    there = unsafe.sum() + called_unsafe.sum()
    f1 = 2 * (unsafe & called_unsafe).sum() / there
    slopes: Floats = (2.0 * (unsafe & called_unsafe) - f1 * (unsafe.astype(float) + called_unsafe)) / there
    return slopes


def auroc_slopes(unsafe: Mask, score: Floats) -> Floats:
    """(n,): of `guard.auroc`, with an image of either class."""
    level, safe_at, unsafe_at = _levels(unsafe, score)
    n_safe, n_unsafe = safe_at.sum(), unsafe_at.sum()
    below = (np.cumsum(safe_at) - safe_at / 2) / n_safe
    above = (n_unsafe - np.cumsum(unsafe_at) + unsafe_at / 2) / n_unsafe
    value = (unsafe_at * below).sum() / n_unsafe
    slopes: Floats = np.where(unsafe, (below[level] - value) / n_unsafe, (above[level] - value) / n_safe)
    return slopes


def auprc_slopes(unsafe: Mask, score: Floats) -> Floats:
    """(n,): of `guard.auprc`, with an image of either class."""
    level, safe_at, unsafe_at = _levels(unsafe, -score)
    n_unsafe, found, false = unsafe_at.sum(), np.cumsum(unsafe_at), np.cumsum(safe_at)
    precision = found / (found + false)
    per = unsafe_at / (found + false) ** 2
    gained, lost = (np.cumsum((per * part)[::-1])[::-1] for part in (false, found))
    value = (unsafe_at * precision).sum() / n_unsafe
    slopes: Floats = np.where(unsafe, precision[level] + gained[level] - value, -lost[level]) / n_unsafe
    return slopes


def _levels(unsafe: Mask, score: Floats) -> tuple[Ints, Floats, Floats]:
    """Which of the distinct scores, in rising order, each reading has; how many safe and unsafe readings have each."""
    _, level = np.unique(score, return_inverse=True)
    safe_at, unsafe_at = (np.bincount(level, weights=kind.astype(float), minlength=1) for kind in (~unsafe, unsafe))
    return level.astype(np.int64), safe_at.astype(np.float64), unsafe_at.astype(np.float64)
