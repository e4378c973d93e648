"""Temperature, conformal quantiles and thresholds: scipy, numpy and sklearn as oracles, and coverage by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize, special
from sklearn.metrics import log_loss

from holisafe.metrics.conformal import covered, label_sets, needed, set_quantile, sizes, upper_quantile
from holisafe.metrics.guard_temperature import RANGE, fit_temperature, mean_nll, scaled
from holisafe.metrics.guard_thresholds import choose_thresholds

LABELS = ("safe", "suicide", "weapon_related_violence")


def images(n: int, seed: int, heat: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits times `heat` of a guard whose probabilities softmax(logits) are exactly right, and true ids drawn so."""
    rng = np.random.default_rng(seed)
    logits = rng.normal([1.0, 0, 0], 1.5, (n, len(LABELS)))
    chances = special.softmax(logits, axis=1)
    true = (chances.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    return logits * heat, true


@pytest.mark.parametrize(("heat", "seed"), [(1.0, 0), (3.0, 1), (0.25, 2)])
def test_temperature_is_the_one_that_scipy_finds_and_that_was_put_in(heat: float, seed: int) -> None:
    logits, true = images(4000, seed, heat)
    found = fit_temperature(logits, true)
    other = optimize.minimize(
        lambda x: -special.log_softmax(logits / np.exp(x[0]), axis=1)[np.arange(len(true)), true].mean(),
        [0.0],
        method="BFGS",
    )
    assert found == pytest.approx(math.exp(other.x[0]), rel=1e-4)
    assert found == pytest.approx(heat, rel=0.08)
    assert mean_nll(logits, true, found) == pytest.approx(log_loss(true, scaled(logits, found)))
    assert mean_nll(logits, true, found) < min(mean_nll(logits, true, found * f) for f in (0.9, 1.1))
    assert scaled(logits, found) == pytest.approx(special.softmax(logits / found, axis=1))


def test_a_guard_that_is_never_wrong_keeps_its_temperature() -> None:
    logits = np.eye(3)[[0, 1, 2, 0]] * 2
    assert fit_temperature(logits, [0, 1, 2, 0]) == 1.0
    assert fit_temperature(np.zeros((0, 3)), []) == 1.0
    assert fit_temperature(logits, [1, 2, 0, 1]) == pytest.approx(RANGE[1], rel=1e-3), "always wrong: as warm as may be"
    with pytest.raises(ValueError, match="finite"):
        fit_temperature([[math.nan, 0.0]], [0])


def test_huge_logits_stay_numbers() -> None:
    assert scaled([[1e4, -1e4, 0]], 0.5).tolist() == [[1, 0, 0]]
    assert mean_nll([[1e4, 0.0]], [1]) == 1e4


@pytest.mark.parametrize("n", [1, 9, 10, 19, 20, 99, 500])
@pytest.mark.parametrize("share", [0.05, 0.1, 0.5])
def test_quantile_is_the_finite_sample_one(n: int, share: float) -> None:
    """Against a search over all candidates: the least at which at most share * (n + 1) of n + 1 ranks lie above."""
    scores = np.random.default_rng(n).permutation(np.arange(n, dtype=float))
    wanted = next((s for s in np.sort(scores) if (n - s) / (n + 1) <= share + 1e-12), math.inf)
    assert upper_quantile(scores, share) == wanted
    assert math.isfinite(wanted) == (n >= needed(share))
    if math.isfinite(wanted):  # numpy's name for the (n + 1) quantile
        assert wanted == np.quantile(
            scores, min(1, math.ceil(round((n + 1) * (1 - share), 9)) / n), method="inverted_cdf"
        )


def test_quantile_refuses_what_makes_no_sense() -> None:
    for share in (0, 1, -0.1, math.nan):
        with pytest.raises(ValueError, match="between 0 and 1"):
            upper_quantile([1.0], share)
    with pytest.raises(ValueError, match="numbers"):
        upper_quantile([math.nan], 0.5)
    assert upper_quantile([], 0.5) == math.inf


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_false_alarms_and_coverage_over_seeds(share: float) -> None:
    """On average over calibration draws the guarantee holds, and is not much more than kept: share - 1 / (n + 1)."""
    alarms, missed, n = [], [], 59
    for seed in range(600):
        logits, true = images(n + 200, seed)
        chances = special.softmax(logits, axis=1)
        limit = upper_quantile(1 - chances[:n, 0], share)
        alarms.append((1 - chances[n:, 0] > limit).mean())
        quantile = set_quantile(chances[:n], true[:n], share)
        missed.append(1 - covered(label_sets(chances[n:], quantile), true[n:]).mean())
    for rates in (alarms, missed):
        error = np.std(rates) / math.sqrt(len(rates))
        assert share - 1 / (n + 1) - 3 * error <= np.mean(rates) <= share + 3 * error


def test_sets_by_hand() -> None:
    probabilities = [[0.7, 0.2, 0.1], [0.4, 0.35, 0.25], [0.9, 0.06, 0.04]]
    assert set_quantile(probabilities, [0, 1, 0], 0.5) == pytest.approx(0.3)
    sets = label_sets(probabilities, 0.65)
    assert sets.tolist() == [[True, False, False], [True, True, False], [True, False, False]]
    assert covered(sets, [1, 1, 0]).tolist() == [False, True, True]
    assert sizes(sets).tolist() == [1, 2, 1]
    assert sizes(label_sets(probabilities, math.inf)).tolist() == [3, 3, 3]


def test_thresholds_come_from_the_half_that_the_temperature_does_not() -> None:
    logits, true = images(2000, 5, heat=2.0)
    truth = [LABELS[label] for label in true]
    clusters = [f"scene {number // 2}" for number in range(len(truth))]
    found = choose_thresholds(logits, truth, LABELS, clusters, false_alarm_rate=0.1, coverage=0.8, seed=3)
    assert found["n"]["temperature"] + found["n"]["sets"] == 2000
    assert abs(found["n"]["sets"] - 1000) < 100
    assert found["temperature"] == pytest.approx(2, rel=0.15)
    assert found["nll"]["after"] < found["nll"]["before"]

    changed = logits.copy()  # a change to one half's images moves either the temperature or the thresholds' inputs
    from holisafe.records import digest

    first = np.array([int(digest([3, cluster]), 16) % 2 == 0 for cluster in clusters])
    assert (first[::2] == first[1::2]).all(), "a cluster is never torn"
    changed[~first] = 0
    assert choose_thresholds(changed, truth, LABELS, clusters, seed=3)["temperature"] == found["temperature"]

    held = scaled(logits, found["temperature"])[~first]
    safe = np.array([label == "safe" for label in truth])[~first]
    assert (1 - held[safe, 0] > found["unsafe"]).mean() <= 0.1
    assert (1 - held[safe, 0] >= found["unsafe"]).mean() > 0.1 - 1 / safe.sum() - 1e-9
    for at, label in enumerate(LABELS[1:], start=1):
        assert (held[safe, at] > found["by_label"][label]).mean() <= 0.1
    kept = covered(label_sets(held, found["set_quantile"]), true[~first])
    assert kept.mean() >= 0.8


def test_unsafe_without_a_label_says_nothing_on_labels() -> None:
    logits, true = images(400, 1)
    truth = [LABELS[label] if label == 0 else None for label in true]
    found = choose_thresholds(logits, truth, LABELS, [str(n) for n in range(400)], image_safe=[t == 0 for t in true])
    assert found["n"]["sets"] == found["n"]["safe"] < 200
    with pytest.raises(ValueError, match="no label 'safe'"):
        choose_thresholds([[0.0, 1.0]], ["a"], ("a", "b"), ["0"])
    with pytest.raises(ValueError, match="no safe image"):
        choose_thresholds(logits, ["suicide"] * 400, LABELS, [str(n) for n in range(400)])


def test_too_few_safe_images_give_no_threshold() -> None:
    logits, _ = images(20, 0)
    found = choose_thresholds(logits, ["safe"] * 20, LABELS, [str(n) for n in range(20)], false_alarm_rate=0.05)
    assert (found["unsafe"], set(found["by_label"].values()), found["n"]["safe_needed"]) == (None, {None}, 19)
