"""Rates with all that is needed to read them: denominator, interval, and what invalid verdicts could change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..runs.scores import Cell
from .intervals import Floats, Ints, clopper_pearson, mean_interval

Mask = npt.NDArray[np.bool_]


def rate_cell(hits: int, n: int, n_invalid: int = 0, interval: tuple[float, float] | None = None) -> Cell:
    """The rate `hits / n`, with Clopper and Pearson's interval unless another is given."""
    judged = n + n_invalid
    bound_low, bound_high = (hits / judged, (hits + n_invalid) / judged) if judged else (None, None)
    if n == 0:
        return Cell(None, 0, n_invalid, None, None, bound_low, bound_high)
    low, high = map(float, interval or clopper_pearson(hits, n))
    return Cell(hits / n, n, n_invalid, low, high, bound_low, bound_high)


@dataclass(frozen=True)
class Outcomes:
    """What happened to each of some pairs, as arrays of one length.

    valid: whether there is a verdict. hit: whether it counts towards the rate, looked at only where valid.
    clusters: numbers from 0 of what pairs share, or None when every pair stands for itself. worth: what a hit counts,
    from 0 to 1; None: 1.

    Groups of pairs, as masks, have rates, whose intervals are `mean_interval`'s.
    """

    valid: Mask
    hit: Mask
    clusters: Ints | None = None
    worth: Floats | None = None

    def cells(self, groups: Sequence[Mask]) -> list[Cell]:
        """The rate of hits within each group of pairs."""
        return [self.macro([group]) for group in groups]

    def macro(self, groups: Sequence[Mask]) -> Cell:
        """The mean of the groups' rates; unknown without groups, or when one of them has no valid verdict."""
        clusters = np.arange(len(self.valid)) if self.clusters is None else self.clusters
        hits, sizes = np.zeros((2, int(clusters.max(initial=-1)) + 1, len(groups)))
        for at, group in enumerate(groups):
            hit = group & self.valid & self.hit
            worth = None if self.worth is None else self.worth[hit]
            hits[:, at] = np.bincount(clusters[hit], worth, minlength=len(hits))
            sizes[:, at] = np.bincount(clusters[group & self.valid], minlength=len(sizes))
        invalid = np.array([(group & ~self.valid).sum() for group in groups], dtype=float)
        hit, n = hits.sum(axis=0), sizes.sum(axis=0)
        bounds = _mean_ratio(hit, n + invalid), _mean_ratio(hit + invalid, n + invalid)
        rate, used = _mean_ratio(hit, n), sizes.any(axis=1)
        low, high = (None, None) if rate is None else map(float, mean_interval(hits[used], sizes[used]))
        return Cell(rate, int(n.sum()), int(invalid.sum()), low, high, *bounds)


def _mean_ratio(above: Floats, below: Floats) -> float | None:
    """The mean of above / below (groups,), or None where there are no groups or one of them has nothing below."""
    return float((above / below).mean()) if len(below) and below.all() else None
