"""95 % intervals of rates, of their means and of their differences, where verdicts come in clusters.

Pairs that share an image tend to fail together, so n of them tell less than n independent ones would. A rate's interval
is Clopper and Pearson's (1934) on the effective size that its clusters leave, as Korn and Graubard (1998) do for
surveys. A percentile bootstrap, which is usual, covers 88 to 93 % instead of 95 where failures are few. The simulation
in benches/interval_coverage.py chose among these and others; docs/statistics.md has its table.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

NORMAL_QUANTILE = 1.959963984540054
"""The standard normal's 97.5 % quantile."""

SMALL = 1e-9
"""Less than any spread that is no rounding."""

ALIKE = 0.25
"""How much a design effect is drawn to that of clusters wholly alike, in pairs' worth of binomial variance.

Two failures in two images say nothing of whether failures come together, yet their variance looks like that of
independent pairs. With the weight of a quarter of a pair, coverage holds where there are few of them; it is nothing
where there are many.
"""

PAIRS_OF_MEAN = 4
"""How many pairs like all others are added to each of several rates before its variance is taken: the single failure of
three pairs would else have a variance that none of the other rates has."""


def clopper_pearson(hits: float, n: float) -> tuple[float, float]:
    """Clopper and Pearson's exact interval (1934) of the rate hits / n; `n` > 0 may be an effective size."""
    from scipy.special import betaincinv

    low = float(betaincinv(hits, n - hits + 1, 0.025)) if hits > 0 else 0.0
    high = float(betaincinv(hits + 1, n - hits, 0.975)) if hits < n else 1.0
    return low, high


def wilson(hits: float, n: float) -> tuple[float, float]:
    """Wilson's score interval (1927), for rates that are put together: there the exact one is needlessly wide."""
    rate, z2 = hits / n, NORMAL_QUANTILE**2
    centre = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = NORMAL_QUANTILE / (1 + z2 / n) * math.sqrt(rate * (1 - rate) / n + z2 / (4 * n * n))
    return 0.0 if hits == 0 else centre - half, 1.0 if hits == n else centre + half


def mean_interval(hits: Floats, sizes: Floats) -> tuple[float, float]:
    """The interval of the mean of some rates, or of the only one, that clusters (clusters, rates) make up.

    Clopper and Pearson's on the effective size. Of several rates it takes in what `combined` says too: where one rests
    on few pairs and fails often, the first is too narrow; where all have few failures, the second.
    """
    size = effective_size(hits, sizes)
    low, high = clopper_pearson(size * float((hits.sum(axis=0) / sizes.sum(axis=0)).mean()), size)
    if (rates := hits.shape[1]) > 1:
        other_low, other_high = combined([1 / rates] * rates, hits, sizes)
        low, high = min(low, other_low), max(high, other_high)
    return low, high


def effective_size(hits: Floats, sizes: Floats) -> float:
    """How many independent pairs tell as much of a rate, or of the mean of several, as clusters do; at least 1.

    Args:
        hits, sizes: (clusters, rates), how many hits among how many verdicts, for each rate at least one.

    p (1 - p) / variance, as Korn and Graubard (1998): the variance of the mean, were pairs independent, times a design
    effect, times (t_clusters / t_n)^2 for what few clusters know of it. The design effect is the linearised variance
    over that of independent pairs, not below 1, and drawn by ALIKE to Kish's, of clusters wholly alike.
    """
    from scipy.special import stdtrit

    by_rate, n = sizes.sum(axis=0), float(sizes.sum())
    rates, weights = hits.sum(axis=0) / by_rate, n / (len(by_rate) * by_rate)
    clusters, rate = int(sizes.any(axis=1).sum()), float(rates.mean())
    drawn = (by_rate * rates + PAIRS_OF_MEAN * rate) / (by_rate + PAIRS_OF_MEAN)
    alone, unequal = (float((weights**2 * by_rate * share).sum()) for share in (drawn * (1 - drawn), 1))
    size = n * n * rate * (1 - rate) / alone if alone > SMALL else n * n / unequal
    if clusters == n:
        return size
    if clusters == 1:
        return 1.0
    alike = float(((sizes @ weights) ** 2).sum())
    seen = float((((hits - rates * sizes) @ weights) ** 2).sum()) * clusters / (clusters - 1)
    deff = max(1.0, (seen + ALIKE * alike / n) / (alone + ALIKE * unequal / n))
    few = float(stdtrit(n - 1, 0.975) / stdtrit(clusters - 1, 0.975)) ** 2
    return max(1.0, size / deff * few)


def combined(weights: Sequence[float], hits: Floats, sizes: Floats) -> tuple[float, float]:
    """The interval of sum(weights x rates), of rates that clusters (clusters, rates) make up; a weight may be negative.

    MOVER (Zou and Donner 2008; Newcombe's of 1998 is its case of two independent rates): the distances from the rates
    to their Wilson bounds, at their effective sizes, stand for standard errors, and go together as the clusters' do.
    """
    import numpy as np

    rates, factors = hits.sum(axis=0) / sizes.sum(axis=0), np.asarray(weights, dtype=float)
    effective = [effective_size(hits[:, [at]], sizes[:, [at]]) for at in range(len(rates))]
    low, high = np.array([wilson(rate * size, size) for rate, size in zip(rates, effective, strict=True)]).T
    below = factors * np.where(factors > 0, rates - low, high - rates)
    above = factors * np.where(factors > 0, high - rates, rates - low)
    residuals = hits - rates * sizes
    together = residuals.T @ residuals
    spread = np.sqrt(np.outer(together.diagonal(), together.diagonal()))
    correlation = np.divide(together, spread, out=np.eye(len(rates)), where=spread > SMALL)
    down, up = (math.sqrt(max(0.0, float(reach @ correlation @ reach))) for reach in (below, above))
    value = float(factors @ rates)
    return value - down, value + up
