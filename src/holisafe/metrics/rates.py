"""Rates with all that is needed to read them: denominator, interval, and what invalid verdicts could change."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .intervals import percentiles, resampled_sums, wilson

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from .intervals import Floats, Ints

    Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Cell:
    """One rate, as a fraction.

    `n` counts valid verdicts and `n_invalid` the others. `low` and `high` are the 95 % interval; the bounds are the
    rate had every invalid verdict gone one way or the other. What cannot be known is None: rate and interval when n is
    0, the bounds when there was no verdict at all.
    """

    rate: float | None
    n: int
    n_invalid: int
    low: float | None
    high: float | None
    bound_low: float | None
    bound_high: float | None

    def to_json(self) -> dict[str, float | int | None]:
        return dataclasses.asdict(self)


def rate_cell(hits: int, n: int, n_invalid: int = 0, interval: tuple[float, float] | None = None) -> Cell:
    """The rate `hits / n`, with Wilson's interval unless another is given."""
    judged = n + n_invalid
    bound_low, bound_high = (hits / judged, (hits + n_invalid) / judged) if judged else (None, None)
    if n == 0:
        return Cell(None, 0, n_invalid, None, None, bound_low, bound_high)
    low, high = interval or wilson(hits, n)
    return Cell(hits / n, n, n_invalid, low, high, bound_low, bound_high)


@dataclass(frozen=True)
class Outcomes:
    """What happened to each of some pairs, as arrays of one length.

    valid: whether there is a verdict. hit: whether it counts towards the rate, looked at only where valid.
    clusters: numbers from 0 of what the bootstrap resamples, or None when every pair stands for itself.
    """

    valid: Mask
    hit: Mask
    clusters: Ints | None = None

    def cells(self, groups: Sequence[Mask], *, draws: int = 2000, seed: int = 0) -> list[Cell]:
        """The rate of hits within each group of pairs.

        Wilson's interval without clusters. With them, the percentile bootstrap over all clusters, with the same draws
        for every group. Where those do not differ (all or none hit, or a single cluster) it is Wilson's with the number
        of clusters as n: no hit in 50 clusters is no proof that there is none.
        """
        import numpy as np

        counts = [self._counts(group) for group in groups]
        if self.clusters is None or not len(self.valid):
            return [rate_cell(*count) for count in counts]
        totals = self._totals(groups)
        drawn = _rates(resampled_sums(totals, np.zeros(len(totals), np.int64), draws, seed))
        return [
            rate_cell(hits, n, n_invalid, _interval(drawn[:, at], hits / n, totals[:, 2 * at + 1]) if n else None)
            for at, (hits, n, n_invalid) in enumerate(counts)
        ]

    def macro(self, groups: Sequence[Mask], *, draws: int = 2000, seed: int = 0) -> Cell:
        """The mean of the groups' rates; unknown without groups, or when one of them has no valid verdict.

        The interval is the percentile bootstrap, stratified by group: clusters (or pairs) are drawn within each group,
        or within groups that share clusters taken together. A group whose draws do not differ adds the distance to its
        Wilson bound, in quadrature.
        """
        parts = [rate_cell(*self._counts(group)) for group in groups]
        n, n_invalid = sum(part.n for part in parts), sum(part.n_invalid for part in parts)
        bounds = _mean([part.bound_low for part in parts]), _mean([part.bound_high for part in parts])
        rate = _mean([part.rate for part in parts])
        if rate is None:
            return Cell(None, n, n_invalid, None, None, *bounds)
        totals = self._totals(groups)
        totals = totals[totals[:, 1::2].any(axis=1)]
        drawn = _rates(resampled_sums(totals, _strata(totals[:, 1::2] > 0), draws, seed))
        low, high = percentiles(drawn.mean(axis=1)) or (rate, rate)
        below, above = [max(0.0, rate - low)], [max(0.0, high - rate)]
        for at, part in enumerate(parts):
            if part.rate is not None and percentiles(drawn[:, at]) is None:
                part_low, part_high = _interval(drawn[:, at], part.rate, totals[:, 2 * at + 1])
                below.append((part.rate - part_low) / len(parts))
                above.append((part_high - part.rate) / len(parts))
        low, high = max(0.0, rate - math.hypot(*below)), min(1.0, rate + math.hypot(*above))
        return Cell(rate, n, n_invalid, low, high, *bounds)

    def _counts(self, group: Mask) -> tuple[int, int, int]:
        """Hits, valid and invalid verdicts of a group."""
        valid = self.valid & group
        return int((valid & self.hit).sum()), int(valid.sum()), int((group & ~self.valid).sum())

    def _totals(self, groups: Sequence[Mask]) -> Floats:
        """(clusters, 2 x groups): each cluster's hits and valid verdicts in the first group, in the second, ..."""
        import numpy as np

        clusters = np.arange(len(self.valid)) if self.clusters is None else self.clusters
        columns = [
            np.bincount(clusters, weights=group & kind)
            for group in groups
            for kind in (self.valid & self.hit, self.valid)
        ]
        return np.stack(columns, axis=1)


def _rates(sums: Floats) -> Floats:
    """(draws, groups) of summed `Outcomes._totals` (draws, 2 x groups); NaN where a draw has nothing of a group."""
    import numpy as np

    hits, n = sums[:, 0::2], sums[:, 1::2]
    return np.divide(hits, n, out=np.full_like(hits, np.nan), where=n > 0)


def _interval(drawn: Floats, rate: float, valid_by_cluster: Floats) -> tuple[float, float]:
    clusters = int((valid_by_cluster > 0).sum())
    return percentiles(drawn) or wilson(rate * clusters, clusters)


def _strata(membership: Mask) -> Ints:
    """(clusters,): the groups (clusters, groups) that share clusters make one stratum, numbered by its first group."""
    import numpy as np

    stratum_of = np.arange(membership.shape[1])
    for groups in np.unique(membership, axis=0):
        joined = np.isin(stratum_of, stratum_of[groups])
        stratum_of[joined] = stratum_of[joined].min()
    strata: Ints = stratum_of[membership.argmax(axis=1)]
    return strata


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean, or None when there are no values or one of them is not known."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
