from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binomtest, t

from holisafe.metrics.intervals import ALIKE, clopper_pearson, combined, effective_size, mean_interval, wilson

COUNTS = st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(COUNTS)
def test_wilson_is_scipys(counts: tuple[int, int]) -> None:
    hits, n = counts
    scipys = binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert wilson(hits, n) == pytest.approx((scipys.low, scipys.high), abs=1e-12)


@given(COUNTS)
def test_clopper_pearson_is_scipys(counts: tuple[int, int]) -> None:
    hits, n = counts
    scipys = binomtest(hits, n).proportion_ci(0.95, method="exact")
    assert clopper_pearson(hits, n) == pytest.approx((scipys.low, scipys.high), abs=1e-9)


@pytest.mark.parametrize("interval", [wilson, clopper_pearson])
@pytest.mark.parametrize("n", [1, 7, 849, 4031, 0.5])
def test_ends_at_zero_and_one_to_the_last_digit(interval, n: float) -> None:
    assert (interval(0, n)[0], interval(n, n)[1]) == (0, 1)
    assert interval(0, n)[1] == pytest.approx(1 - interval(n, n)[0])


@pytest.mark.parametrize("interval", [wilson, clopper_pearson])
def test_a_fractional_size_lies_between_its_neighbours(interval) -> None:
    widths = [high - low for low, high in (interval(0.3 * n, n) for n in (20, 20.5, 21))]
    assert widths[0] > widths[1] > widths[2]


def some_clusters(seed: int, clusters: int, most: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Hits among sizes (clusters, 1), of clusters that tend to share their fate."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, most + 1, clusters)
    return rng.binomial(sizes, rng.beta(0.3, 1.2, clusters))[:, None].astype(float), sizes[:, None].astype(float)


def survey_size(hits: np.ndarray, sizes: np.ndarray) -> float:
    """Korn and Graubard's (1998) degrees-of-freedom adjusted effective size, by a loop."""
    n, clusters = sizes.sum(), len(sizes)
    rate = hits.sum() / n
    squares = alike = 0.0
    for h, m in zip(hits[:, 0], sizes[:, 0], strict=True):
        squares += (h - rate * m) ** 2
        alike += m * m / n
    seen = squares * clusters / (clusters - 1)
    deff = (seen + ALIKE * alike) / (n * rate * (1 - rate) + ALIKE)
    return float(n / max(1, deff) * (t.ppf(0.975, n - 1) / t.ppf(0.975, clusters - 1)) ** 2)


@pytest.mark.parametrize("clusters", [2, 5, 40, 600])
def test_the_effective_size_is_that_of_a_loop(clusters: int) -> None:
    for seed in range(5):
        hits, sizes = some_clusters(seed, clusters)
        if clusters < sizes.sum():
            expected = min(float(sizes.sum()), max(1.0, survey_size(hits, sizes)))
            assert effective_size(hits, sizes) == pytest.approx(expected)
            rate = hits.sum() / sizes.sum()
            low, high = mean_interval(hits, sizes)
            if 0 < rate < 1:
                x = rate * expected
                assert low == pytest.approx(beta.ppf(0.025, x, expected - x + 1))
                assert high == pytest.approx(beta.ppf(0.975, x + 1, expected - x))


def test_the_variance_is_that_of_statsmodels_where_many_pairs_fail() -> None:
    """The cluster-robust standard error of a mean, from another library."""
    linear_model = pytest.importorskip("statsmodels.regression.linear_model")
    hits, sizes = some_clusters(3, 3000)
    y = np.concatenate([np.arange(m) < h for h, m in zip(hits[:, 0], sizes[:, 0], strict=True)]).astype(float)
    groups = np.repeat(np.arange(len(sizes)), sizes[:, 0].astype(int))
    fitted = linear_model.OLS(y, np.ones(len(y))).fit(
        cov_type="cluster", cov_kwds={"groups": groups, "use_correction": False}
    )
    rate = y.mean()
    assert rate * (1 - rate) / fitted.bse[0] ** 2 == pytest.approx(effective_size(hits, sizes), rel=0.005)


def test_pairs_by_themselves_are_counted_and_copies_are_no_new_evidence() -> None:
    hits, ones = (np.arange(120)[:, None] % 3 == 0).astype(float), np.ones((120, 1))
    assert effective_size(hits, ones) == pytest.approx(120)
    assert mean_interval(hits, ones) == pytest.approx(clopper_pearson(40, 120))
    assert effective_size(10 * hits, 10 * ones) == pytest.approx(120, rel=0.03)


@pytest.mark.parametrize("hit", [0.0, 1.0])
def test_all_or_nothing_in_clusters_is_taken_for_wholly_alike(hit: float) -> None:
    sizes = np.full((20, 1), 5.0)
    few = (t.ppf(0.975, 99) / t.ppf(0.975, 19)) ** 2
    assert effective_size(hit * sizes, sizes) == pytest.approx(20 * few)
    low, high = mean_interval(hit * sizes, sizes)
    assert high - low == pytest.approx(1 - 0.025 ** (1 / (20 * few)))
    one = np.full((1, 1), 9.0)
    assert effective_size(hit * one, one) == 1
    assert mean_interval(np.full((1, 1), 3.0), one) == clopper_pearson(1 / 3, 1)


def test_equal_groups_have_the_effective_size_of_their_pool() -> None:
    hits, _ = some_clusters(1, 60)
    hits, sizes = np.minimum(np.repeat(hits, 2, axis=0), 2), np.full((120, 1), 2.0)
    halves = np.arange(120)[:, None] % 2 == np.arange(2)
    assert effective_size(hits * halves, sizes * halves) == pytest.approx(effective_size(hits, sizes))


def stratified_size(hits: np.ndarray, sizes: np.ndarray) -> float:
    """p (1 - p) over the textbook's variance of a mean of independent rates."""
    n, rates = sizes.sum(axis=0), hits.sum(axis=0) / sizes.sum(axis=0)
    return rates.mean() * (1 - rates.mean()) / (rates * (1 - rates) / n).sum() * len(n) ** 2


def test_the_size_of_a_mean_is_that_of_its_variance() -> None:
    rng = np.random.default_rng(0)
    which = rng.choice(3, 9000, p=[0.1, 0.3, 0.6])[:, None] == np.arange(3)
    hits = which * (rng.random((9000, 1)) < np.array([0.5, 0.02, 0.2]))
    hits, sizes = hits.astype(float), which.astype(float)
    assert effective_size(hits, sizes) == pytest.approx(stratified_size(hits, sizes), rel=0.01)
    together = [part.reshape(3000, 3, 3).sum(axis=1) for part in (hits, sizes)]  # clusters at random: nothing changes
    assert effective_size(*together) == pytest.approx(stratified_size(hits, sizes), rel=0.06)
    copies = effective_size(5 * hits, 5 * sizes)
    assert copies == pytest.approx(effective_size(hits, sizes), rel=0.01)
    lopsided, even = np.array([[1.0, 0]] * 10 + [[0, 1.0]] * 90), np.arange(100)[:, None] % 2 == np.arange(2)
    assert effective_size(np.zeros((100, 2)), lopsided) == pytest.approx(4 / (1 / 10 + 1 / 90))
    assert effective_size(np.zeros((100, 2)), even.astype(float)) == 100


def test_independent_differences_are_newcombes() -> None:
    """Newcombe's hybrid score interval, method 10 of 1998, as statsmodels has it, where clusters say nothing."""
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    first, second = np.arange(80) < 8, np.arange(50) < 21
    hits = np.zeros((130, 2))
    sizes = np.zeros((130, 2))
    hits[:80, 0], sizes[:80, 0] = first, 1
    hits[80:, 1], sizes[80:, 1] = second, 1
    expected = proportion.confint_proportions_2indep(21, 50, 8, 80, method="newcomb", compare="diff")
    assert combined([-1, 1], hits, sizes) == pytest.approx(expected, abs=1e-6)


def test_combined_is_a_loop_over_bounds_and_correlations() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 4, (50, 3)).astype(float)
    hits = rng.binomial(sizes.astype(int), rng.beta(1, 2, (50, 1))).astype(float)
    weights = [0.5, -1.0, 0.25]
    rates = [hits[:, at].sum() / sizes[:, at].sum() for at in range(3)]
    ends = []
    for at, rate in enumerate(rates):
        size = min(float(sizes[:, at].sum()), survey_size(hits[:, [at]], sizes[:, [at]]))
        ends.append(wilson(rate * size, size))
    errors = [hits[:, at] - rates[at] * sizes[:, at] for at in range(3)]
    for side, sign in ((0, -1), (1, 1)):
        total = 0.0
        for i, wi in enumerate(weights):
            for j, wj in enumerate(weights):
                one, other = (abs(ends[k][side if weights[k] > 0 else 1 - side] - rates[k]) for k in (i, j))
                together = (errors[i] * errors[j]).sum() / ((errors[i] ** 2).sum() * (errors[j] ** 2).sum()) ** 0.5
                total += wi * one * wj * other * together
        value = sum(w * rate for w, rate in zip(weights, rates, strict=True))
        assert combined(weights, hits, sizes)[side] == pytest.approx(value + sign * total**0.5)


def test_a_mean_takes_in_both_intervals() -> None:
    few = np.zeros((60, 4))
    few[[0, 1], [0, 1]] = 1.0  # two failures in two groups of fifteen pairs each
    sizes = (np.arange(60)[:, None] % 4 == np.arange(4)).astype(float)
    assert mean_interval(few, sizes)[0] == pytest.approx(clopper_pearson(2, 60)[0], rel=0.1)
    assert mean_interval(few, sizes)[0] < 0.5 * combined([0.25] * 4, few, sizes)[0]
    lopsided = np.zeros((403, 2))
    lopsided[:2, 0] = 1.0
    sizes = np.zeros((403, 2))
    sizes[:3, 0], sizes[3:, 1] = 1.0, 1.0
    size = effective_size(lopsided, sizes)
    assert mean_interval(lopsided, sizes)[1] >= combined([0.5, 0.5], lopsided, sizes)[1]
    assert mean_interval(lopsided, sizes)[0] <= clopper_pearson(size / 3, size)[0]


def test_clusters_that_differ_less_than_chance_tell_no_more_than_pairs() -> None:
    hits, sizes = np.ones((50, 1)), np.full((50, 1), 2.0)  # exactly one of each two fails
    assert effective_size(hits, sizes) <= 100
    low, high = mean_interval(hits, sizes)
    alone = clopper_pearson(50, 100)
    assert low <= alone[0] < alone[1] <= high
