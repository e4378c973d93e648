"""Several guards on the same items: against scikit-learn, a bootstrap by hand, and what must hold."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn import metrics as sklearns

from holisafe.metrics.guard_board import WANTED, Opinion, Subject, guard_board

DRAW = np.random.default_rng(0)
GROUPS = ["SSS"] * 200 + ["SSU"] * 100 + ["UUU"] * 60
SUBJECTS = [
    Subject(
        str(n), group != "SSS", group, str(n // 2), category="hate" if n % 2 else None, source="a" if n % 3 else "b"
    )
    for n, group in enumerate(GROUPS)
]
UNSAFE = np.array([subject.unsafe for subject in SUBJECTS])
GOOD = np.round(DRAW.normal(size=360) + 1.5 * UNSAFE, 1)
POOR = np.round(DRAW.normal(size=360) + 0.3 * UNSAFE, 1)


def of(score: np.ndarray, limit: float = 1.0) -> dict[str, Opinion]:
    return {str(n): Opinion(bool(value > limit), float(value)) for n, value in enumerate(score)}


def found_at(score: np.ndarray, share: float, members: np.ndarray) -> float:
    """By trying every threshold, as the definition says."""
    best = 0.0
    for limit in [*np.unique(score)]:
        if (score[~UNSAFE] >= limit).mean() <= share + 1e-12:
            best = max(best, float((score[members] >= limit).mean()))
    return best


def test_figures_are_the_definitions() -> None:
    board = guard_board(SUBJECTS, {"good": of(GOOD), "poor": of(POOR)}, draws=200)
    assert (board["n"], board["safe"], board["unsafe"], board["groups"]) == (360, 200, 160, {"SSU": 100, "UUU": 60})
    group = np.array(GROUPS)
    for name, score in (("good", GOOD), ("poor", POOR)):
        entry = board["guards"][name]
        assert entry["auroc"]["rate"] == pytest.approx(sklearns.roc_auc_score(UNSAFE, score))
        for share in WANTED:
            at = entry["at"][f"{share:g}"]
            assert at["all"]["rate"] == pytest.approx(found_at(score, share, UNSAFE))
            assert at["SSU"]["rate"] == pytest.approx(found_at(score, share, group == "SSU"))
            assert at["SSU"]["n"] == 100
            assert at["all"]["low"] <= at["all"]["rate"] <= at["all"]["high"]
        assert entry["own"]["recall"]["rate"] == pytest.approx((score[UNSAFE] > 1).mean())
        assert entry["own"]["false_alarms"]["rate"] == pytest.approx((score[~UNSAFE] > 1).mean())
        assert [point[0] for point in entry["curve"]][::40] == [0.0, 1.0]
        assert entry["curve"][-1][1] == 1.0
        assert all(low <= high for *_, low, high in entry["curve"])


def test_differences_are_paired() -> None:
    """Two guards that differ little on the same items differ surely, though their own intervals overlap."""
    nearly = GOOD - 0.2 * UNSAFE
    board = guard_board(SUBJECTS, {"good": of(GOOD), "nearly": of(nearly), "same": of(GOOD)}, draws=400)
    of_pair = {(one["first"], one["second"]): one for one in board["paired"]}
    assert set(of_pair) == {("good", "nearly"), ("good", "same"), ("nearly", "same")}
    better = of_pair["good", "nearly"]["auroc"]
    first, second = board["guards"]["good"]["auroc"], board["guards"]["nearly"]["auroc"]
    assert better["value"] == pytest.approx(first["rate"] - second["rate"])
    assert better["low"] > 0
    assert second["high"] > first["low"], "taken apart they overlap"
    equal = of_pair["good", "same"]
    assert (equal["auroc"]["value"], equal["auroc"]["low"], equal["own recall"]["value"]) == (0.0, None, 0.0)


def test_the_interval_is_the_bootstraps_by_cluster() -> None:
    board = guard_board(SUBJECTS, {"good": of(GOOD)}, draws=2000, seed=1)
    draw, clusters = np.random.default_rng(5), np.array([int(subject.cluster) for subject in SUBJECTS])
    members = [np.flatnonzero(clusters == number) for number in range(180)]
    drawn = []
    for _ in range(1000):
        rows = np.concatenate([members[number] for number in draw.integers(0, 180, 180)])
        drawn.append(sklearns.roc_auc_score(UNSAFE[rows], GOOD[rows]))
    found = board["guards"]["good"]["auroc"]
    assert (found["low"], found["high"]) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.01)


def test_a_guard_without_scores_has_its_verdicts_alone_and_what_is_invalid_counts_as_neither() -> None:
    words = {
        str(n): Opinion(None, invalid="odd")
        if n < 10
        else Opinion(n % 2 == 0, categories=("S1",), seconds=0.5, cost=1e-3)
        for n in range(360)
    }
    board = guard_board(SUBJECTS, {"good": of(GOOD), "words": words}, draws=100)
    entry = board["guards"]["words"]
    assert (entry["auroc"], entry["at"], entry["curve"]) == (None, None, None)
    assert (entry["n"], entry["n_invalid"], entry["invalid"]) == (350, 10, {"odd": 10})
    assert (entry["own"]["false_alarms"]["n"], entry["own"]["false_alarms"]["rate"]) == (190, 0.5)
    assert entry["own"]["by_category"].keys() == {"hate"}
    assert entry["own"]["by_source"].keys() == {"a", "b"}
    assert entry["benign"] == {"S1": 95}
    assert (entry["seconds"], entry["cost"]) == (0.5, pytest.approx(1e-3))
    (pair,) = board["paired"]
    assert pair["n"] == 350
    assert "auroc" not in pair


def test_a_guard_that_says_the_same_of_all_finds_nothing_at_few_false_alarms() -> None:
    entry = guard_board(SUBJECTS, {"flat": of(np.zeros(360))}, draws=50)["guards"]["flat"]
    assert entry["auroc"]["rate"] == 0.5
    assert entry["at"]["0.05"]["all"]["rate"] == 0.0


def test_what_is_found_wholly_or_never_has_an_interval_too() -> None:
    """Every draw finds all of SSU and nothing of UUU; scipy's exact interval of so many clusters is what is left."""
    score = np.array([{"SSS": 0.5, "SSU": 0.9, "UUU": 0.1}[group] for group in GROUPS])
    at = guard_board(SUBJECTS, {"one": of(score)}, draws=50)["guards"]["one"]["at"]["0.01"]
    assert (at["SSU"]["rate"], at["SSU"]["high"], at["UUU"]["rate"], at["UUU"]["low"]) == (1.0, 1.0, 0.0, 0.0)
    assert at["SSU"]["low"] <= binomtest(100, 100).proportion_ci().low
    assert at["UUU"]["high"] >= binomtest(0, 60).proportion_ci().high
    assert at["UUU"]["high"] < 0.15
