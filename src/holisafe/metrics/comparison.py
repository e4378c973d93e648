"""Are two models different, on the same questions? Paired differences, their tests, and what could have been seen.

Both models answered the same samples, so each sample is its own control: only those where one failed and the other did
not tell the models apart. With b samples that only the first failed and c that only the second failed, of n,

    difference    (c - b) / n, with a bootstrap over clusters
    McNemar       the exact binomial test of b against b + c (McNemar 1947), for independent samples
    clustered     z = sum d / sqrt(sum d^2), d a cluster's c - b (Durkalski et al. 2003): McNemar's own, without
                  continuity correction, where every cluster is one sample
    detectable    the smallest true difference that a study of this size shows four times in five

Only samples on which both verdicts are valid count; the others are counted apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, combinations
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from .estimates import cluster_keys, cluster_sums, drawn_sums, ratio
from .intervals import NORMAL_QUANTILE, percentiles, wilson
from .measures import measures, outcomes

if TYPE_CHECKING:
    import pandas as pd

    from .intervals import Floats, Ints
    from .rates import Mask

UNKNOWN = (
    "rate_first", "rate_second", "difference", "low", "high", "p_mcnemar", "p_clustered", "p", "p_holm",
    "p_benjamini_hochberg", "design_effect", "detectable",
)  # fmt: skip
"""What is None of two models without a sample in common."""

POWER = 0.8
POWER_QUANTILE = NormalDist().inv_cdf(POWER)


def compare(tables: Mapping[str, pd.DataFrame], *, draws: int = 2000, seed: int = 0) -> list[dict[str, Any]]:
    """Every pair of models by every judge and measure.

    Args:
        tables: {MODEL: one row a verdict} on the samples of one benchmark; columns judge, sample_id, adheres,
            combination, expected, and where known cluster and answer_key. A judge has one row a sample at most.
        draws, seed: of the bootstrap, shared by all measures of a judge.

    Returns:
        [{"judge", "measure", "first", "second", "n", "left_out": {"invalid", "only_first", "only_second"},
        "rate_first", "rate_second", "difference", "low", "high", "only_first_hit", "only_second_hit",
        "n_clusters", "p_mcnemar", "p_clustered", "p", "p_holm", "p_benjamini_hochberg", "design_effect",
        "detectable"}].

        A hit is a failure, for utility a right answer. left_out: samples where both have a verdict and one is invalid;
        samples that only one of the two has a verdict on. p is the larger of both tests where clusters hold several
        samples, else McNemar's; its corrections are over all rows that have one. Everything that needs a sample in
        common is None when n is 0.
    """
    judges = list(dict.fromkeys(str(judge) for table in tables.values() for judge in table["judge"].unique()))
    rows = [row for judge in judges for row in _by_judge(judge, tables, draws, seed)]
    tested = [row for row in rows if row["p"] is not None]
    corrected = zip(*(correct([row["p"] for row in tested]) for correct in (holm, benjamini_hochberg)), strict=True)
    for row, (strict, lenient) in zip(tested, corrected, strict=True):
        row |= {"p_holm": strict, "p_benjamini_hochberg": lenient}
    return rows


def _by_judge(judge: str, tables: Mapping[str, pd.DataFrame], draws: int, seed: int) -> list[dict[str, Any]]:
    """The rows of one judge, in the order of measures and, within each, of pairs of models."""
    import pandas as pd

    judged = {model: table[table["judge"] == judge] for model, table in tables.items()}
    samples = pd.concat(list(judged.values())).drop_duplicates("sample_id").reset_index(drop=True)
    place = pd.Index(samples["sample_id"])
    clusters = pd.factorize(pd.Series(cluster_keys(samples), dtype=object))[0].astype(np.int64)
    masks = measures(samples)

    rows, columns = [], []
    for measure, about in masks.items():
        hits = {}
        for model, table in judged.items():
            found = outcomes(table, measure)
            hit = np.full(len(samples), np.nan)
            at = place.get_indexer(table["sample_id"])
            hit[at] = np.where(found.valid, found.hit, np.nan)
            has = np.zeros(len(samples), dtype=bool)
            has[at] = True
            hits[model] = hit, has & about
        for first, second in combinations(hits, 2):
            row, both, difference = _pair(*hits[first], *hits[second], clusters)
            rows.append({"judge": judge, "measure": measure, "first": first, "second": second, **row})
            columns += [np.where(both, difference, 0.0), both.astype(float)]
    if not rows:
        return []
    drawn = drawn_sums(np.column_stack(columns), clusters, draws, seed)
    differences = ratio(drawn[:, 0::2], drawn[:, 1::2])
    for at, row in enumerate(rows):
        if row["n"]:
            row["low"], row["high"] = percentiles(differences[:, at]) or _certain(row)
    return rows


def _pair(
    first: Floats, has_first: Mask, second: Floats, has_second: Mask, clusters: Ints
) -> tuple[dict[str, Any], Mask, Floats]:
    """One comparison but for its interval and its corrections; the shared samples, and their differences."""
    both = has_first & has_second & ~np.isnan(first) & ~np.isnan(second)
    difference = second - first
    d, own = difference[both], clusters[both]
    n, only_first, only_second = len(d), int((d < 0).sum()), int((d > 0).sum())
    left_out = {
        "invalid": int((has_first & has_second & ~both).sum()),
        "only_first": int((has_first & ~has_second).sum()),
        "only_second": int((has_second & ~has_first).sum()),
    }
    n_clusters = len(np.unique(own))
    row: dict[str, Any] = {"n": n, "left_out": left_out}
    if n == 0:
        nothing = {"only_first_hit": 0, "only_second_hit": 0, "n_clusters": 0}
        return row | nothing | dict.fromkeys(UNKNOWN), both, difference
    exact = mcnemar(only_first, only_second)
    clustered = clustered_sign_test(cluster_sums(d[:, None], own)[:, 0]) if n_clusters < n else None
    effect = design_effect(d, own)
    row |= {
        "rate_first": float(first[both].mean()),
        "rate_second": float(second[both].mean()),
        "difference": (only_second - only_first) / n,
        "low": None,
        "high": None,
        "only_first_hit": only_first,
        "only_second_hit": only_second,
        "n_clusters": n_clusters,
        "p_mcnemar": exact,
        "p_clustered": clustered,
        "p": exact if clustered is None else max(exact, clustered),
        "p_holm": None,
        "p_benjamini_hochberg": None,
        "design_effect": effect,
        "detectable": detectable((only_first + only_second) / n, n / effect),
    }
    return row, both, difference


def _certain(row: Mapping[str, Any]) -> tuple[float, float]:
    """An interval where no draw differs from another: Wilson's of the difference's size, with clusters as n."""
    difference, clusters = row["difference"], row["n_clusters"]
    low, high = wilson(abs(difference) * clusters, clusters)
    if difference == 0:
        return -high, high
    return (low, high) if difference > 0 else (-high, -low)


def mcnemar(only_first: int, only_second: int) -> float:
    """McNemar's exact two-sided p: as uneven a split of the discordant samples, or more, by a fair coin."""
    n, fewer = only_first + only_second, min(only_first, only_second)
    ways: Iterator[int] = accumulate(range(fewer), lambda before, k: before * (n - k) // (k + 1), initial=1)
    return float(min(1.0, 2 * sum(ways) / 2**n))


def clustered_sign_test(sums: Floats) -> float:
    """Two-sided p of clusters' differences (clusters,) being of either sign alike; 1 when none differs."""
    squares = float((sums**2).sum())
    return math.erfc(abs(float(sums.sum())) / math.sqrt(2 * squares)) if squares else 1.0


def design_effect(differences: Floats, clusters: Ints) -> float:
    """How many times larger clusters make the variance of the mean difference (samples,); at least 1.

    Where all differences are the same nothing can be seen of it, and clusters are taken to be wholly alike: Kish's
    sum m^2 / n over clusters of m samples.
    """
    centred = differences - differences.mean()
    number = np.unique(clusters, return_inverse=True)[1]
    alone = float((centred**2).sum())
    if alone < 1e-12:
        return float((np.bincount(number) ** 2).sum()) / len(differences)
    return max(1.0, float((np.bincount(number, weights=centred) ** 2).sum()) / alone)


def detectable(discordant: float, n: float) -> float | None:
    """The smallest difference of two paired rates that a two-sided test at 5 % shows with a power of 80 %.

    `discordant` is the share of samples that only one model failed, `n` how many samples there are, divided by the
    design effect. Solves Connor's (1987) n = (z_a sqrt(s) + z_b sqrt(s - D^2))^2 / D^2 for D, with s the discordant
    share; where D would be larger than s, which cannot be, with s = D: every discordant sample on one side. None when
    not even a difference of 1 would show.
    """
    a, b = NORMAL_QUANTILE, POWER_QUANTILE
    if n > a * a - b * b:
        found = math.sqrt(discordant) * (a * math.sqrt(n) + b * math.sqrt(n + b * b - a * a)) / (n + b * b)
        if 0 < found <= discordant:
            return found
    if n <= a * a:
        return None
    root = (math.sqrt((a * b) ** 2 + (n + b * b) * (n - a * a)) - a * b) / (n + b * b)
    return 1 - root * root


def holm(p: Sequence[float]) -> list[float]:
    """Holm's (1979) adjusted p values: the chance of a single false alarm among all is held at 5 %."""
    order = np.argsort(p, kind="stable")
    factors = len(p) - np.arange(len(p))
    return _in_order(np.maximum.accumulate(np.asarray(p)[order] * factors), order)


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """Benjamini and Hochberg's (1995): of the differences so called, one in twenty is expected to be false."""
    order = np.argsort(p, kind="stable")
    factors = len(p) / (1.0 + np.arange(len(p)))
    return _in_order(np.minimum.accumulate((np.asarray(p)[order] * factors)[::-1])[::-1], order)


def _in_order(adjusted: Floats, order: Ints) -> list[float]:
    back = np.empty(len(order))
    back[order] = np.minimum(1.0, adjusted)
    return [float(value) for value in back]
