"""Front, knee and pick against brute force over all pairs and triples, with ties, gaps and NaN."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holisafe.errors import InputError
from holisafe.metrics.frontier import knee, oriented, pareto_front, parse_limit, pick

NAN = math.nan
NUMBER = st.one_of(st.none(), st.just(NAN), st.integers(0, 6).map(lambda n: n / 6))
PLACES = st.lists(st.tuples(NUMBER, NUMBER), max_size=14)


def is_number(value: float | None) -> bool:
    return value is not None and value == value


@given(PLACES)
def test_the_front_is_what_nothing_beats(places: list[tuple[float | None, float | None]]) -> None:
    for place, on in zip(places, pareto_front(places), strict=True):
        usable = is_number(place[0]) and is_number(place[1])
        beaten = False
        for other in places:
            if usable and is_number(other[0]) and is_number(other[1]):
                no_worse = other[0] >= place[0] and other[1] >= place[1]
                beaten = beaten or (no_worse and (other[0] > place[0] or other[1] > place[1]))
        assert on == (usable and not beaten)


def distance(place: tuple[float, float], first: tuple[float, float], last: tuple[float, float]) -> float:
    """How far a place lies from the line through two others, on the side away from the origin; plain geometry."""
    (x, y), (x1, y1), (x2, y2) = place, first, last
    return ((x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)) / math.hypot(x2 - x1, y2 - y1)


@given(PLACES)
def test_the_knee_is_farthest_from_the_line_between_the_ends(places: list[tuple[float | None, float | None]]) -> None:
    front = [(at, place) for at, (place, on) in enumerate(zip(places, pareto_front(places), strict=True)) if on]
    found = knee(places)
    if len({place for _, place in front}) < 3:
        assert found is None
        return
    left, right = min(place for _, place in front), max(place for _, place in front)
    width, height = right[0] - left[0], left[1] - right[1]
    scaled = [(at, ((x - left[0]) / width, (y - right[1]) / height)) for at, (x, y) in front]
    distances = {at: distance(place, (0.0, 1.0), (1.0, 0.0)) for at, place in scaled}
    farthest = max(distances.values())
    if farthest < 1e-9:
        assert found is None
    else:
        assert found == min(at for at, value in distances.items() if value > farthest - 1e-9)


def test_a_known_knee() -> None:
    assert knee([(0, 1), (0.5, 0.9), (0.9, 0.6), (1, 0)]) == 2
    assert knee([(0.9, 0.6), (1, 0), (0.5, 0.9), (0, 1)]) == 0  # in any order
    assert knee([(0, 1), (0.5, 0.5), (1, 0)]) is None  # straight
    assert knee([(0, 1), (0.2, 0.3), (1, 0)]) is None  # inwards
    assert knee([(0, 1), (1, 0), (0, 1)]) is None  # two places
    assert knee([(0, 10), (0.05, 9), (0.1, 0)]) == 1  # scaled: the axes differ hundredfold
    assert knee([(0, 1), (0.8, 0.8), (0.8, 0.8), (1, 0)]) == 1  # the first of equal ones


def test_oriented_turns_what_is_better_when_lower() -> None:
    assert oriented("sra_u", 0.3) == 0.3
    assert oriented("masr_pooled", 0.3) == oriented("asr.SSU", 0.3) == -0.3
    assert oriented("rr", None) is oriented("rr", NAN) is None


def setting(rates: dict[str, float | None], losses: dict[str, float] | None = None) -> dict[str, Any]:
    return {
        "rates": {name: {"rate": rate, "low": 0.0, "high": 1.0} for name, rate in rates.items()},
        "losses": {name: {"loss": x, "low": x - 0.01, "high": x + 0.03} for name, x in (losses or {}).items()},
    }


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("sra_s loss <= 0.02", True),
        ("sra_s loss<=0.02", True),
        ("sra_s loss < 0.02", False),
        ("sra_s loss high <= 0.02", False),
        ("sra_s loss high <= 0.05", True),
        ("sra_s loss low <= 0.01", True),
        ("sra_s >= 0.9", True),
        ("sra_s > 0.9", False),
        ("sra_s low >= 0.5", False),
        ("utility loss <= 0.5", False),  # not measured
        ("utility >= 0", False),
        ("rr <= 0.1", False),  # no valid verdict
    ],
)
def test_a_limit_is_about_a_rate_or_its_loss(text: str, holds: bool) -> None:
    found = setting({"sra_s": 0.9, "rr": None}, {"sra_s": 0.92 - 0.9})  # 0.020000000000000018
    assert parse_limit(text).holds(found["rates"], found["losses"]) is holds


@pytest.mark.parametrize(
    "text", ["", "sra_s", "sra_s < ", "sra_s loss = 0.1", "nothing < 0.1", "sra_s loss <= 2", "sra_s gain <= 0.1"]
)
def test_what_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_limit(text)


def test_the_best_within_the_limits_is_picked() -> None:
    settings = [
        setting({"sra_u": 0.5, "rr": 0.0}, {"sra_s": 0.0}),
        setting({"sra_u": 0.9, "rr": 0.3}, {"sra_s": 0.3}),
        setting({"sra_u": 0.7, "rr": 0.02}, {"sra_s": 0.02}),
        setting({"sra_u": 0.7, "rr": 0.01}, {"sra_s": 0.01}),
        setting({"sra_u": None, "rr": 0.0}, {"sra_s": 0.0}),
        setting({"sra_u": NAN, "rr": 0.0}, {"sra_s": 0.0}),
    ]
    assert pick(settings, "sra_u", []) == 1
    assert pick(settings, "sra_u", [parse_limit("sra_s loss <= 0.02")]) == 2  # the first of equal ones
    assert pick(settings, "sra_u", [parse_limit("sra_s loss <= 0.02"), parse_limit("rr <= 0.015")]) == 3
    assert pick(settings, "rr", []) == 0
    assert pick(settings, "sra_u", [parse_limit("sra_s loss < 0")]) is None
    assert pick([], "sra_u", []) is None


@given(st.lists(st.tuples(NUMBER, st.integers(0, 4).map(lambda n: n / 4)), max_size=10), st.integers(0, 4))
def test_pick_is_a_loop_over_all(rows: list[tuple[float | None, float]], most: int) -> None:
    settings = [setting({"sra_u": rate}, {"sra_s": loss}) for rate, loss in rows]
    allowed = [(rate, -at) for at, (rate, loss) in enumerate(rows) if is_number(rate) and loss <= most / 4]
    expected = -max(allowed)[1] if allowed else None
    assert pick(settings, "sra_u", [parse_limit(f"sra_s loss <= {most / 4}")]) == expected
