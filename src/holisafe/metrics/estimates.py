"""Figures that are no plain rates (a kappa, a correlation, an area under a curve), with the clustered percentile
bootstrap's interval.

Each is a function of sums over pairs. So a draw costs one product of matrices: the sums of every cluster, weighted by
how often it was drawn.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from .intervals import Floats, Ints
from .rates import Mask
from .score import cluster_numbers

Statistic = Callable[["Floats"], "Floats"]
"""From sums (draws, columns) to values (draws,), NaN where a value does not exist."""


@dataclass(frozen=True)
class Estimate:
    """One figure over `n` pairs; `n_left_out` pairs could not be used.

    `low` and `high` are the 95 % interval. None: the value does not exist, such as a kappa of judges who never vary; or
    the draws do not differ, and so tell nothing about its error.
    """

    value: float | None
    n: int
    n_left_out: int
    low: float | None
    high: float | None

    def to_json(self) -> dict[str, float | int | None]:
        return dataclasses.asdict(self)


def cluster_sums(columns: Floats, clusters: Ints | None) -> Floats:
    """(clusters, columns): `columns` (pairs, columns) added up within each cluster; without clusters as they are."""
    if clusters is None or not len(columns):
        return columns
    order = np.argsort(clusters, kind="stable")
    _, starts = np.unique(clusters[order], return_index=True)
    sums: Floats = np.add.reduceat(columns[order], starts, axis=0)
    return sums


def drawn_sums(columns: Floats, clusters: Ints | None, draws: int, seed: int) -> Floats:
    """(draws, columns): bootstrap sums of `columns` (pairs, columns), drawing the clusters, or else the pairs, anew."""
    return resampled_sums(cluster_sums(columns, clusters), draws, seed)


def estimate(
    statistic: Statistic,
    columns: Floats,
    clusters: Ints | None = None,
    *,
    n: int | None = None,
    n_left_out: int = 0,
    draws: int = 2000,
    seed: int = 0,
) -> Estimate:
    """The statistic of the sums of `columns` (pairs, columns), with the percentile bootstrap's interval."""
    n = len(columns) if n is None else n
    value = float(statistic(columns.sum(axis=0, keepdims=True))[0]) if n else math.nan
    if math.isnan(value):
        return Estimate(None, n, n_left_out, None, None)
    low, high = percentiles(statistic(drawn_sums(columns, clusters, draws, seed)), value) or (None, None)
    return Estimate(value, n, n_left_out, low, high)


def shared_totals(frames: Sequence[pd.DataFrame], hits: Sequence[Mask], known: Sequence[Mask]) -> Floats:
    """(clusters, frames, 2): the hits and the known rows of each frame in each cluster, over all frames' clusters.

    Frames are tables of verdicts (columns sample_id and where known cluster) of models that were asked samples of one
    benchmark: the same cluster, or without clusters the same sample, is the same in each of them. Resampling these rows
    keeps what the models have in common.
    """
    number = cluster_numbers(*frames)
    totals = np.zeros((int(number.max(initial=-1)) + 1, len(frames), 2))
    start = 0
    for at, (frame, hit, valid) in enumerate(zip(frames, hits, known, strict=True)):
        mine = number[start : start + len(frame)]
        start += len(frame)
        for kind, weights in enumerate((hit & valid, valid)):
            totals[:, at, kind] = np.bincount(mine, weights=weights, minlength=len(totals))
    return totals


def pair_numbers(frame: pd.DataFrame) -> Ints:
    """(rows,): what was judged, the sample and which time it was asked, numbered from 0 as it first appears."""
    sample = pd.factorize(frame["sample_id"])[0].astype(np.int64)
    if "repeat" not in frame:
        return sample
    repeat = frame["repeat"].to_numpy(np.int64)
    number: Ints = pd.factorize(sample * (1 + repeat.max(initial=0)) + repeat)[0].astype(np.int64)
    return number


def pair_names(frame: pd.DataFrame) -> list[str]:
    """What was judged, as people are told: `s17`, and `s17#1` of a sample that was asked again."""
    times = frame["repeat"] if "repeat" in frame else [0] * len(frame)
    return [f"{sample}#{time}" if time else str(sample) for sample, time in zip(frame["sample_id"], times, strict=True)]


def ratio(above: Floats, below: Floats) -> Floats:
    """above / below, NaN where `below` is 0."""
    above, below = np.broadcast_arrays(np.asarray(above, dtype=float), np.asarray(below, dtype=float))
    result: Floats = np.divide(above, below, out=np.full(above.shape, np.nan), where=below != 0)
    return result


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


def percentiles(drawn: Floats, value: float) -> tuple[float, float] | None:
    """The middle 95 % of bootstrap values, NaN left out, and whatever lies between them and the `value` that they are
    about: of few pairs a statistic that is not linear may lie outside of nearly all draws. None where they do not
    differ and so tell nothing."""
    known = drawn[~np.isnan(drawn)]
    if len(known) == 0 or np.ptp(known) < SAME:
        return None
    low, high = np.quantile(known, [0.025, 0.975])
    return min(float(low), value), max(float(high), value)


def _blocks(size: int, draws: int) -> list[int]:
    """How many draws of `size` things are made at a time."""
    block = max(1, DRAWN_AT_ONCE // size)
    return [min(block, draws - start) for start in range(0, draws, block)]
