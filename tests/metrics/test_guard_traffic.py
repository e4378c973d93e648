"""Thresholds from unlabelled images: against conformal quantiles, a definition written out, and drawn traffic."""

from __future__ import annotations

import math

import numpy as np
import pytest

from holisafe.metrics.conformal import upper_quantile
from holisafe.metrics.guard_thresholds import choose_thresholds
from holisafe.metrics.guard_traffic import traffic_quantile

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("n", [9, 10, 19, 20, 100, 333])
@pytest.mark.parametrize("rate", [0.05, 0.1, 0.5])
def test_traffic_without_unsafe_images_is_a_labelled_set(n: int, rate: float) -> None:
    scores = RNG.random(n)
    assert traffic_quantile(scores, [], 0.0, rate) == upper_quantile(scores, rate)


def test_the_definition_written_out() -> None:
    traffic, unsafe, share, rate = RNG.random(60), 0.4 + 0.6 * RNG.random(25), 0.3, 0.1

    def keeps(limit: float) -> bool:
        above = sum(score > limit for score in traffic) + 1
        return above / 61 <= share * sum(score > limit for score in unsafe) / 25 + (1 - share) * rate

    expected = next(one for one in sorted(traffic) if all(keeps(later) for later in sorted(traffic) if later >= one))
    assert traffic_quantile(traffic, unsafe, share, rate) == expected


def test_false_alarms_are_the_wanted_ones_where_scores_have_shifted() -> None:
    """Safe scores shift up by one deviation: the labelled threshold gives 26 % alarms where 5 % are wanted."""
    safe, unsafe = RNG.normal(size=4000), RNG.normal(6, 1, size=4000)
    shifted = RNG.normal(1, 1, size=40_000)
    traffic = np.concatenate([shifted[:7000], RNG.normal(6, 1, size=3000)])
    assert (shifted > upper_quantile(safe, 0.05)).mean() == pytest.approx(0.26, abs=0.02)
    assert (shifted[7000:] > traffic_quantile(traffic, unsafe, 0.3, 0.05)).mean() == pytest.approx(0.05, abs=0.01)


def test_a_lower_recall_costs_what_is_said() -> None:
    """A tenth of the unsafe images scores as safe ones do: alarms are above by 0.3 * 0.1 / 0.7."""
    safe = RNG.random(70_000)
    traffic = np.concatenate([safe, np.full(27_000, 2.0), RNG.random(3000) * 0.5])
    alarms = (safe > traffic_quantile(traffic, np.full(100, 2.0), 0.3, 0.05)).mean()
    assert alarms == pytest.approx(0.05 + 0.3 * 0.1 / 0.7, abs=0.003)


def test_too_few_images_and_what_is_refused() -> None:
    assert traffic_quantile([0.1] * 9, [], 0.0, 0.05) == math.inf
    with pytest.raises(ValueError, match="out of bounds"):
        traffic_quantile([0.1], [0.2], 1.0, 0.05)
    with pytest.raises(ValueError, match="no labelled unsafe"):
        traffic_quantile([0.1], [], 0.1, 0.05)
    with pytest.raises(ValueError, match="numbers"):
        traffic_quantile([math.nan], [0.2], 0.1, 0.05)


def test_thresholds_of_a_guard_follow_the_traffic() -> None:
    """Logits of two labels; the traffic's safe images score higher, and so do alarm and label thresholds."""
    logits = np.stack([RNG.normal(2, 1, 800), RNG.normal(0, 1, 800)], axis=1)
    truth = ["safe"] * 400 + ["suicide"] * 400
    logits[400:] = logits[400:, ::-1]
    given = (logits, truth, ("safe", "suicide"), [str(n) for n in range(800)])
    plain = choose_thresholds(*given)
    traffic = np.stack([RNG.normal(0.5, 1, 500), RNG.normal(0, 1, 500)], axis=1)
    shifted = choose_thresholds(*given, traffic=traffic, unsafe_share=0.0)
    assert shifted["unsafe"] > plain["unsafe"]
    assert shifted["by_label"]["suicide"] == pytest.approx(shifted["unsafe"])
    assert (shifted["temperature"], shifted["set_quantile"]) == (plain["temperature"], plain["set_quantile"])
    scores = 1 / (1 + np.exp((traffic[:, 0] - traffic[:, 1]) / plain["temperature"]))
    assert (scores > shifted["unsafe"]).mean() == pytest.approx(0.05, abs=0.005)
