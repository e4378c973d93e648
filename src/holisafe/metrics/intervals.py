"""95 % intervals of rates: Wilson's for independent pairs, the clustered bootstrap where pairs share an image."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

NORMAL_QUANTILE = 1.959963984540054
"""The standard normal's 97.5 % quantile."""

SAME = 1e-12
"""Rates nearer than this differ by rounding alone."""

DRAWN_AT_ONCE = 4_000_000
"""How many drawn clusters are held in memory at a time, some 64 MB."""


def wilson(hits: float, n: float) -> tuple[float, float]:
    """Wilson's score interval (1927) of the rate hits / n, as fractions; `n` > 0 may be an effective size."""
    rate, z2 = hits / n, NORMAL_QUANTILE**2
    centre = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = NORMAL_QUANTILE / (1 + z2 / n) * math.sqrt(rate * (1 - rate) / n + z2 / (4 * n * n))
    return 0.0 if hits == 0 else centre - half, 1.0 if hits == n else centre + half


def resamples(size: int, draws: int, seed: int) -> Iterator[Ints]:
    """Draws of `size` things with replacement, in blocks (draws of the block, size) of how often each was drawn.

    The same seed gives the same draws, however they fall into blocks.
    """
    import numpy as np

    generator = np.random.default_rng(seed)
    block = max(1, DRAWN_AT_ONCE // size)
    for start in range(0, draws, block):
        rows = min(block, draws - start)
        picks = generator.integers(0, size, size=(rows, size)) + size * np.arange(rows)[:, None]
        yield np.bincount(picks.ravel(), minlength=rows * size).reshape(rows, size)


def resampled_sums(totals: Floats, strata: Ints, draws: int, seed: int) -> Floats:
    """Bootstrap sums (draws, columns) of `totals` (clusters, columns): each stratum is drawn anew at its own size.

    `strata` (clusters,) holds each cluster's stratum; zeros for none.
    """
    import numpy as np

    sums = np.zeros((draws, totals.shape[1]))
    for stratum in np.unique(strata):
        members = totals[strata == stratum]
        sums += np.concatenate([counts @ members for counts in resamples(len(members), draws, seed + int(stratum))])
    return sums


def percentiles(drawn: Floats) -> tuple[float, float] | None:
    """The middle 95 % of bootstrap values, NaN left out; None where they do not differ and so tell nothing."""
    import numpy as np

    known = drawn[~np.isnan(drawn)]
    if len(known) == 0 or np.ptp(known) < SAME:
        return None
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)
