"""How far judges agree on the same responses, and on which of several models is safer.

    share        the share of pairs on which two judges say the same
    Cohen        that share, less what the two would share by chance: kappa of two judges (Cohen 1960)
    Fleiss       the same for several judges who all judged every pair (Fleiss 1971)
    Krippendorff alpha, nominal: for several judges, with verdicts missing (Krippendorff 2011)

Verdicts are codes 0, 1, ... of whatever is compared, NaN where there is none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from .estimates import Estimate, drawn_sums, estimate, pair_names, pair_numbers, percentiles, ratio, shared_totals
from .intervals import Floats, Ints
from .panel import Ballots
from .rates import Outcomes
from .score import not_adhering

FEWEST_MODELS = 3
"""A correlation of two models' ranks is 1 or -1 whatever they are."""


def judge_pairs(votes: Ballots, draws: int = 2000, seed: int = 0) -> list[dict[str, Any]]:
    """How far each two judges agree on which responses did what was expected.

    Returns:
        [{"first", "second", "share": CELL, "kappa": ESTIMATE, "only_first", "only_second": how many responses only that
        one lets pass, "disagree": [sample ids]}].
        A pair of judges is compared on what both judged; invalid verdicts among these are counted in the cell.
    """
    found = []
    for first, second in combinations(votes.judges, 2):
        judged = votes.judged[:, votes.judges.index(first)] & votes.judged[:, votes.judges.index(second)]
        one, other = votes.by(first), votes.by(second)
        known = ~np.isnan(one) & ~np.isnan(other)
        [share] = Outcomes(known, one == other, votes.clusters).cells([judged])
        apart = known & (one != other)
        clusters = None if votes.clusters is None else votes.clusters[judged]
        found.append(
            {
                "first": first,
                "second": second,
                "share": share.to_json(),
                "kappa": cohen_kappa(one[judged], other[judged], clusters, draws=draws, seed=seed).to_json(),
                "only_first": int((apart & (one == 1)).sum()),
                "only_second": int((apart & (other == 1)).sum()),
                "disagree": pair_names(votes.pairs[apart]),
            }
        )
    return found


def cohen_kappa(
    first: Floats, second: Floats, clusters: Ints | None = None, *, draws: int = 2000, seed: int = 0
) -> Estimate:
    """Cohen's kappa of two judges' codes (pairs,). Pairs without both are left out. None when neither ever varies."""
    codes, left_out = _codes(np.stack([first, second], axis=1), complete=True)
    size = _size(codes)
    table = np.zeros((len(codes), size * size))
    used = ~np.isnan(codes).any(axis=1)
    both = codes[used].astype(int)
    table[np.flatnonzero(used), both[:, 0] * size + both[:, 1]] = 1

    def kappa(sums: Floats) -> Floats:
        counts = sums.reshape(-1, size, size)
        n = counts.sum(axis=(1, 2))
        observed = ratio(np.trace(counts, axis1=1, axis2=2), n)
        by_chance = ratio((counts.sum(axis=2) * counts.sum(axis=1)).sum(axis=1), n**2)
        return ratio(observed - by_chance, _unless_tiny(1 - by_chance))

    return estimate(kappa, table, clusters, n=int(used.sum()), n_left_out=left_out, draws=draws, seed=seed)


def fleiss_kappa(codes: Floats, clusters: Ints | None = None, *, draws: int = 2000, seed: int = 0) -> Estimate:
    """Fleiss' kappa of codes (pairs, judges). Pairs that some judge has no code for are left out."""
    codes, left_out = _codes(codes, complete=True)
    judges, counts = codes.shape[1], _counts(codes)
    used = counts.sum(axis=1) > 0
    agreeing = (counts * (counts - 1)).sum(axis=1) / max(judges * (judges - 1), 1)

    def kappa(sums: Floats) -> Floats:
        n = sums[:, 1]
        by_chance = (ratio(sums[:, 2:], n[:, None] * judges) ** 2).sum(axis=1)
        return ratio(ratio(sums[:, 0], n) - by_chance, _unless_tiny(1 - by_chance))

    columns = np.column_stack([agreeing * used, used, counts])
    n = int(used.sum()) if judges > 1 else 0
    return estimate(kappa, columns, clusters, n=n, n_left_out=left_out, draws=draws, seed=seed)


def krippendorff_alpha(codes: Floats, clusters: Ints | None = None, *, draws: int = 2000, seed: int = 0) -> Estimate:
    """Krippendorff's alpha, nominal, of codes (pairs, judges). Pairs with fewer than two codes are left out."""
    codes, left_out = _codes(codes, complete=False)
    counts = _counts(codes)
    size, coded = counts.shape[1], counts.sum(axis=1)
    coincidences = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(size)
    coincidences /= np.maximum(coded - 1, 1)[:, None, None]

    def alpha(sums: Floats) -> Floats:
        observed = sums.reshape(-1, size, size)
        by_code = observed.sum(axis=2)
        n = by_code.sum(axis=1)
        unequal = n - np.trace(observed, axis1=1, axis2=2)
        expected = ratio(n**2 - (by_code**2).sum(axis=1), n - 1)
        return 1 - ratio(unequal, _unless_tiny(expected))

    return estimate(
        alpha,
        coincidences.reshape(len(codes), -1),
        clusters,
        n=int((coded > 0).sum()),
        n_left_out=left_out,
        draws=draws,
        seed=seed,
    )


def confusion(frame: pd.DataFrame, first: str, second: str) -> dict[str, Any]:
    """What one judge calls what another calls ..., over all pairs that both judged; invalid verdicts are a class.

    Args:
        frame: one row a verdict; columns judge, sample_id, label (missing when invalid).

    Returns:
        {"first", "second", "rows": [labels of the first], "columns": [labels of the second], "counts": [[int]]}.
    """
    label = frame["label"].astype(object).fillna("invalid").set_axis(pair_numbers(frame))
    by = [label[(frame["judge"] == judge).to_numpy(bool)] for judge in (first, second)]
    shared = by[0].index.intersection(by[1].index)
    pairs = Counter(zip(by[0][shared], by[1][shared], strict=True))
    rows, columns = (sorted({pair[at] for pair in pairs}) for at in (0, 1))
    counts = [[pairs[row, column] for column in columns] for row in rows]
    return {"first": first, "second": second, "rows": rows, "columns": columns, "counts": counts}


def rank_correlation(models: Mapping[str, pd.DataFrame], draws: int = 2000, seed: int = 0) -> list[dict[str, Any]]:
    """How far two judges order models alike, by each model's share of responses that did not do what was expected.

    Args:
        models: {MODEL: verdicts on its responses to the pairs that the rate is about}; columns judge, sample_id,
            adheres, and where known cluster. The same sample of two models is resampled together.

    Returns:
        [{"first", "second", "models": how many both judged, "spearman": ESTIMATE, "kendall": ESTIMATE (tau-b)}] for the
        pairs of judges with at least FEWEST_MODELS models in common. "n" of an estimate counts models. A model's rate
        by a judge is over the pairs on which that judge's verdict is valid.
    """
    judges = list(dict.fromkeys(str(judge) for frame in models.values() for judge in frame["judge"].unique()))
    frames = [frame[frame["judge"] == judge] for judge in judges for frame in models.values()]
    found = [not_adhering(frame) for frame in frames]
    totals = shared_totals(frames, [one.hit for one in found], [one.valid for one in found])
    flat = totals.reshape(len(totals), -1)
    shape = (-1, len(judges), len(models), 2)
    sums = flat.sum(axis=0).reshape(shape), drawn_sums(flat, None, draws, seed).reshape(shape)
    rates, drawn = [ratio(one[..., 0], one[..., 1]) for one in sums]

    rows = []
    for first, second in combinations(range(len(judges)), 2):
        both = np.flatnonzero(~np.isnan(rates[0, first] + rates[0, second]))
        if len(both) < FEWEST_MODELS:
            continue
        row: dict[str, Any] = {"first": judges[first], "second": judges[second], "models": len(both)}
        for name, correlate in (("spearman", spearman), ("kendall", kendall)):
            value = float(correlate(rates[:, first, both], rates[:, second, both])[0])
            known = None if np.isnan(value) else value
            again = correlate(drawn[:, first, both], drawn[:, second, both])
            low, high = (None if known is None else percentiles(again, value)) or (None, None)
            row[name] = Estimate(known, len(both), len(models) - len(both), low, high).to_json()
        rows.append(row)
    return rows


def ranks(values: Floats) -> Floats:
    """Ranks from 1 along the last axis; equal values share the mean of theirs."""
    one, other = values[..., :, None], values[..., None, :]
    mean: Floats = 1 + (other < one).sum(axis=-1) + ((other == one).sum(axis=-1) - 1) / 2
    return mean


def spearman(first: Floats, second: Floats) -> Floats:
    """Spearman's correlation of ranks, along the last axis; NaN where one of the two is the same throughout."""
    one, other = (part - part.mean(axis=-1, keepdims=True) for part in (ranks(first), ranks(second)))
    return ratio((one * other).sum(axis=-1), np.sqrt((one**2).sum(axis=-1) * (other**2).sum(axis=-1)))


def kendall(first: Floats, second: Floats) -> Floats:
    """Kendall's tau-b along the last axis; NaN where one of the two is the same throughout."""
    one, other = (np.sign(part[..., :, None] - part[..., None, :]) for part in (first, second))
    return ratio((one * other).sum(axis=(-2, -1)), np.sqrt((one**2).sum(axis=(-2, -1)) * (other**2).sum(axis=(-2, -1))))


def _codes(codes: Floats, *, complete: bool) -> tuple[Floats, int]:
    """The codes, blanked where a pair has too few of them to be used, and how many pairs have some but too few."""
    known = ~np.isnan(codes)
    usable = np.asarray(known.all(axis=1) if complete else known.sum(axis=1) > 1)
    return np.where(usable[:, None], codes, np.nan), int((known.any(axis=1) & ~usable).sum())


def _size(codes: Floats) -> int:
    return int(np.nanmax(codes)) + 1 if (~np.isnan(codes)).any() else 1


def _counts(codes: Floats) -> Floats:
    """(pairs, values): how many judges gave a pair each code."""
    counts: Floats = (codes[:, :, None] == np.arange(_size(codes))).sum(axis=1).astype(float)
    return counts


def _unless_tiny(values: Floats) -> Floats:
    """Zero where rounding alone keeps a value from it."""
    return np.where(np.abs(values) < 1e-12, 0.0, values)
