"""Are two models different, on the same questions? Paired differences, their tests, and what could have been seen.

Both models answered the same samples, so each sample is its own control: only those where one failed and the other did
not tell the models apart. With b samples that only the first failed and c that only the second failed, of n,

    difference    (c - b) / n, with the interval of `combined` for the rates b / n and c / n: samples on which both did
                  alike say nothing of it, and where neither failed alone, each may as often as its bound allows
    McNemar       the exact binomial test of b against b + c (McNemar 1947), for independent samples
    clustered     z = sum d / sqrt(sum d^2), d a cluster's c - b (Durkalski et al. 2003): McNemar's own, without
                  continuity correction, where every cluster is one sample
    detectable    the smallest true difference that a study of this size shows four times in five

The difference of macro mASR, HoliSafe v5's, is the mean of its combinations' differences, with the interval of
`combined` for all their b / n and c / n together; it has no test of its own.

Only samples on which both verdicts are valid count; the others are counted apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd

from .estimates import pair_numbers
from .intervals import NORMAL_QUANTILE, Floats, Ints, combined
from .measures import MEASURES, lower_is_better, measures
from .rates import Mask, Outcomes
from .score import cluster_numbers, not_adhering
from .thought_and_answer import as_verdicts

RATES = ("rate_first", "low_first", "high_first", "rate_second", "low_second", "high_second")
"""Of each model by itself, on the samples that both have a valid verdict on."""

UNKNOWN = (
    *RATES, "difference", "low", "high", "p_mcnemar", "p_clustered", "p", "p_holm",
    "p_benjamini_hochberg", "design_effect", "detectable",
)  # fmt: skip
"""What is None of two models without a sample in common."""

Failed = tuple[Floats, Mask]
"""What `_failures` gives."""

POWER = 0.8
POWER_QUANTILE = NormalDist().inv_cdf(POWER)


def compare(tables: Mapping[str, pd.DataFrame]) -> list[dict[str, Any]]:
    """Every pair of models by every judge and measure.

    Args:
        tables: {MODEL: one row a verdict} on the samples of one benchmark; columns judge, sample_id, adheres,
            combination, expected, and where known repeat, cluster and answer_key.

    Returns:
        [{"judge", "measure", "first", "second", "n", "left_out": {"invalid", "only_first", "only_second"},
        "rate_first", "low_first", "high_first", and likewise of the second, "difference", "low", "high",
        "only_first_hit", "only_second_hit",
        "n_clusters", "p_mcnemar", "p_clustered", "p", "p_holm", "p_benjamini_hochberg", "design_effect",
        "detectable"}].

        A hit is a failure, for utility a right answer. left_out: samples where both have a verdict and one is invalid;
        samples that only one of the two has a verdict on. p is the larger of both tests where clusters hold several
        samples, else McNemar's; its corrections are over all rows that have one; macro mASR has none. Everything that
        needs a sample in common is None when n is 0, for macro mASR in any combination.
    """
    judges = list(dict.fromkeys(str(judge) for table in tables.values() for judge in table["judge"].unique()))
    rows = [row for judge in judges for row in _by_judge(judge, tables)]
    for joint, kind, parted in as_verdicts(tables):
        rows += [row | {"measure": f"thoughts.{kind}", "judge": joint} for row in _by_judge(joint, parted)]
    tested = [row for row in rows if row["p"] is not None]
    corrected = zip(*(correct([row["p"] for row in tested]) for correct in (holm, benjamini_hochberg)), strict=True)
    for row, (strict, lenient) in zip(tested, corrected, strict=True):
        row |= {"p_holm": strict, "p_benjamini_hochberg": lenient}
    return rows


def _by_judge(judge: str, tables: Mapping[str, pd.DataFrame]) -> list[dict[str, Any]]:
    """The rows of one judge, in the order of measures and, within each, of pairs of models."""
    judged = {model: table[table["judge"] == judge] for model, table in tables.items()}
    every = pd.concat(list(judged.values()), ignore_index=True)
    number = pair_numbers(every)
    samples = every[~pd.Series(number).duplicated().to_numpy()]
    ends = np.cumsum([len(table) for table in judged.values()])
    places = np.split(number, ends[:-1])
    clusters = cluster_numbers(samples)
    failed = {
        model: _failures(table, place, len(samples))
        for (model, table), place in zip(judged.items(), places, strict=True)
    }
    masks = measures(samples)
    parts = [masks[key] for key in MEASURES["masr_macro"].means if key in masks]
    named = list(masks)
    if len(parts) > 1:
        named.insert(named.index("masr_pooled") + 1, "masr_macro")
    return [
        {"judge": judge, "measure": measure, "first": first, "second": second}
        | (
            _macro(failed[first], failed[second], parts, clusters)
            if measure == "masr_macro"
            else _pair(failed[first], failed[second], masks[measure], clusters, failures=lower_is_better(measure))
        )
        for measure in named
        for first, second in combinations(judged, 2)
    ]


def _failures(table: pd.DataFrame, place: Ints, size: int) -> tuple[Floats, Mask]:
    """(samples,) and (samples,): 1 where the response failed, 0 where not, NaN without a valid verdict; and whether
    there is a verdict, valid or not. `place` (rows,) says which sample each row of the table is about."""
    found = not_adhering(table)
    failed, has = np.full(size, np.nan), np.zeros(size, dtype=bool)
    failed[place], has[place] = np.where(found.valid, found.hit, np.nan), True
    return failed, has


def _pair(first: Failed, second: Failed, about: Mask, clusters: Ints, *, failures: bool) -> dict[str, Any]:
    """One comparison, over the samples that the measure is about, but for its corrections."""
    (one, has_first), (other, has_second) = first, second
    both = about & ~np.isnan(one) & ~np.isnan(other)
    hits = [failed == (1 if failures else 0) for failed in (one, other)]
    hit_first, hit_second = (hit[both] for hit in hits)
    own = clusters[both]
    counts: Floats = np.stack(
        [
            np.bincount(own[rows], minlength=int(own.max(initial=-1)) + 1).astype(float)
            for rows in (hit_first & ~hit_second, hit_second & ~hit_first, np.ones(len(own), dtype=bool))
        ]
    )
    *apart, sizes = counts[:, counts[2] > 0]
    n, n_clusters, only_first, only_second = len(own), len(sizes), *(int(part.sum()) for part in apart)
    row: dict[str, Any] = {
        "n": n,
        "left_out": {
            "invalid": int((about & has_first & has_second & ~both).sum()),
            "only_first": int((about & has_first & ~has_second).sum()),
            "only_second": int((about & has_second & ~has_first).sum()),
        },
        "only_first_hit": only_first,
        "only_second_hit": only_second,
        "n_clusters": n_clusters,
    }
    if n == 0:
        return row | dict.fromkeys(UNKNOWN)
    cells = [Outcomes(both, hit, clusters).macro([about & has_first & has_second]) for hit in hits]
    exact = mcnemar(only_first, only_second)
    clustered = clustered_sign_test(apart[1] - apart[0]) if n_clusters < n else None
    effect = design_effect(apart[1] - apart[0], sizes, only_first + only_second)
    low, high = map(float, combined([-1, 1], np.stack(apart, axis=1), np.stack([sizes, sizes], axis=1)))
    return row | {
        **dict(zip(RATES, (value for cell in cells for value in (cell.rate, cell.low, cell.high)), strict=True)),
        "difference": (only_second - only_first) / n,
        "low": low,
        "high": high,
        "p_mcnemar": exact,
        "p_clustered": clustered,
        "p": exact if clustered is None else max(exact, clustered),
        "p_holm": None,
        "p_benjamini_hochberg": None,
        "design_effect": effect,
        "detectable": detectable((only_first + only_second) / n, n / effect),
    }


def _macro(first: Failed, second: Failed, groups: Sequence[Mask], clusters: Ints) -> dict[str, Any]:
    """The comparison of the means of several rates of failures, over groups of samples."""
    whole = _pair(first, second, np.logical_or.reduce(groups), clusters, failures=True) | dict.fromkeys(UNKNOWN)
    (one, has_first), (other, has_second) = first, second
    both = ~np.isnan(one) & ~np.isnan(other)
    own = np.unique(clusters, return_inverse=True)[1]
    tallies = [
        [
            np.bincount(own[rows & both & group], minlength=int(own.max(initial=-1)) + 1).astype(float)
            for group in groups
        ]
        for rows in ((one == 1) & (other == 0), (other == 1) & (one == 0), both)
    ]
    hits, sizes = np.array(tallies[:2]), np.array([tallies[2]] * 2)
    if not (sizes.sum(axis=-1) > 0).all():
        return whole
    weights = np.repeat([-1.0, 1.0], len(groups)) / len(groups)
    flat_hits, flat_sizes = (counts.reshape(len(weights), -1).T for counts in (hits, sizes))
    low, high = map(float, combined(list(weights), flat_hits, flat_sizes))
    there = [group & has_first & has_second for group in groups]
    cells = [Outcomes(both, failed == 1, clusters).macro(there) for failed in (one, other)]
    return whole | {
        **dict(zip(RATES, (value for cell in cells for value in (cell.rate, cell.low, cell.high)), strict=True)),
        "difference": float(weights @ (flat_hits.sum(0) / flat_sizes.sum(0))),
        "low": low,
        "high": high,
    }


def mcnemar(only_first: int, only_second: int) -> float:
    """McNemar's exact two-sided p: as uneven a split of the discordant samples, or more, by a fair coin."""
    from scipy.special import betainc

    fewer, more = sorted((only_first, only_second))
    return min(1.0, 2 * float(betainc(more, fewer + 1, 0.5))) if more else 1.0


def clustered_sign_test(sums: Floats) -> float:
    """Two-sided p of clusters' differences (clusters,) being of either sign alike; 1 when none differs."""
    squares = float((sums**2).sum())
    return math.erfc(abs(float(sums.sum())) / math.sqrt(2 * squares)) if squares else 1.0


def design_effect(sums: Floats, sizes: Floats, squares: float) -> float:
    """How many times larger clusters make the variance of the mean difference; at least 1.

    Of clusters' summed differences (clusters,) and sizes, `squares` being the sum of all squared differences. Where all
    differences are the same nothing can be seen of it, and clusters are taken to be wholly alike: Kish's sum m^2 / n
    over clusters of m samples.
    """
    n = float(sizes.sum())
    mean = float(sums.sum()) / n
    alone = squares - n * mean**2
    if alone < 1e-9:
        return float((sizes**2).sum()) / n
    return max(1.0, float(((sums - mean * sizes) ** 2).sum()) / alone)


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
