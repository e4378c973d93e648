"""A rate as people would judge it, from many verdicts of a judge and some labels by people.

Prediction-powered inference (Angelopoulos, Bates, Fannjiang, Jordan and Zrnic, Science 382, 2023) with its power tuning
(PPI++, Angelopoulos, Duchi and Zrnic, arXiv 2311.01453). With labels Y on n responses, verdicts F on those and N more,

    rate = w mean(F of the N) + mean(Y - w F of the n)

is right on average whatever the judge's errors are, as long as the n responses are a random part of all. The weight w,
0 to 1, is the one with the least variance: a judge that knows nothing gets 0 and leaves the labels alone.

For a given w, rate and standard error are the paper's. Two things are not, because labels are few here:

- The interval. The paper's is the normal one; where a judge hardly ever errs, or failures are rare, n labels show no
  error at all and it shrinks to nothing. In simulations with 50 labels and a rate of 2 % it covered the truth 53 to 64
  times in 100. Here, as Agresti and Min (2005) do for matched pairs, half a label each is added for the four ways in
  which a label and a verdict can fall.
- The weight. PPI++ divides the covariance among the labels by the variance among all verdicts; then w goes along with
  what the labels happened to show, and with 60 of them pulls the rate off by up to 0.8 points. Here both are taken
  among the labels, with the same half labels; what is left is below 0.1 points unless failures are rarer than 5 %.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..runs.scores import Cell
from .intervals import NORMAL_QUANTILE, Floats, Ints
from .rates import Outcomes

FEW_LABELS = 20
"""Below so many labels, in as many clusters, the interval is not to be relied on."""

CORNERS = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
CORNER_WEIGHT = 0.5
"""The label and verdict of every half label that the interval adds."""


@dataclass(frozen=True)
class Powered:
    """A prediction-powered rate, as a fraction.

    `n` labels, in `n_clusters` clusters; `n_predicted` responses without a label that a judge judged, and `n_invalid`,
    of all, that it could not judge. `weight` is w. `judge_rate` is what the judge alone says, `labels_alone` what the
    labels alone say. `standard_error` is the paper's, made larger where clusters ask for it. `few_labels`: below
    FEW_LABELS. None is what cannot be known without labels.
    """

    rate: float | None
    low: float | None
    high: float | None
    n: int
    n_clusters: int
    n_predicted: int
    n_invalid: int
    weight: float | None
    standard_error: float | None
    judge_rate: float | None
    labels_alone: Cell
    few_labels: bool

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def prediction_powered(
    labels: Floats, verdicts: Floats, clusters: Ints | None = None, *, weight: float | None = None
) -> Powered:
    """The rate of hits among all responses, as people would judge them.

    Args:
        labels: (responses,), people's: 1 for a hit, 0 for none, NaN where nobody looked. The labelled responses must be
            a random part of all, drawn without looking at answers or verdicts.
        verdicts: (responses,), the judge's, 0 to 1 (a fraction where several judges vote), NaN where it is invalid. An
            invalid one counts as the mean of the others: any guess leaves the rate right on average.
        clusters: (responses,) numbers of what goes wrong together, or None. The standard error then is that of the
            clusters' sums, never less than without.
        weight: w, tuned unless given.
    """
    labelled, judged = ~np.isnan(labels), ~np.isnan(verdicts)
    n, rest = int(labelled.sum()), int((~labelled).sum())
    judge_rate = float(verdicts[judged].mean()) if judged.any() else None
    [alone] = Outcomes(labelled, labels == 1, clusters).cells([labelled])
    n_clusters = n if clusters is None else len(np.unique(clusters[labelled]))
    counts = (n, n_clusters, int((~labelled & judged).sum()), int((~judged).sum()))
    few = n_clusters < FEW_LABELS
    if n == 0:
        return Powered(None, None, None, *counts, None, None, judge_rate, alone, few)

    guess = np.where(judged, verdicts, 0.5 if judge_rate is None else judge_rate)
    truth, here, elsewhere = labels[labelled], guess[labelled], guess[~labelled]
    w = _least_variance(truth, here, rest) if weight is None else weight
    w = w if rest else 0.0
    corrections = truth - w * here
    from_rest = w * float(elsewhere.mean()) if rest else 0.0
    rate = from_rest + float(corrections.mean())

    influence = np.zeros(len(labels))
    influence[labelled] = (corrections - corrections.mean()) / n
    if rest:
        influence[~labelled] = w * (elsewhere - elsewhere.mean()) / rest
    independent = float((influence**2).sum())
    inflation = _design_effect(influence, clusters, independent)

    corners = CORNERS[:, 0] - w * CORNERS[:, 1]
    values = np.concatenate([corrections, corners])
    weights = np.concatenate([np.ones(n), np.full(len(corners), CORNER_WEIGHT)])
    centre = float(np.average(values, weights=weights))
    variance = float(np.average((values - centre) ** 2, weights=weights)) / weights.sum()
    variance += float((influence[~labelled] ** 2).sum())
    half = NORMAL_QUANTILE * math.sqrt(variance * inflation)
    low, high = max(0.0, from_rest + centre - half), min(1.0, from_rest + centre + half)
    error = math.sqrt(independent * inflation)
    inside = min(1.0, max(0.0, rate))
    return Powered(inside, min(low, inside), max(high, inside), *counts, w, error, judge_rate, alone, few)


def _least_variance(truth: Floats, here: Floats, rest: int) -> float:
    """The weight w of least variance, kept within 0 and 1: how far labels follow verdicts, less for a small `rest`."""
    if not rest:
        return 0.0
    both = np.concatenate([np.column_stack([truth, here]), CORNERS])
    weights = np.concatenate([np.ones(len(truth)), np.full(len(CORNERS), CORNER_WEIGHT)])
    shared = np.cov(both.T, aweights=weights)
    return float(min(1.0, max(0.0, shared[0, 1] / shared[1, 1] / (1 + len(truth) / rest))))


def _design_effect(influence: Floats, clusters: Ints | None, independent: float) -> float:
    """How many times larger the variance is because of clusters; at least 1."""
    if clusters is None or independent == 0:
        return 1.0
    sums = np.bincount(clusters, weights=influence)
    return max(1.0, float((sums**2).sum()) / independent)
