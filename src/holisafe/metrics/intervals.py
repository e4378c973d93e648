"""95 % intervals of rates, of their means and of their differences, where verdicts come in clusters.

Pairs that share an image tend to fail together, so n of them tell less than n independent ones would. A rate's interval
is Clopper and Pearson's (1934) on the effective size that its clusters leave, as Korn and Graubard (1998) do for
surveys. A percentile bootstrap, which is usual, covers 88 to 93 % instead of 95 where failures are few. The simulation
in benches/interval_coverage.py chose among these and others; docs/statistics.md has its table.
"""

from __future__ import annotations

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


def clopper_pearson(hits: Floats | float, n: Floats | float) -> tuple[Floats, Floats]:
    """Clopper and Pearson's exact interval (1934) of the rate hits / n; `n` > 0 may be an effective size."""
    from scipy.special import betaincinv

    hits, missed = np.asarray(hits, dtype=float), np.asarray(n, dtype=float) - hits
    with np.errstate(invalid="ignore"):
        low, high = betaincinv(hits, missed + 1, 0.025), betaincinv(hits + 1, missed, 0.975)
    return np.where(hits > 0, low, 0.0)[()], np.where(missed > 0, high, 1.0)[()]


def wilson(hits: Floats | float, n: Floats | float) -> tuple[Floats, Floats]:
    """Wilson's score interval (1927), for rates that are put together: there the exact one is needlessly wide."""
    rate, z2 = np.asarray(hits, dtype=float) / n, NORMAL_QUANTILE**2
    centre = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = NORMAL_QUANTILE / (1 + z2 / n) * np.sqrt(rate * (1 - rate) / n + z2 / (4 * n * n))
    return np.where(rate > 0, centre - half, 0.0)[()], np.where(rate < 1, centre + half, 1.0)[()]


def mean_interval(hits: Floats, sizes: Floats) -> tuple[Floats, Floats]:
    """The interval of the mean of some rates, or of the only one, that clusters (..., clusters, rates) make up.

    Clopper and Pearson's on the effective size. Of several rates it takes in what `combined` says too: where one rests
    on few pairs and fails often, the first is too narrow; where all have few failures, the second.
    """
    size = effective_size(hits, sizes)
    low, high = clopper_pearson(size * (hits.sum(axis=-2) / sizes.sum(axis=-2)).mean(axis=-1), size)
    if (rates := hits.shape[-1]) > 1:
        other_low, other_high = combined([1 / rates] * rates, hits, sizes)
        low, high = np.minimum(low, other_low), np.maximum(high, other_high)
    return low, high


def effective_size(hits: Floats, sizes: Floats) -> Floats:
    """(...,): how many independent pairs tell as much of a rate, or of the mean of several, as clusters do; at least 1.

    Args:
        hits, sizes: (..., clusters, rates), how many hits among how many verdicts, for each rate at least one.

    p (1 - p) / variance, as Korn and Graubard (1998): the variance of the mean, were pairs independent, times a design
    effect, times (t_clusters / t_n)^2 for what few clusters know of it. The design effect is the linearised variance
    over that of independent pairs, not below 1, and drawn by ALIKE to Kish's, of clusters wholly alike.
    """
    from scipy.special import stdtrit

    by_rate = sizes.sum(axis=-2)
    n, clusters = by_rate.sum(axis=-1), sizes.any(axis=-1).sum(axis=-1)
    rates, weights = hits.sum(axis=-2) / by_rate, n[..., None] / (by_rate.shape[-1] * by_rate)
    rate = rates.mean(axis=-1)
    drawn = (by_rate * rates + PAIRS_OF_MEAN * rate[..., None]) / (by_rate + PAIRS_OF_MEAN)
    alone, unequal = ((weights**2 * by_rate * share).sum(axis=-1) for share in (drawn * (1 - drawn), 1))
    spread = alone > SMALL
    size = np.where(spread, n * n * rate * (1 - rate), n * n) / np.where(spread, alone, unequal)

    residuals = hits - rates[..., None, :] * sizes
    alike, seen = (((part @ weights[..., None])[..., 0] ** 2).sum(axis=-1) for part in (sizes, residuals))
    several = np.maximum(clusters - 1, 1)
    seen = seen * clusters / several
    deff = np.maximum(1.0, (seen + ALIKE * alike / n) / (alone + ALIKE * unequal / n))
    few = (stdtrit(np.maximum(n - 1, 1), 0.975) / stdtrit(several, 0.975)) ** 2
    clustered = np.where(clusters > 1, np.maximum(1.0, size / deff * few), 1.0)
    return np.where(clusters == n, size, clustered)[()]


def combined(weights: Sequence[float], hits: Floats, sizes: Floats) -> tuple[Floats, Floats]:
    """The interval of sum(weights x rates) of rates that clusters (..., clusters, rates) make up; a weight may be < 0.

    MOVER (Zou and Donner 2008; Newcombe's of 1998 is its case of two independent rates): the distances from the rates
    to their Wilson bounds, at their effective sizes, stand for standard errors, and go together as the clusters' do.
    """
    rates, factors = hits.sum(axis=-2) / sizes.sum(axis=-2), np.asarray(weights, dtype=float)
    size = np.stack([effective_size(hits[..., [at]], sizes[..., [at]]) for at in range(len(factors))], axis=-1)
    low, high = wilson(rates * size, size)
    below = factors * np.where(factors > 0, rates - low, high - rates)
    above = factors * np.where(factors > 0, high - rates, rates - low)
    residuals = hits - rates[..., None, :] * sizes
    together = np.swapaxes(residuals, -1, -2) @ residuals
    squares = np.diagonal(together, axis1=-2, axis2=-1)
    scale = np.sqrt(squares[..., :, None] * squares[..., None, :])
    correlation = np.divide(together, scale, out=np.zeros_like(together) + np.eye(len(factors)), where=scale > SMALL)
    down, up = (
        np.sqrt(np.maximum(0.0, np.einsum("...i,...ij,...j", reach, correlation, reach))) for reach in (below, above)
    )
    value = rates @ factors
    return value - down, value + up
