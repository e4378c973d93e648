from __future__ import annotations

import random
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holisafe.metrics.intervals import wilson
from holisafe.metrics.rates import Cell, Outcomes, rate_cell

VERDICTS = st.lists(st.sampled_from([True, False, None]), max_size=30)


def outcomes(verdicts: list[bool | None], clusters: list[int] | None = None) -> Outcomes:
    return Outcomes(
        np.array([verdict is not None for verdict in verdicts], dtype=bool),
        np.array([verdict is True for verdict in verdicts], dtype=bool),
        None if clusters is None else np.array(clusters),
    )


def everything(of: Outcomes) -> np.ndarray:
    return np.ones(len(of.valid), dtype=bool)


@given(VERDICTS)
def test_a_cell_counts_and_bounds_as_by_hand(verdicts: list[bool | None]) -> None:
    of = outcomes(verdicts)
    (cell,) = of.cells([everything(of)])
    valid = [verdict for verdict in verdicts if verdict is not None]
    assert (cell.n, cell.n_invalid) == (len(valid), len(verdicts) - len(valid))
    if valid:
        assert cell.rate == pytest.approx(sum(valid) / len(valid))
        assert (cell.low, cell.high) == pytest.approx(wilson(sum(valid), len(valid)))
    else:
        assert (cell.rate, cell.low, cell.high) == (None, None, None)
    if verdicts:
        one_way = [verdict is True for verdict in verdicts]
        other_way = [verdict is not False for verdict in verdicts]
        assert cell.bound_low == pytest.approx(sum(one_way) / len(verdicts))
        assert cell.bound_high == pytest.approx(sum(other_way) / len(verdicts))
    else:
        assert (cell.bound_low, cell.bound_high) == (None, None)


def test_json_has_the_seven_fields() -> None:
    assert rate_cell(1, 4, 1).to_json() == {
        "rate": 0.25,
        "n": 4,
        "n_invalid": 1,
        "low": wilson(1, 4)[0],
        "high": wilson(1, 4)[1],
        "bound_low": 0.2,
        "bound_high": 0.4,
    }


def a_table(seed: int, clusters: int = 60) -> tuple[list[bool | None], list[int]]:
    """Clusters of one to nine pairs that mostly share their fate, some verdicts invalid."""
    rng = random.Random(seed)
    verdicts: list[bool | None] = []
    numbers: list[int] = []
    for cluster in range(clusters):
        inclination = rng.betavariate(0.5, 0.8)
        for _ in range(rng.randint(1, 9)):
            verdicts.append(None if rng.random() < 0.05 else rng.random() < inclination)
            numbers.append(cluster)
    return verdicts, numbers


def looped_interval(verdicts: list[bool | None], clusters: list[int], draws: int = 4000) -> tuple[float, float]:
    rng = random.Random(5)
    members = defaultdict(list)
    for verdict, cluster in zip(verdicts, clusters, strict=True):
        members[cluster].append(verdict)
    rates = []
    for _ in range(draws):
        drawn = [verdict for cluster in rng.choices(list(members.values()), k=len(members)) for verdict in cluster]
        valid = [verdict for verdict in drawn if verdict is not None]
        rates.append(sum(valid) / len(valid))
    low, high = np.quantile(rates, [0.025, 0.975])
    return float(low), float(high)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_clustered_interval_is_that_of_a_loop(seed: int) -> None:
    verdicts, clusters = a_table(seed)
    of = outcomes(verdicts, clusters)
    (cell,) = of.cells([everything(of)], draws=4000)
    low, high = looped_interval(verdicts, clusters)
    assert (cell.low, cell.high) == pytest.approx((low, high), abs=0.012)
    assert cell.rate == outcomes(verdicts).cells([everything(of)])[0].rate
    plain = wilson(round(cell.rate * cell.n), cell.n)
    assert cell.high - cell.low > 1.3 * (plain[1] - plain[0])  # shared fates widen it


def test_copies_of_a_pair_are_no_new_evidence() -> None:
    verdicts = [index % 3 == 0 for index in range(120)]
    copied = [verdict for verdict in verdicts for _ in range(10)]
    of = outcomes(copied, [index // 10 for index in range(1200)])
    (cell,) = of.cells([everything(of)], draws=4000)
    low, high = wilson(40, 120)
    assert (cell.low, cell.high) == pytest.approx((low, high), abs=0.015)


@pytest.mark.parametrize("hit", [True, False])
def test_all_or_nothing_is_not_certainty(hit: bool) -> None:
    of = outcomes([hit] * 100, [index // 5 for index in range(100)])
    (cell,) = of.cells([everything(of)])
    assert (cell.low, cell.high) == wilson(20 * hit, 20)
    assert cell.high - cell.low > 0.1


def test_one_cluster_tells_as_much_as_one_pair() -> None:
    of = outcomes([True, True, False], [0, 0, 0])
    (cell,) = of.cells([everything(of)])
    assert (cell.low, cell.high) == pytest.approx(wilson(2 / 3, 1))


def test_only_clusters_with_a_valid_verdict_count_as_evidence() -> None:
    of = outcomes([True, True, None, None, None], [0, 1, 2, 3, 4])
    (cell,) = of.cells([everything(of)])
    assert (cell.n_invalid, cell.low, cell.high) == (3, *wilson(2, 2))


@pytest.mark.parametrize("clusters", [None, np.arange(60) // 2])
def test_a_hit_without_a_valid_verdict_is_not_looked_at(clusters: np.ndarray | None) -> None:
    valid, hit = np.arange(60) % 4 > 0, np.arange(60) % 3 == 0
    every = np.ones(60, dtype=bool)
    with_ghosts, without = Outcomes(valid, hit | ~valid, clusters), Outcomes(valid, hit & valid, clusters)
    assert with_ghosts.cells([every]) == without.cells([every])
    assert with_ghosts.macro([every]) == without.macro([every])


def groups_of(verdicts: list[bool | None], names: list[str]) -> list[np.ndarray]:
    return [np.array([name == wanted for name in names], dtype=bool) for wanted in sorted(set(names))]


def test_macro_is_the_mean_of_the_rates_and_of_the_bounds() -> None:
    names = ["a"] * 4 + ["b"] * 10 + ["c"] * 2
    verdicts = [True, False, False, None] + [True] * 3 + [False] * 6 + [None] + [False, True]
    macro = outcomes(verdicts).macro(groups_of(verdicts, names))
    assert macro.rate == pytest.approx((1 / 3 + 3 / 9 + 1 / 2) / 3)
    assert (macro.n, macro.n_invalid) == (14, 2)
    assert macro.bound_low == pytest.approx((1 / 4 + 3 / 10 + 1 / 2) / 3)
    assert macro.bound_high == pytest.approx((2 / 4 + 4 / 10 + 1 / 2) / 3)


def test_macro_of_independent_pairs_has_the_textbook_width() -> None:
    sizes, rates = {"a": 400, "b": 200, "c": 50}, {"a": 0.9, "b": 0.2, "c": 0.5}
    names = [name for name, size in sizes.items() for _ in range(size)]
    verdicts = [index < rates[name] * size for name, size in sizes.items() for index in range(size)]
    macro = outcomes(verdicts).macro(groups_of(verdicts, names), draws=8000)
    spread = sum(rates[name] * (1 - rates[name]) / size for name, size in sizes.items()) ** 0.5 / 3
    assert (macro.high - macro.low) / (2 * 1.96 * spread) == pytest.approx(1, abs=0.05)


def test_macro_draws_clusters_within_groups() -> None:
    """Each group alone holds nothing but whole clusters of one outcome, so its spread is that of cluster draws."""
    names, verdicts, clusters = [], [], []
    for group, hits in (("a", 10), ("b", 30)):
        for cluster in range(40):
            names += [group] * 5
            verdicts += [cluster < hits] * 5
            clusters += [cluster + 40 * (group == "b")] * 5
    macro = outcomes(verdicts, clusters).macro(groups_of(verdicts, names), draws=8000)
    spread = (2 * 0.25 * 0.75 / 40) ** 0.5 / 2
    assert (macro.high - macro.low) / (2 * 1.96 * spread) == pytest.approx(1, abs=0.06)


def test_macro_keeps_together_what_shares_a_cluster() -> None:
    """Two groups asked of the same images, always with the same outcome: their errors add up, they do not cancel."""
    names, verdicts, clusters = [], [], []
    for cluster in range(100):
        for group in "ab":
            names.append(group)
            verdicts.append(cluster % 2 == 0)
            clusters.append(cluster)
    macro = outcomes(verdicts, clusters).macro(groups_of(verdicts, names), draws=8000)
    assert (macro.high - macro.low) / (2 * 1.96 * 0.05) == pytest.approx(1, abs=0.06)
    apart = outcomes(verdicts).macro(groups_of(verdicts, names), draws=8000)
    assert (apart.high - apart.low) / (2 * 1.96 * 0.05 / 2**0.5) == pytest.approx(1, abs=0.06)


def test_groups_that_share_clusters_in_part_are_drawn_as_one() -> None:
    """What of b shares images with a mostly failed, the rest mostly not: how many there are of each is chance too."""
    names, verdicts, clusters = [], [], []
    for cluster in range(80):
        for group in ("a", "b") if cluster < 40 else ("b",):
            names.append(group)
            verdicts.append(cluster % 2 == 0 if group == "a" else (cluster < 40) ^ (cluster % 20 == 0))
            clusters.append(cluster)
    macro = outcomes(verdicts, clusters).macro(groups_of(verdicts, names), draws=8000)
    spread = (0.25 / 40 + 0.25 / 80) ** 0.5 / 2
    assert (macro.high - macro.low) / (2 * 1.96 * spread) == pytest.approx(1, abs=0.06)


def test_macro_of_nothing_but_zeros_is_not_certain() -> None:
    names = ["a"] * 50 + ["b"] * 100
    verdicts: list[bool | None] = [False] * 150
    macro = outcomes(verdicts).macro(groups_of(verdicts, names))
    distance = ((wilson(0, 50)[1] / 2) ** 2 + (wilson(0, 100)[1] / 2) ** 2) ** 0.5
    assert (macro.rate, macro.low) == (0, 0)
    assert macro.high == pytest.approx(distance)


def test_a_group_without_spread_widens_the_macro() -> None:
    names = ["a"] * 20 + ["b"] * 200
    verdicts: list[bool | None] = [False] * 20 + [index % 2 == 0 for index in range(200)]
    macro = outcomes(verdicts).macro(groups_of(verdicts, names), draws=4000)
    half = 1.96 * (0.25 / 200) ** 0.5 / 2
    above = (half**2 + (wilson(0, 20)[1] / 2) ** 2) ** 0.5
    assert macro.high - 0.25 == pytest.approx(above, rel=0.08)
    assert 0.25 - macro.low == pytest.approx(half, rel=0.08)


def test_macro_is_unknown_when_a_group_is() -> None:
    verdicts = [True, False, None, None]
    macro = outcomes(verdicts).macro(groups_of(verdicts, ["a", "a", "b", "b"]))
    assert (macro.rate, macro.low, macro.high) == (None, None, None)
    assert (macro.n, macro.n_invalid, macro.bound_low, macro.bound_high) == (2, 2, 0.25, 0.75)
    assert outcomes([]).macro([]) == Cell(None, 0, 0, None, None, None, None)
