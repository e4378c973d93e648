from __future__ import annotations

import random
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holisafe.metrics.intervals import clopper_pearson, mean_interval
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
        assert (cell.low, cell.high) == pytest.approx(clopper_pearson(sum(valid), len(valid)))
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
        "low": clopper_pearson(1, 4)[0],
        "high": clopper_pearson(1, 4)[1],
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
    """The percentile bootstrap, which is near where there are many failures."""
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
def test_the_clustered_interval_is_near_that_of_a_bootstrap(seed: int) -> None:
    verdicts, clusters = a_table(seed, clusters=300)
    of = outcomes(verdicts, clusters)
    (cell,) = of.cells([everything(of)])
    low, high = looped_interval(verdicts, clusters)
    assert (cell.low, cell.high) == pytest.approx((low, high), abs=0.008)
    assert cell.rate == outcomes(verdicts).cells([everything(of)])[0].rate
    plain = clopper_pearson(round(cell.rate * cell.n), cell.n)
    assert cell.high - cell.low > 1.3 * (plain[1] - plain[0])  # shared fates widen it


def test_a_group_is_counted_by_cluster_as_by_hand() -> None:
    verdicts, clusters = a_table(3)
    of = outcomes(verdicts, clusters)
    group = np.arange(len(verdicts)) % 3 > 0
    hits, sizes = defaultdict(int), defaultdict(int)
    for verdict, cluster, member in zip(verdicts, clusters, group, strict=True):
        if member and verdict is not None:
            hits[cluster] += verdict
            sizes[cluster] += 1
    columns = [np.array([[by[cluster]] for cluster in sizes], dtype=float) for by in (hits, sizes)]
    (cell,) = of.cells([group])
    assert (cell.low, cell.high) == pytest.approx(mean_interval(*columns))
    assert cell.n == sum(sizes.values())


def test_one_interval_however_pairs_by_themselves_are_said_to_be() -> None:
    verdicts = [index % 7 == 0 for index in range(50)]
    every = np.ones(50, dtype=bool)
    cells = [outcomes(verdicts, clusters).cells([every])[0] for clusters in (None, list(range(50)), list(range(9, 59)))]
    assert cells[0] == cells[1] == cells[2] == rate_cell(8, 50)


def test_only_clusters_with_a_valid_verdict_count_as_evidence() -> None:
    of = outcomes([True, True, None, None, None], [0, 1, 2, 3, 4])
    (cell,) = of.cells([everything(of)])
    assert (cell.n_invalid, cell.low, cell.high) == (3, *clopper_pearson(2, 2))


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
    sizes, rates = {"a": 4000, "b": 2000, "c": 500}, {"a": 0.9, "b": 0.2, "c": 0.5}
    names = [name for name, size in sizes.items() for _ in range(size)]
    verdicts = [index < rates[name] * size for name, size in sizes.items() for index in range(size)]
    macro = outcomes(verdicts).macro(groups_of(verdicts, names))
    spread = sum(rates[name] * (1 - rates[name]) / size for name, size in sizes.items()) ** 0.5 / 3
    assert (macro.high - macro.low) / (2 * 1.96 * spread) == pytest.approx(1, abs=0.03)


def test_macro_keeps_together_what_shares_a_cluster() -> None:
    """Two groups asked of the same images, always with the same outcome: their errors add up, they do not cancel."""
    names, verdicts, clusters = [], [], []
    for cluster in range(1000):
        for group in "ab":
            names.append(group)
            verdicts.append(cluster % 2 == 0)
            clusters.append(cluster)
    alone = 2 * 1.96 * (0.25 / 1000) ** 0.5
    macro = outcomes(verdicts, clusters).macro(groups_of(verdicts, names))
    assert (macro.high - macro.low) / alone == pytest.approx(1, abs=0.03)
    apart = outcomes(verdicts).macro(groups_of(verdicts, names))
    assert (apart.high - apart.low) / (alone / 2**0.5) == pytest.approx(1, abs=0.03)


def test_groups_that_share_clusters_in_part_err_together_in_part() -> None:
    names, verdicts, clusters = [], [], []
    for cluster in range(800):
        for group in ("a", "b") if cluster < 400 else ("b",):
            names.append(group)
            verdicts.append(cluster % 2 == 0)
            clusters.append(cluster)
    macro = outcomes(verdicts, clusters).macro(groups_of(verdicts, names))
    spread = (0.25 / 400 + 0.25 / 800 + 2 * 0.25 / 800) ** 0.5 / 2  # a's clusters are half of b's
    assert (macro.high - macro.low) / (2 * 1.96 * spread) == pytest.approx(1, abs=0.04)


def test_macro_of_nothing_but_zeros_is_not_certain() -> None:
    names = ["a"] * 50 + ["b"] * 100
    verdicts: list[bool | None] = [False] * 150
    macro = outcomes(verdicts).macro(groups_of(verdicts, names))
    assert (macro.rate, macro.low) == (0, 0)
    assert clopper_pearson(0, 150)[1] < macro.high < clopper_pearson(0, 50)[1]


def test_a_group_without_spread_widens_the_macro() -> None:
    verdicts: list[bool | None] = [False] * 20 + [index % 2 == 0 for index in range(2000)]
    macro = outcomes(verdicts).macro(groups_of(verdicts, ["a"] * 20 + ["b"] * 2000))
    many = outcomes([False] * 1980 + verdicts).macro(groups_of(verdicts, ["a"] * 2000 + ["b"] * 2000))
    assert macro.high - 0.25 > 3 * (many.high - 0.25)
    assert macro.high - 0.25 == pytest.approx(clopper_pearson(0, 20)[1] / 2, rel=0.25)


def test_macro_is_unknown_when_a_group_is() -> None:
    verdicts = [True, False, None, None]
    macro = outcomes(verdicts).macro(groups_of(verdicts, ["a", "a", "b", "b"]))
    assert (macro.rate, macro.low, macro.high) == (None, None, None)
    assert (macro.n, macro.n_invalid, macro.bound_low, macro.bound_high) == (2, 2, 0.25, 0.75)
    assert outcomes([]).macro([]) == Cell(None, 0, 0, None, None, None, None)
