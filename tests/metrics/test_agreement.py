from __future__ import annotations

import random
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from holisafe.metrics.agreement import (
    cohen_kappa,
    confusion,
    fleiss_kappa,
    judge_pairs,
    kendall,
    krippendorff_alpha,
    rank_correlation,
    ranks,
    spearman,
)
from holisafe.metrics.panel import ballots

Floats = npt.NDArray[np.float64]


def some_codes(pairs: int = 200, judges: int = 4, values: int = 3, missing: float = 0.0, seed: int = 0) -> Floats:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, values, pairs)
    codes = np.where(rng.random((pairs, judges)) < 0.7, truth[:, None], rng.integers(0, values, (pairs, judges)))
    return np.where(rng.random(codes.shape) < missing, np.nan, codes.astype(float))


@pytest.mark.parametrize("values", [2, 4])
def test_cohens_kappa_is_that_of_scikit_learn(values: int) -> None:
    codes = some_codes(judges=2, values=values, missing=0.1)
    both = codes[~np.isnan(codes).any(axis=1)]
    found = cohen_kappa(codes[:, 0], codes[:, 1], draws=200)
    assert found.value == pytest.approx(cohen_kappa_score(both[:, 0], both[:, 1]), abs=1e-12)
    one_missing = np.isnan(codes).any(axis=1) & ~np.isnan(codes).all(axis=1)
    assert (found.n, found.n_left_out) == (len(both), one_missing.sum())
    assert found.low is not None
    assert found.low < found.value < found.high


@pytest.mark.parametrize("judges", [2, 5])
def test_fleiss_kappa_is_that_of_statsmodels(judges: int) -> None:
    rater = pytest.importorskip("statsmodels.stats.inter_rater")
    codes = some_codes(judges=judges, missing=0.05)
    complete = codes[~np.isnan(codes).any(axis=1)].astype(int)
    table, _ = rater.aggregate_raters(complete)
    found = fleiss_kappa(codes, draws=200)
    assert found.value == pytest.approx(rater.fleiss_kappa(table, "fleiss"), abs=1e-12)
    assert found.n == len(complete)


@pytest.mark.parametrize("missing", [0.0, 0.4, 0.8])
def test_krippendorffs_alpha_is_that_of_its_library(missing: float) -> None:
    library = pytest.importorskip("krippendorff")
    codes = some_codes(missing=missing)
    found = krippendorff_alpha(codes, draws=200)
    assert found.value == pytest.approx(library.alpha(codes.T, level_of_measurement="nominal"), abs=1e-12)
    coded = (~np.isnan(codes)).sum(axis=1)
    assert (found.n, found.n_left_out) == ((coded > 1).sum(), (coded == 1).sum())


def test_published_examples() -> None:
    """Krippendorff (2011), example C; Fleiss' 1971 data as in the textbooks: kappa 0.210."""
    nan = np.nan
    table = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, nan, nan, nan],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, nan, 3],
        [nan, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, nan],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, nan],
    ]
    assert krippendorff_alpha(np.array(table).T - 1).value == pytest.approx(0.743, abs=5e-4)
    counts = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    codes = np.array([np.repeat(np.arange(5), row) for row in counts], dtype=float)
    assert fleiss_kappa(codes).value == pytest.approx(0.210, abs=5e-4)


def test_judges_who_never_vary_have_no_kappa_and_full_agreement_no_interval() -> None:
    same = np.ones(50)
    assert cohen_kappa(same, same).value is None
    assert fleiss_kappa(np.ones((50, 3))).value is None
    mixed = np.arange(50) % 2 * 1.0
    for found in (cohen_kappa(mixed, mixed), krippendorff_alpha(np.stack([mixed, mixed], axis=1))):
        assert found.value == pytest.approx(1)
        assert (found.low, found.high) == (None, None)
    nothing = cohen_kappa(np.full(5, np.nan), same[:5])
    assert (nothing.value, nothing.n, nothing.n_left_out) == (None, 0, 5)


def test_clusters_widen_the_interval_as_a_loop_over_resampled_clusters_does() -> None:
    codes = np.repeat(some_codes(pairs=60, judges=2, values=2), 5, axis=0)  # five pairs an image, all alike
    clusters = np.repeat(np.arange(60), 5)
    found = cohen_kappa(codes[:, 0], codes[:, 1], clusters, draws=2000, seed=1)
    plain = cohen_kappa(codes[:, 0], codes[:, 1], draws=2000, seed=1)
    rng = random.Random(0)
    drawn = []
    for _ in range(400):
        rows = np.concatenate([np.flatnonzero(clusters == c) for c in rng.choices(range(60), k=60)])
        drawn.append(cohen_kappa_score(codes[rows, 0], codes[rows, 1]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.06)
    assert found.high - found.low > 1.7 * (plain.high - plain.low)


def a_table() -> pd.DataFrame:
    rng = random.Random(3)
    rows = []
    for pair in range(120):
        truth = rng.random() < 0.6
        for judge in ("a", "b", "c"):
            if judge == "c" and pair % 2:
                continue
            vote = rng.choice([truth, truth, truth, not truth, None])
            label = {True: "refused", False: "answered", None: None}[vote]
            rows.append((judge, f"s{pair}", vote, label, f"i{pair // 3}"))
    return pd.DataFrame(rows, columns=["judge", "sample_id", "adheres", "label", "cluster"], dtype=object)


def test_pairs_of_judges_count_what_a_loop_counts() -> None:
    table = a_table()
    votes = {(row.judge, row.sample_id): row.adheres for row in table.itertuples()}
    for found, (first, second) in zip(judge_pairs(ballots(table), draws=100), combinations("abc", 2), strict=True):
        both = [s for s in table["sample_id"].unique() if (first, s) in votes and (second, s) in votes]
        valid = [s for s in both if None not in (votes[first, s], votes[second, s])]
        apart = [s for s in valid if votes[first, s] != votes[second, s]]
        assert (found["first"], found["second"]) == (first, second)
        assert (found["share"]["n"], found["share"]["n_invalid"]) == (len(valid), len(both) - len(valid))
        assert found["share"]["rate"] == pytest.approx(1 - len(apart) / len(valid))
        assert found["disagree"] == apart
        assert found["only_first"] == sum(votes[first, s] is True for s in apart)
        assert found["only_second"] == sum(votes[second, s] is True for s in apart)
        expected = cohen_kappa_score([votes[first, s] for s in valid], [votes[second, s] for s in valid])
        assert found["kappa"]["value"] == pytest.approx(expected)


def test_confusion_counts_labels_and_invalid_verdicts() -> None:
    table = a_table()
    found = confusion(table, "a", "c")
    label = {(row.judge, row.sample_id): row.label or "invalid" for row in table.itertuples()}
    shared = [s for s in table["sample_id"].unique() if ("c", s) in label]
    assert sum(map(sum, found["counts"])) == len(shared)
    for row, counts in zip(found["rows"], found["counts"], strict=True):
        for column, count in zip(found["columns"], counts, strict=True):
            assert count == sum(label["a", s] == row and label["c", s] == column for s in shared)
    assert "invalid" in found["rows"]


def test_rank_correlations_are_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        first, second = rng.integers(0, 6, 8) / 5, rng.integers(0, 6, 8) / 5
        if np.ptp(first) == 0 or np.ptp(second) == 0:
            continue
        assert ranks(first) == pytest.approx(stats.rankdata(first))
        assert spearman(first, second) == pytest.approx(stats.spearmanr(first, second).statistic)
        assert kendall(first, second) == pytest.approx(stats.kendalltau(first, second).statistic)
    assert np.isnan(spearman(np.ones(4), np.arange(4.0)))


def test_models_are_ranked_alike_as_far_as_their_rates_are() -> None:
    rng = random.Random(0)
    models = {}
    for number, rate in enumerate((0.1, 0.3, 0.5, 0.7, 0.9)):
        rows = []
        for sample in range(150):
            bad = rng.random() < rate
            rows.append(("strict", f"s{sample}", None if sample % 30 == number else not bad, f"i{sample // 2}"))
            rows.append(("lax", f"s{sample}", not (bad and rng.random() < 0.5), f"i{sample // 2}"))
            if number < 2:
                rows.append(("rare", f"s{sample}", not bad, f"i{sample // 2}"))
        models[f"m{number}"] = pd.DataFrame(rows, columns=["judge", "sample_id", "adheres", "cluster"], dtype=object)
    found = rank_correlation(models, draws=300)
    assert [(one["first"], one["second"]) for one in found] == [("strict", "lax")]  # two models make no ranking
    rates = [
        [1 - float(np.mean([v for v in m.loc[m["judge"] == j, "adheres"] if v is not None])) for m in models.values()]
        for j in ("strict", "lax")
    ]
    assert found[0]["models"] == found[0]["spearman"]["n"] == 5
    assert found[0]["spearman"]["value"] == pytest.approx(stats.spearmanr(*rates).statistic)
    assert found[0]["kendall"]["value"] == pytest.approx(stats.kendalltau(*rates).statistic)
    assert found[0]["kendall"]["low"] <= found[0]["kendall"]["value"] <= found[0]["kendall"]["high"]
