"""The clustered percentile bootstrap, for figures that are no rates: kappas, ranks, areas under curves."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .intervals import Floats, Ints

SAME = 1e-12
"""Values nearer than this differ by rounding alone."""

DRAWN_AT_ONCE = 4_000_000
"""How many drawn clusters are held in memory at a time, some 64 MB."""


def resamples(size: int, draws: int, seed: int) -> Iterator[Ints]:
    """Draws of `size` things with replacement, in blocks (draws of the block, size) of how often each was drawn.

    The same seed gives the same draws, however they fall into blocks.
    """
    generator = np.random.default_rng(seed)
    for rows in _blocks(size, draws):
        picks = generator.integers(0, size, size=(rows, size)) + size * np.arange(rows)[:, None]
        yield np.bincount(picks.ravel(), minlength=rows * size).reshape(rows, size)


def resampled_sums(totals: Floats, draws: int, seed: int) -> Floats:
    """(draws, columns): bootstrap sums of `totals` (clusters, columns), drawing the clusters anew.

    Clusters with the same totals are drawn together, as one multinomial count: a million clusters of few kinds cost
    what their kinds do.
    """
    if not len(totals):
        return np.zeros((draws, totals.shape[1]))
    kinds, counts = np.unique(totals, axis=0, return_counts=True)
    generator = np.random.default_rng(seed)
    shares = counts / len(totals)
    blocks = (generator.multinomial(len(totals), shares, size=rows) @ kinds for rows in _blocks(len(kinds), draws))
    return np.concatenate(list(blocks))


def percentiles(drawn: Floats) -> tuple[float, float] | None:
    """The middle 95 % of bootstrap values, NaN left out; None where they do not differ and so tell nothing."""
    known = drawn[~np.isnan(drawn)]
    if len(known) == 0 or np.ptp(known) < SAME:
        return None
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)


def _blocks(size: int, draws: int) -> list[int]:
    """How many draws of `size` things are made at a time."""
    block = max(1, DRAWN_AT_ONCE // size)
    return [min(block, draws - start) for start in range(0, draws, block)]
