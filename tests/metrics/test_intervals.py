from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from holisafe.metrics import intervals
from holisafe.metrics.intervals import percentiles, resampled_sums, resamples, wilson


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_scipys(counts: tuple[int, int]) -> None:
    hits, n = counts
    scipys = binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert wilson(hits, n) == pytest.approx((scipys.low, scipys.high), abs=1e-12)


@pytest.mark.parametrize("n", [1, 7, 849, 4031])
def test_wilson_ends_at_zero_and_one_to_the_last_digit(n: int) -> None:
    assert (wilson(0, n)[0], wilson(n, n)[1]) == (0, 1)


def test_wilson_of_a_fractional_size_lies_between_its_neighbours() -> None:
    widths = [high - low for low, high in (wilson(0.3 * n, n) for n in (20, 20.5, 21))]
    assert widths[0] > widths[1] > widths[2]


@pytest.mark.parametrize("at_once", [1, 60, 10_000_000])
def test_draws_do_not_depend_on_how_many_are_held_at_once(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(resamples(7, 50, seed=3)))
    monkeypatch.setattr(intervals, "DRAWN_AT_ONCE", at_once)
    assert (np.concatenate(list(resamples(7, 50, seed=3))) == whole).all()
    assert whole.shape == (50, 7)
    assert (whole.sum(axis=1) == 7).all()


def test_every_thing_is_drawn_as_often_as_any_other() -> None:
    times = np.concatenate(list(resamples(5, 20_000, seed=1)))
    assert times.mean(axis=0) == pytest.approx(np.ones(5), abs=0.03)
    assert times.var(axis=0) == pytest.approx(np.full(5, 1 - 1 / 5), abs=0.04)  # multinomial: 5 p (1 - p)
    assert not (times[0] == times[1]).all() or not (times[1] == times[2]).all()


def test_seeds_differ_and_repeat() -> None:
    first, again, other = (np.concatenate(list(resamples(9, 5, seed=seed))) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_strata_keep_their_size_in_every_draw() -> None:
    totals = np.array([[1.0, 0, 1], [1, 0, 2], [0, 1, 3], [0, 1, 4], [0, 1, 5]])
    sums = resampled_sums(totals, np.array([0, 0, 1, 1, 1]), draws=200, seed=0)
    assert (sums[:, 0] == 2).all()
    assert (sums[:, 1] == 3).all()
    assert 2 + 9 <= sums[:, 2].min() < 1 + 2 + 3 + 4 + 5 < sums[:, 2].max() <= 4 + 15


def test_sums_have_the_spread_of_a_loop() -> None:
    values = [0.0, 1, 1, 2, 7, 3, 0, 4]
    rng = random.Random(0)
    looped = [sum(rng.choices(values, k=len(values))) for _ in range(20_000)]
    drawn = resampled_sums(np.array(values)[:, None], np.zeros(len(values), int), draws=20_000, seed=0)[:, 0]
    assert np.quantile(drawn, [0.025, 0.5, 0.975]) == pytest.approx(np.quantile(looped, [0.025, 0.5, 0.975]), abs=1)
    assert drawn.std() == pytest.approx(np.std(looped), rel=0.03)


def test_percentiles_leave_out_nan_and_refuse_draws_that_do_not_differ() -> None:
    drawn = np.append(np.arange(101) / 100, np.nan)
    assert percentiles(drawn) == pytest.approx((0.025, 0.975))
    assert percentiles(np.array([0.5, np.nan, 0.5])) is None
    assert percentiles(np.array([0.1 + 0.2, 0.3, 0.3])) is None  # the same but for rounding
    assert percentiles(np.array([np.nan, np.nan])) is None
