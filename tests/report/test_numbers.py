from __future__ import annotations

import math
from dataclasses import replace

import pytest

from holisafe.metrics.intervals import wilson
from holisafe.report.numbers import bracket, cell_text, difference, fragile, percent
from holisafe.runs.scores import Cell
from report.fake_runs import cell


@pytest.mark.parametrize(
    ("rate", "written"),
    [(0.123, "12.3 %"), (0.0, "0.0 %"), (1.0, "100.0 %"), (0.00049, "0.0 %"), (None, "–"), (math.nan, "–")],
)
def test_a_rate_is_written_in_percent_with_one_decimal(rate, written):
    assert percent(rate) == written


def test_a_change_has_a_sign_unless_it_rounds_to_nothing():
    assert percent(0.05, signed=True) == "+5.0 %"
    assert percent(-0.05, signed=True) == "−5.0 %"
    assert percent(-0.0001, signed=True) == "0.0 %"


def test_a_cell_tells_interval_n_and_invalid():
    made = Cell(rate=0.123, n=480, n_invalid=0, low=0.101, high=0.149)
    assert cell_text(made) == "12.3 % [10.1, 14.9] n=480"
    assert cell_text(replace(made, n_invalid=3)) == "12.3 % [10.1, 14.9] n=480 (3 invalid)"
    assert cell_text(Cell(n_invalid=4)) == "– n=0 (4 invalid)"
    assert cell_text(None) == "–"


def test_no_interval_no_brackets():
    assert bracket(None, 0.5) == ""


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [
        # Newcombe, Statistics in Medicine 17 (1998) 873-890, table II, method 10
        ((48, 80), (56, 70), 0.0524, 0.3339),
        ((3, 10), (9, 10), 0.1705, 0.8090),
        ((2, 7), (6, 7), 0.0582, 0.8062),
        ((0, 29), (5, 56), -0.0381, 0.1926),
    ],
)
def test_the_interval_of_a_difference_is_the_published_one(first, second, low, high):
    cells = [Cell(hits / n, n, 0, *map(float, wilson(hits, n))) for hits, n in (first, second)]
    assert difference(*cells) == pytest.approx((cells[1].rate - cells[0].rate, low, high), abs=1e-4)


def test_no_difference_without_two_intervals():
    known = cell([True, False])
    assert difference(known, cell([])) is None
    assert difference(None, known) is None
    assert difference(known, replace(known, low=None)) is None


def test_fragile_means_that_invalid_verdicts_could_leave_the_interval():
    steady = cell([True] * 50 + [False] * 50 + [None])
    assert steady.n_invalid == 1
    assert not fragile(steady)
    assert fragile(cell([False] * 100 + [None] * 10)), "upwards"
    assert fragile(cell([True] * 100 + [None] * 10)), "downwards"
    assert not fragile(cell([False] * 100))
    assert not fragile(None)
    assert fragile(cell([None]))
