"""Prevalence corrected for a guard's errors: it covers the truth, and agrees with what a posterior says."""

from __future__ import annotations

import numpy as np
import pytest

from holisafe.errors import InputError
from holisafe.metrics.intervals import clopper_pearson
from holisafe.metrics.prevalence import ErrorRates, Share, corrected, measured_rates, typed_share

DRAWS = 1500


@pytest.mark.parametrize(
    ("truth", "right", "clear", "n", "labelled"),
    [
        (0.02, 0.9, 0.98, 1000, (100, 400)),
        (0.001, 0.95, 0.99, 5000, (50, 500)),
        (0.3, 0.7, 0.8, 300, (60, 60)),
        (0.6, 0.95, 0.95, 100_000, (380, 892)),
    ],
)
def test_the_interval_covers_the_truth(
    truth: float, right: float, clear: float, n: int, labelled: tuple[int, int]
) -> None:
    rng = np.random.default_rng(1)
    flagged = rng.binomial(n, truth * right + (1 - truth) * (1 - clear), DRAWS) / n
    found, passed = rng.binomial(labelled[0], right, DRAWS), rng.binomial(labelled[1], clear, DRAWS)
    held, alone = 0, 0
    for share, hits, kept in zip(flagged, found, passed, strict=True):
        rates = ErrorRates(Share(hits / labelled[0], labelled[0]), Share(kept / labelled[1], labelled[1]), "here")
        said = corrected(Share(share, n), rates)
        held += said.low <= truth <= said.high
        low, high = clopper_pearson(share * n, n)
        alone += low <= truth <= high
    assert held / DRAWS > 0.935
    assert alone / DRAWS < held / DRAWS, "the share that is flagged is something else"


def test_it_is_near_what_a_posterior_says() -> None:
    """Flat priors for three binomial rates, drawn 400,000 times: another way to the same interval."""
    rates = ErrorRates(Share(0.93, 100), Share(880 / 892, 892), "here")
    said = corrected(Share(0.05, 20_000), rates)
    rng = np.random.default_rng(0)
    share = rng.beta(1001, 19_001, 400_000)
    right, clear = rng.beta(94, 8, 400_000), rng.beta(881, 13, 400_000)
    low, high = np.quantile(np.clip((share + clear - 1) / (right + clear - 1), 0, 1), [0.025, 0.975])
    assert said.rate == pytest.approx((0.05 + 880 / 892 - 1) / (0.93 + 880 / 892 - 1))
    assert (said.low, said.high) == (pytest.approx(low, abs=0.002), pytest.approx(high, abs=0.002))


def test_published_examples() -> None:
    """epiR's manual: 23 of 150 cows flagged, sensitivity 96 %, specificity 89 %, both known: 5.1 %, 0 to 13 %."""
    known = ErrorRates(Share(0.96, 1e9), Share(0.89, 1e9), "epi.prev")
    said = corrected(Share(23 / 150, 150), known)
    assert said.rate == pytest.approx(0.051, abs=0.0005)
    assert (said.low, said.high) == (pytest.approx(0.0, abs=0.005), pytest.approx(0.13, abs=0.005))
    none = corrected(Share(6 / 151, 151), ErrorRates(Share(0.964, 1e9), Share(0.927, 1e9), "epi.prev"))
    assert (none.rate, none.low) == (0.0, 0.0)
    assert none.high < 0.03


def test_a_guard_no_better_than_chance_says_nothing() -> None:
    blind = ErrorRates(Share(0.5, 100), Share(0.5, 100), "here")
    said = corrected(Share(0.5, 1000), blind)
    assert (said.rate, said.low, said.high) == (None, 0.0, 1.0)


def test_rates_out_of_a_board_have_the_size_of_their_interval() -> None:
    """Pictures in clusters tell less than as many alone."""
    low, high = clopper_pearson(36.0, 40.0)
    cell = {"rate": 0.9, "n": 100, "low": float(low), "high": float(high)}
    alone_low, alone_high = clopper_pearson(2.0, 100.0)
    alarms = {"rate": 0.02, "n": 100, "low": float(alone_low), "high": float(alone_high)}
    board = {"on": "images", "guards": {"tuned": {"own": {"false_alarms": alarms, "recall": cell}}}}
    rates = measured_rates(board, "tuned", "board.json")
    assert rates.sensitivity.n == pytest.approx(40, abs=0.5)
    assert (rates.specificity.rate, rates.specificity.n) == (pytest.approx(0.98), pytest.approx(100, abs=0.5))
    with pytest.raises(InputError, match="no figures of 'other'; it has those of tuned"):
        measured_rates(board, "other", "board.json")
    with pytest.raises(InputError, match="no guards that were measured on images"):
        measured_rates({**board, "on": "pairs"}, "tuned", "board.json")


@pytest.mark.parametrize("told", ["93", "93/0", "101/100", "a/b", "-1/10", "9.5/10"])
def test_a_share_is_written_as_found_of_all(told: str) -> None:
    assert typed_share(" 93 / 100 ", "it").rate == 0.93
    with pytest.raises(InputError, match="is not written FOUND/ALL"):
        typed_share(told, "it")


CELL = {"rate": 0.5, "low": 0.4, "high": 0.6, "n": 9}


@pytest.mark.parametrize("odd", [1, {}, {"rate": "x"}, {**CELL, "n": "9"}, {**CELL, "n": 0}, {**CELL, "rate": 7}])
def test_a_strangers_board_is_refused_in_a_line(odd: object) -> None:
    for own in (odd, {"false_alarms": odd, "recall": CELL}, {"false_alarms": CELL, "recall": odd}):
        with pytest.raises(InputError, match=r"b\.json: its rates of 'a' are no rates"):
            measured_rates({"on": "images", "guards": {"a": {"own": own}}}, "a", "b.json")
