"""Directions, sigma and probe accuracy against plain NumPy and numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from holisafe.calibration.activation import directions
from holisafe.calibration.activation.directions import Classes
from holisafe.calibration.activation.revision import ranked


def two_classes(seed: int = 0, paired: bool = True, scale: float = 1.0, n: int = 60) -> Classes:
    draw = np.random.default_rng(seed)
    base = draw.normal(size=(n, 5)) * [4, 1, 1, 1, 1]
    gap = np.array([0.0, 3.0, 0, 0, 0]) * draw.uniform(0.5, 1.5, (n, 1)) + draw.normal(size=(n, 5)) * 0.1
    return Classes((base + gap + 7).astype(np.float32) * scale, (base + 7).astype(np.float32) * scale, paired)


def test_mass_mean_is_the_difference_of_means_from_negative_to_positive() -> None:
    classes = Classes(np.array([[3.0, 1.0], [5.0, 1.0]]), np.array([[0.0, 4.0], [2.0, 6.0], [1.0, 5.0]]), False)
    assert directions.mass_mean(classes).tolist() == [3.0, -4.0]
    assert directions.direction(classes, "mass-mean").tolist() == pytest.approx([0.6, -0.8])
    unit = np.array([0.6, -0.8])
    along = [1.0, 2.2, -3.2, -3.6, -3.4]
    assert directions.sigma(classes, unit) == pytest.approx(np.std(along))


def test_probe_weights_are_a_logistic_regression_by_newtons_method() -> None:
    classes = two_classes(n=40)
    rows = np.concatenate([classes.positive, classes.negative]).astype(float)
    centred = rows - rows.mean(0)
    x = np.c_[centred / np.sqrt((centred**2).mean()), np.ones(80)]
    y, penalty, w = np.repeat([1.0, 0.0], 40), np.diag([1.0] * 5 + [0.0]), np.zeros(6)
    for _ in range(50):  # C = 1: half the squared weights, the intercept left out
        p = 1 / (1 + np.exp(-x @ w))
        w -= np.linalg.solve(x.T @ (x * (p * (1 - p))[:, None]) + penalty, x.T @ (p - y) + penalty @ w)
    expected = w[:5] / np.linalg.norm(w[:5])
    assert directions.direction(classes, "probe") == pytest.approx(expected, abs=2e-3)
    assert directions.direction(two_classes(n=40, scale=1e4), "probe") == pytest.approx(expected, abs=2e-3)


def test_principal_of_pairs_is_the_eigenvector_of_their_differences() -> None:
    classes = two_classes()
    gaps = (classes.positive - classes.negative).astype(float)
    values, vectors = np.linalg.eig(gaps.T @ gaps)
    leading = vectors[:, values.argmax()]
    leading *= np.sign(leading[1])  # the classes differ in the second feature, upwards
    assert directions.direction(classes, "principal") == pytest.approx(leading, abs=1e-5)
    turned = Classes(classes.negative, classes.positive, True)
    assert directions.direction(turned, "principal") == pytest.approx(-leading, abs=1e-5)


def test_principal_without_pairs_is_that_of_all_rows_about_the_middle() -> None:
    classes = two_classes(paired=False)
    middle = (classes.positive.mean(0) + classes.negative.mean(0)) / 2
    rows = np.concatenate([classes.positive, classes.negative]) - middle
    values, vectors = np.linalg.eig(rows.T @ rows)
    found = directions.direction(classes, "principal")
    assert abs(found @ vectors[:, values.argmax()]) == pytest.approx(1, abs=1e-5)
    assert found @ (classes.positive.mean(0) - classes.negative.mean(0)) > 0


@pytest.mark.parametrize("kind", ["mass-mean", "probe", "principal"])
def test_every_direction_has_length_one_or_none(kind: directions.Kind) -> None:
    assert np.linalg.norm(directions.direction(two_classes(), kind)) == pytest.approx(1)
    same = Classes(np.ones((4, 3)), np.ones((4, 3)), True)
    assert not directions.direction(same, "mass-mean").any()
    assert directions.sigma(same, np.zeros(3)) == 0
    assert directions.probe_accuracy(same, same) == 0.5


def test_probe_accuracy_is_balanced_and_on_the_other_rows() -> None:
    train = Classes(np.array([[1.0], [3.0]]), np.array([[-1.0], [-3.0]]), False)  # the probe cuts at 0
    other = Classes(np.array([[2.0], [-2.0], [-1.0], [-4.0]]), np.array([[-1.0]]), False)
    assert directions.probe_accuracy(train, other) == pytest.approx((1 / 4 + 1) / 2)
    assert directions.probe_accuracy(train, train) == 1.0


def test_places_rank_by_accuracy_and_of_equals_the_earlier_comes_first() -> None:
    assert ranked(np.array([0.5, 0.9, 0.7, 0.9])) == [(1,), (3,), (2,), (0,)]
    assert ranked(np.array([[0.5, 0.9], [0.9, 1.0]])) == [(1, 1), (0, 1), (1, 0), (0, 0)]
