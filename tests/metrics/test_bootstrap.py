from __future__ import annotations

import random

import numpy as np
import pytest

from holisafe.metrics import estimates
from holisafe.metrics.estimates import percentiles, resampled_sums, resamples


@pytest.mark.parametrize("at_once", [1, 60, 10_000_000])
def test_draws_do_not_depend_on_how_many_are_held_at_once(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(resamples(7, 50, seed=3)))
    monkeypatch.setattr(estimates, "DRAWN_AT_ONCE", at_once)
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


def test_sums_have_the_spread_of_a_loop() -> None:
    values = [0.0, 1, 1, 2, 7, 3, 0, 4]
    rng = random.Random(0)
    looped = [sum(rng.choices(values, k=len(values))) for _ in range(20_000)]
    drawn = resampled_sums(np.array(values)[:, None], draws=20_000, seed=0)[:, 0]
    assert np.quantile(drawn, [0.025, 0.5, 0.975]) == pytest.approx(np.quantile(looped, [0.025, 0.5, 0.975]), abs=1)
    assert drawn.std() == pytest.approx(np.std(looped), rel=0.03)


def test_columns_are_drawn_together_and_each_draw_has_as_many_clusters() -> None:
    totals = np.array([[1.0, 10.0, 1.0]] * 3 + [[4.0, 40.0, 1.0]] * 2 + [[0.0, 0.0, 1.0]])
    sums = resampled_sums(totals, draws=500, seed=0)
    assert (sums[:, 2] == 6).all()
    assert (sums[:, 1] == 10 * sums[:, 0]).all()
    assert len(np.unique(sums[:, 0])) > 10
    assert resampled_sums(np.zeros((0, 2)), draws=3, seed=0).tolist() == [[0, 0]] * 3


@pytest.mark.parametrize("at_once", [1, 60])
def test_sums_do_not_depend_on_how_many_are_held_at_once(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    totals = np.arange(20.0).reshape(10, 2)
    whole = resampled_sums(totals, draws=50, seed=3)
    monkeypatch.setattr(estimates, "DRAWN_AT_ONCE", at_once)
    assert (resampled_sums(totals, draws=50, seed=3) == whole).all()


def test_percentiles_leave_out_nan_and_refuse_draws_that_do_not_differ() -> None:
    drawn = np.append(np.arange(101) / 100, np.nan)
    assert percentiles(drawn, 0.5) == pytest.approx((0.025, 0.975))
    assert percentiles(np.array([0.5, np.nan, 0.5]), 0.5) is None
    assert percentiles(np.array([0.1 + 0.2, 0.3, 0.3]), 0.3) is None  # the same but for rounding
    assert percentiles(np.array([np.nan, np.nan]), 0.5) is None


def test_an_interval_holds_what_it_is_about() -> None:
    drawn = np.linspace(0.06, 0.12, 100)
    assert percentiles(drawn, 0.055) == (0.055, pytest.approx(np.quantile(drawn, 0.975)))
    assert percentiles(drawn, 0.2) == (pytest.approx(np.quantile(drawn, 0.025)), 0.2)
    assert percentiles(np.full(5, 0.1), 0.1) is None
