"""Directions between two classes of activations, and how well a probe tells the classes apart. NumPy alone.

Sources: internal activation revision (arXiv 2501.16378) takes the mass-mean shift or a probe's weights; the principal
direction of paired differences is that of representation engineering (arXiv 2310.01405, LAT). Every direction points
from the negative class to the positive one and has length 1; how far to go is told in `sigma`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Kind = Literal["mass-mean", "probe", "principal"]
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Classes:
    """Activations [N, width] of the positive and the negative class. Where `paired`, row i of one belongs to row i of
    the other."""

    positive: Array
    negative: Array
    paired: bool


def direction(classes: Classes, kind: Kind) -> Array:
    """The unit vector [width] of one kind; zero where the classes do not differ at all."""
    found = {"mass-mean": mass_mean, "probe": probe_weights, "principal": principal}[kind](classes)
    length = float(np.linalg.norm(found))
    return found / length if length > 0 else np.zeros_like(found)


def mass_mean(classes: Classes) -> Array:
    """The difference of the class means (2501.16378; Marks and Tegmark, arXiv 2310.06824)."""
    shift: Array = classes.positive.mean(axis=0, dtype=np.float64) - classes.negative.mean(axis=0, dtype=np.float64)
    return shift


def probe_weights(classes: Classes) -> Array:
    """The weights of the logistic probe that tells the classes apart."""
    return probe(classes).weights


def principal(classes: Classes) -> Array:
    """The leading right singular vector of the paired differences; without pairs, of all rows about the mean of the
    two class means. Its sign is that of its product with the mass-mean shift."""
    if classes.paired:
        rows = classes.positive.astype(np.float64) - classes.negative
    else:
        centre = (classes.positive.mean(axis=0, dtype=np.float64) + classes.negative.mean(axis=0, dtype=np.float64)) / 2
        rows = np.concatenate([classes.positive, classes.negative]) - centre
    leading: Array = np.linalg.svd(rows, full_matrices=False)[2][0]
    return leading if leading @ mass_mean(classes) >= 0 else -leading


def sigma(classes: Classes, unit: Array) -> float:
    """The standard deviation of all activations, of both classes together, along a unit direction."""
    return float((np.concatenate([classes.positive, classes.negative]).astype(np.float64) @ unit).std())


def probe_accuracy(train: Classes, validation: Classes) -> float:
    """Balanced accuracy, the mean of both classes' recalls, of a probe of `train` on `validation`: 0.5 is chance."""
    fitted = probe(train)
    return float(fitted.predict(validation.positive).mean() + 1 - fitted.predict(validation.negative).mean()) / 2


@dataclass(frozen=True)
class Probe:
    """Says positive where activations @ weights + offset is above 0."""

    weights: Array
    offset: float

    def predict(self, activations: Array) -> Array:
        said: Array = activations @ self.weights + self.offset > 0
        return said


def probe(classes: Classes) -> Probe:
    """L2-regularised logistic regression (C = 1), both classes with equal weight.

    It sees the activations centred and divided by one number, their root mean square: the penalty then means the same
    at every scale, and the weights keep their direction.
    """
    from sklearn.linear_model import LogisticRegression

    rows = np.concatenate([classes.positive, classes.negative]).astype(np.float64)
    centre = rows.mean(axis=0)
    scale = float(np.sqrt(np.square(rows - centre).mean())) or 1.0
    labels = np.repeat([1, 0], [len(classes.positive), len(classes.negative)])
    fitted = LogisticRegression(class_weight="balanced", max_iter=1000).fit((rows - centre) / scale, labels)
    weights = fitted.coef_[0] / scale
    return Probe(weights, float(fitted.intercept_[0] - centre @ weights))
