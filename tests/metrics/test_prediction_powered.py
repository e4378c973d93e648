from __future__ import annotations

import numpy as np
import pytest

from holisafe.metrics import prediction_powered as module
from holisafe.metrics.intervals import NORMAL_QUANTILE, clopper_pearson
from holisafe.metrics.prediction_powered import FEW_LABELS, Powered, prediction_powered

REPEATS = 400

JUDGES = {
    "perfect": (0.0, 0.0),
    "good": (0.03, 0.05),
    "overlooks failures": (0.02, 0.40),
    "sees failures everywhere": (0.40, 0.02),
    "knows little": (0.40, 0.45),
    "turned around": (0.90, 0.85),
}
"""Share of good responses called failures, and of failures called good."""


def simulated(
    rng: np.random.Generator, rate: float, judge: str, labels: int, size: int = 1000, of_cluster: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """People's labels, a judge's verdicts, clusters. In a cluster all responses fare alike, and are judged alike."""
    wrong_alarm, missed = JUDGES[judge]
    groups = size // of_cluster
    truth = rng.random(groups) < rate
    said = np.where(truth, rng.random(groups) >= missed, rng.random(groups) < wrong_alarm)
    truth, said = (np.repeat(one, of_cluster).astype(float) for one in (truth, said))
    human = np.full(size, np.nan)
    chosen = rng.permutation(size)[:labels]
    human[chosen] = truth[chosen]
    return human, said, np.repeat(np.arange(groups), of_cluster)


def covered(found: list[Powered], rate: float) -> float:
    return float(np.mean([one.low <= rate <= one.high for one in found]))


@pytest.mark.parametrize("judge", JUDGES)
@pytest.mark.parametrize(("rate", "labels"), [(0.02, 100), (0.2, 60), (0.5, 200), (0.85, 100)])
def test_the_interval_covers_the_truth_whatever_the_judge_does(judge: str, rate: float, labels: int) -> None:
    rng = np.random.default_rng(len(judge) * 1000 + labels)
    found = [prediction_powered(*simulated(rng, rate, judge, labels)[:2]) for _ in range(REPEATS)]
    assert covered(found, rate) >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / REPEATS)
    estimates = np.array([one.rate for one in found])
    assert estimates.mean() == pytest.approx(rate, abs=4 * estimates.std() / np.sqrt(REPEATS) + 0.002)
    says = np.mean([one.judge_rate for one in found])
    wrong_alarm, missed = JUDGES[judge]
    assert says == pytest.approx(rate * (1 - missed) + (1 - rate) * wrong_alarm, abs=0.01)  # the judge alone is off


def test_it_covers_with_clusters_where_the_plain_one_does_not() -> None:
    rng, plain, clustered = np.random.default_rng(7), [], []
    for _ in range(150):
        human, said, clusters = simulated(rng, 0.3, "overlooks failures", labels=300, size=900, of_cluster=6)
        plain.append(prediction_powered(human, said))
        clustered.append(prediction_powered(human, said, clusters))
    assert covered(plain, 0.3) < 0.85
    assert covered(clustered, 0.3) >= 0.9
    assert all(one.rate == other.rate for one, other in zip(plain, clustered, strict=True))


def test_a_good_judge_is_worth_labels_and_a_useless_one_costs_none() -> None:
    rng = np.random.default_rng(1)
    widths = {}
    for judge in ("good", "knows little", "turned around"):
        found = [prediction_powered(*simulated(rng, 0.5, judge, 200, size=4000)[:2]) for _ in range(100)]
        alone = np.mean([one.labels_alone.high - one.labels_alone.low for one in found])
        widths[judge] = np.mean([one.high - one.low for one in found]) / alone
    assert widths["good"] < 0.6
    assert 0.93 < widths["knows little"] < 1.02
    assert widths["turned around"] == pytest.approx(0.98, abs=0.03)  # no weight is negative


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("weight", [0.0, 0.4, 1.0])
def test_rate_and_error_are_those_of_the_papers_library(seed: int, weight: float) -> None:
    library = pytest.importorskip("ppi_py")
    rng = np.random.default_rng(seed)
    judge = list(JUDGES)[seed]
    human, said, _ = simulated(rng, 0.4, judge, 80, size=500)
    if seed % 2:
        said = (said + rng.integers(0, 2, len(said))) / 2  # the mean of two judges
    labelled = ~np.isnan(human)
    parts = human[labelled], said[labelled], said[~labelled]
    found = prediction_powered(human, said, weight=weight)
    rate = library.ppi_mean_pointestimate(*parts, lam=weight)
    low, high = library.ppi_mean_ci(*parts, alpha=0.05, lam=weight)
    assert found.rate == pytest.approx(float(np.squeeze(rate)), abs=1e-9)
    assert found.standard_error == pytest.approx(float(np.squeeze(high - low)) / 2 / NORMAL_QUANTILE, abs=1e-9)


def test_with_many_labels_the_weight_is_that_of_the_papers_library() -> None:
    library = pytest.importorskip("ppi_py")
    human, said, _ = simulated(np.random.default_rng(0), 0.4, "overlooks failures", 20_000, size=60_000)
    labelled = ~np.isnan(human)
    rate = library.ppi_mean_pointestimate(human[labelled], said[labelled], said[~labelled])
    found = prediction_powered(human, said)
    assert found.rate == pytest.approx(float(np.squeeze(rate)), abs=2e-4)
    covariance = np.cov(human[labelled], said[labelled])
    assert found.weight == pytest.approx(covariance[0, 1] / covariance[1, 1] / 1.5, abs=1e-3)


def test_the_papers_own_weight_pulls_the_rate_off_with_few_labels() -> None:
    library, rng = pytest.importorskip("ppi_py"), np.random.default_rng(5)
    ours, theirs = [], []
    for _ in range(400):
        human, said, _ = simulated(rng, 0.85, "good", 60)
        labelled = ~np.isnan(human)
        ours.append(prediction_powered(human, said).rate)
        theirs.append(
            float(np.squeeze(library.ppi_mean_pointestimate(human[labelled], said[labelled], said[~labelled])))
        )
    assert abs(np.mean(ours) - 0.85) < 0.003
    assert np.mean(theirs) - 0.85 > 0.004


def test_without_the_added_labels_a_rare_failure_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    data = [simulated(rng, 0.02, "good", 60)[:2] for _ in range(200)]
    assert covered([prediction_powered(*one) for one in data], 0.02) > 0.93
    monkeypatch.setattr(module, "CORNER_WEIGHT", 1e-9)
    assert covered([prediction_powered(*one) for one in data], 0.02) < 0.8


def test_invalid_verdicts_count_as_the_mean_and_keep_the_rate_right() -> None:
    rng = np.random.default_rng(3)
    found = []
    for _ in range(300):
        human, said, _ = simulated(rng, 0.4, "good", 150)
        truth_known = said == 1
        said[truth_known & (rng.random(len(said)) < 0.5)] = np.nan  # half of what it would call failures
        found.append(prediction_powered(human, said))
    assert covered(found, 0.4) > 0.92
    assert np.mean([one.judge_rate for one in found]) < 0.3
    one = found[0]
    assert one.n_invalid > 100
    assert one.n == 150
    assert one.n + one.n_predicted + one.n_invalid > 1000  # labelled responses may be unread too
    human, said, _ = simulated(rng, 0.4, "good", 150)
    filled = said.copy()
    filled[:100] = said[100:].mean()
    said[:100] = np.nan
    assert prediction_powered(human, said).rate == prediction_powered(human, filled).rate


def test_no_labels_few_labels_and_nothing_but_labels() -> None:
    said = np.tile([1.0, 0.0], 50)
    nothing = prediction_powered(np.full(100, np.nan), said)
    assert (nothing.rate, nothing.low, nothing.n, nothing.judge_rate) == (None, None, 0, 0.5)
    assert nothing.few_labels

    few = said.copy()
    few[FEW_LABELS - 1 :] = np.nan
    assert prediction_powered(few, said).few_labels
    enough = said.copy()
    enough[FEW_LABELS:] = np.nan
    assert not prediction_powered(enough, said).few_labels
    assert prediction_powered(enough, said, np.arange(100) // 4).few_labels  # 20 labels in 5 clusters

    human = np.array([1.0] * 30 + [0.0] * 70)
    every = prediction_powered(human, said)
    assert (every.rate, every.weight, every.n_predicted) == (pytest.approx(0.3), 0.0, 0)
    assert (every.low, every.high) == pytest.approx(clopper_pearson(30, 100), abs=0.01)

    unread = prediction_powered(human, np.full(100, np.nan))
    assert (unread.rate, unread.judge_rate, unread.n_invalid) == (pytest.approx(0.3), None, 100)


def test_everything_agrees_and_the_interval_still_says_that_labels_are_few() -> None:
    said = np.zeros(2000)
    human = np.full(2000, np.nan)
    human[:50] = 0
    found = prediction_powered(human, said)
    assert (found.rate, found.low) == (0, 0)
    assert 0.04 < found.high < 0.08
    json = found.to_json()
    assert json["labels_alone"]["n"] == 50
    assert set(json) >= {"rate", "low", "high", "n", "weight", "judge_rate", "few_labels"}
