"""How often 95 % intervals hold the truth: rates, means of four rates and paired differences, in clusters of few pairs.

    python benches/interval_coverage.py [SETS] [--quick]

SETS (1,500) made-up sets of verdicts a cell, seeds fixed; some ten minutes on one core. Pairs of a cluster share their
fate as often as an intra-class correlation (ICC) of 0.05 to 0.3 says. Prints the tables of docs/statistics.md: for each
method the lowest and the mean coverage over all cells, how many of them are below 94 %, and the mean width over that of
the method the package uses; then, of that method, the lowest coverage by rate and number of clusters. A coverage of
1,500 sets has a standard error of 0.6 points, so a method that covers just 95 % shows 94 % or less in one cell of 30.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator

import numpy as np
from scipy.stats import norm, t

from holisafe.metrics.estimates import percentiles, resampled_sums
from holisafe.metrics.intervals import clopper_pearson, combined, effective_size, mean_interval, wilson

Interval = tuple[np.ndarray, np.ndarray]
"""(sets,) and (sets,): the bounds."""

Counts = np.ndarray
"""(sets, clusters, rates): hits, or verdicts."""

CLUSTERS = (12, 30, 60, 120, 360, 1000)
RATES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
SIZES = ("1", "2", "4", "1 to 4")
ICC = (0.05, 0.3)
FOUR = {
    "1 to 3 %": (0.01, 0.02, 0.03, 0.02),
    "5 %": (0.05,) * 4,
    "17, 44, 0.1, 1 %": (0.166, 0.437, 0.001, 0.01),
    "10 to 30 %": (0.1, 0.2, 0.3, 0.2),
    "50 %": (0.5,) * 4,
}
PAIRED = ((0.01, 0.01), (0.05, 0.02), (0.1, 0.1), (0.3, 0.05), (0.5, 0.5))
BETWEEN = (0.0, 0.6)
"""How far two models fail on the same pairs, as a correlation."""

DRAWS = 300


def verdicts(
    rng: np.random.Generator, shape: tuple[int, int], size: str, icc: float, between: float, *rates: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Which pairs exist, (sets, clusters, pairs), and for each model's rates which of them it failed.

    A pair fails if a uniform number is below its rate: the cluster's with a chance of sqrt(icc), for all models alike;
    the pair's, for all models alike, so that two models' failures correlate by `between`; else its own.
    """
    most = int(size[-1])
    live = np.arange(most) < (rng.integers(1, 5, shape) if size == "1 to 4" else np.full(shape, most))[..., None]
    shared = (icc**0.5, max(0.0, between - icc) ** 0.5) if most > 1 else (0.0, between**0.5)
    of_cluster, of_pair = rng.random((*shape, 1)), rng.random((*shape, most))
    failed = []
    for rate in rates:
        whose, own = rng.random((2, *shape, most))
        common = np.where(whose < shared[0], of_cluster, np.where(whose < sum(shared), of_pair, own))
        failed.append((common < rate) & live)
    return live, failed


def single(sets: int, largest: int) -> Iterator[tuple[str, int, float, Counts, Counts]]:
    """(rate, clusters, truth, hits, sizes) of one rate."""
    rng = np.random.default_rng(1)
    for clusters in (number for number in CLUSTERS if number <= largest):
        for size in SIZES:
            for rate in RATES:
                for icc in ICC if size != "1" else ICC[:1]:
                    live, (failed,) = verdicts(rng, (sets, clusters), size, icc, 0, np.array(rate))
                    yield f"{rate:.0%}", clusters, rate, failed.sum(2)[..., None], live.sum(2)[..., None]


def means(sets: int, largest: int) -> Iterator[tuple[str, int, float, Counts, Counts]]:
    """Of the mean of four rates: each by itself, in clusters of its own or shared, of equal or very unequal sizes."""
    rng = np.random.default_rng(2)
    for clusters in (number for number in CLUSTERS if number <= largest):
        for layout, size in (("own", "1"), ("unequal", "1"), ("own", "4"), ("unequal", "4"), ("shared", "4")):
            place = np.arange(clusters)[:, None]
            group = {
                "own": place % 4 + np.zeros(int(size), int),
                "unequal": np.searchsorted([0.08, 0.25, 0.5], (place + 0.5) / clusters) + np.zeros(int(size), int),
                "shared": np.arange(int(size)) + 0 * place,
            }[layout]
            belongs = group[..., None] == np.arange(4)
            for name, rates in FOUR.items():
                for icc in ICC if size != "1" else ICC[:1]:
                    _, (failed,) = verdicts(rng, (sets, clusters), size, icc, 0, np.array(rates)[group])
                    sizes = np.broadcast_to(belongs.sum(1), (sets, clusters, 4))
                    yield name, clusters, float(np.mean(rates)), np.einsum("skm,kmg->skg", failed * 1.0, belongs), sizes


def differences(sets: int, largest: int) -> Iterator[tuple[str, int, float, Counts, Counts]]:
    """Of two models on the same pairs; the two rates are of pairs that only the first, and only the second, failed."""
    rng = np.random.default_rng(3)
    for clusters in (number for number in CLUSTERS if number <= largest):
        for size in SIZES:
            for first, second in PAIRED:
                for icc in ICC if size != "1" else ICC[:1]:
                    for between in BETWEEN:
                        shape = (sets, clusters)
                        live, (a, b) = verdicts(rng, shape, size, icc, between, np.array(first), np.array(second))
                        hits = np.stack([(a & ~b).sum(2), (b & ~a).sum(2)], axis=2)
                        sizes = np.repeat(live.sum(2)[..., None], 2, axis=2)
                        yield f"{first:.0%}, {second:.0%}", clusters, second - first, hits, sizes


def binomial(which: Callable[[float, float], Interval], *, pooled: bool = True) -> Callable[..., Interval]:
    """A binomial interval at the effective size, or else at n as if pairs were independent."""

    def interval(hits: np.ndarray, sizes: np.ndarray) -> Interval:
        size = effective_size(hits, sizes) if pooled else sizes.sum(axis=(-2, -1))
        return which(size * (hits.sum(axis=-2) / sizes.sum(axis=-2)).mean(axis=-1), size)

    return interval


def bootstrap(weights: tuple[float, ...]) -> Callable[..., Interval]:
    """The percentiles of DRAWS draws, taken at their word where they do not differ; of a tenth of the sets."""

    def one(hits: np.ndarray, sizes: np.ndarray) -> tuple[float, float]:
        sums = resampled_sums(np.hstack([hits, sizes]), DRAWS, 0)
        with np.errstate(invalid="ignore"):
            drawn = (sums[:, : len(weights)] / sums[:, len(weights) :]) @ np.array(weights)
        value = float((hits.sum(0) / sizes.sum(0)) @ np.array(weights))
        return percentiles(drawn) or (value, value)

    def interval(hits: np.ndarray, sizes: np.ndarray) -> Interval:
        few = len(hits) // 10
        low, high = np.array([one(h, n) for h, n in zip(hits[:few], sizes[:few], strict=True)]).T
        return low, high

    return interval


def linearised(weights: tuple[float, ...]) -> Callable[..., Interval]:
    """The textbook's: estimate and t times the cluster-robust standard error."""

    def interval(hits: np.ndarray, sizes: np.ndarray) -> Interval:
        n, clusters = sizes.sum(axis=-2), sizes.shape[-2]
        rates = hits.sum(axis=-2) / n
        parts = ((hits - rates[:, None] * sizes) * (np.array(weights) / n)[:, None]).sum(axis=-1)
        half = t.ppf(0.975, clusters - 1) * np.sqrt((parts**2).sum(axis=-1) * clusters / (clusters - 1))
        return rates @ np.array(weights) - half, rates @ np.array(weights) + half

    return interval


USED = {"rate": "Clopper-Pearson, effective n", "mean": "MOVER and effective n", "difference": "MOVER, Wilson"}
METHODS: dict[str, dict[str, Callable[..., Interval]]] = {
    "rate": {
        USED["rate"]: mean_interval,
        "Wilson, effective n": binomial(wilson),
        "Clopper-Pearson, n": binomial(clopper_pearson, pooled=False),
        "bootstrap over clusters": bootstrap((1.0,)),
        "normal, cluster-robust": linearised((1.0,)),
    },
    "mean": {
        USED["mean"]: mean_interval,
        "MOVER, Wilson": lambda hits, sizes: combined([0.25] * 4, hits, sizes),
        "Clopper-Pearson, effective n": binomial(clopper_pearson),
        "bootstrap over clusters": bootstrap((0.25,) * 4),
    },
    "difference": {
        USED["difference"]: lambda hits, sizes: combined([-1, 1], hits, sizes),
        "bootstrap over clusters": bootstrap((-1.0, 1.0)),
        "normal, cluster-robust": linearised((-1.0, 1.0)),
    },
}
SETS_OF = {"rate": single, "mean": means, "difference": differences}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="?", type=int, default=1500)
    parser.add_argument("--quick", action="store_true", help="up to 120 clusters alone")
    told = parser.parse_args()
    largest = 120 if told.quick else max(CLUSTERS)
    error = float(norm.ppf(0.975)) * (0.95 * 0.05 / told.sets) ** 0.5
    print(f"{told.sets} sets a cell; a coverage of 95 % is seen within {100 * error:.1f} points\n")
    for kind, methods in METHODS.items():
        coverage: dict[str, list[float]] = defaultdict(list)
        width: dict[str, list[float]] = defaultdict(list)
        lowest: dict[tuple[str, int], float] = defaultdict(lambda: 1.0)
        for name, clusters, truth, hits, sizes in SETS_OF[kind](told.sets, largest):
            for method, interval in methods.items():
                low, high = interval(hits.astype(float), sizes.astype(float))
                coverage[method].append(float(((low <= truth + 1e-12) & (truth - 1e-12 <= high)).mean()))
                width[method].append(float((high - low).mean()))
            lowest[name, clusters] = min(lowest[name, clusters], coverage[USED[kind]][-1])
        print(f"| {kind} | lowest | mean | cells below 94 % | width |\n|---|---|---|---|---|")
        for method in methods:
            seen, widths = np.array(coverage[method]), np.array(width[method]) / np.array(width[USED[kind]])
            below = f"{(seen < 0.94).sum()} of {len(seen)}"
            print(f"| {method} | {seen.min():.1%} | {seen.mean():.1%} | {below} | {widths.mean():.2f} |")
        numbers = [clusters for clusters in CLUSTERS if clusters <= largest]
        print(f"\n| {kind}, lowest | " + " | ".join(map(str, numbers)) + " |\n|" + "---|" * (len(numbers) + 1))
        for name in dict.fromkeys(name for name, _ in lowest):
            print(f"| {name} | " + " | ".join(f"{lowest[name, clusters]:.1%}" for clusters in numbers) + " |")
        print(flush=True)


if __name__ == "__main__":
    main()
