"""The study's numbers against definitions written out: distances, and full singular value decompositions."""

from __future__ import annotations

import numpy as np
import pytest

from holisafe.mechanism.separation import Means, means, placed
from holisafe.mechanism.update import direction_gains, gain, null_shares, rank, singular

RNG = np.random.default_rng(0)


def test_tau_is_a_difference_of_distances() -> None:
    activations, unsafe = RNG.normal(size=(12, 3, 5)), np.arange(12) % 2 == 0
    mean = means(activations[:8], unsafe[:8])
    found = placed(activations[8:], mean)
    for n in range(4):
        for layer in range(3):
            a, s, u = activations[8 + n, layer], mean.safe[layer], mean.unsafe[layer]
            tau = np.sqrt(((a - u) ** 2).sum()) - np.sqrt(((a - s) ** 2).sum())
            assert found.tau[n, layer] == pytest.approx(tau)
            assert found.scaled[n, layer] == pytest.approx(tau / np.sqrt(((s - u) ** 2).sum()))
            cosine = a @ s / np.linalg.norm(a) / np.linalg.norm(s) - a @ u / np.linalg.norm(a) / np.linalg.norm(u)
            assert found.cosine[n, layer] == pytest.approx(cosine)
    assert placed(mean.safe[None], mean).scaled == pytest.approx(np.ones((1, 3)))
    assert placed(mean.unsafe[None], mean).scaled == pytest.approx(-np.ones((1, 3)))


def test_means_need_both_kinds_and_alike_means_do_not_divide() -> None:
    with pytest.raises(ValueError, match="safe and unsafe"):
        means(np.zeros((2, 1, 1)), np.array([True, True]))
    alike = Means(np.ones((1, 2)), np.ones((1, 2)))
    assert placed(np.zeros((1, 1, 2)), alike).scaled.tolist() == [[0.0]]


@pytest.mark.parametrize("shape", [(7, 4), (4, 7), (5, 5)])
def test_singular_vectors_are_those_of_a_full_decomposition(shape: tuple[int, int]) -> None:
    matrix = RNG.normal(size=shape)
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    found = singular(matrix)
    np.testing.assert_allclose(found.values, s, rtol=1e-8)
    np.testing.assert_allclose(np.abs((found.left * u).sum(0)), 1, rtol=1e-6)
    np.testing.assert_allclose(np.abs((found.right * v).sum(1)), 1, rtol=1e-6)
    np.testing.assert_allclose((found.left * found.values) @ found.right, matrix, atol=1e-8)
    assert singular(matrix, 2).values.shape == (2,)
    assert singular(np.zeros(shape)).values.shape == (0,)


def test_rank_by_energy() -> None:
    assert rank(np.array([3.0, 1.0, 0.1]), 0.9) == 2  # 9 / 10.01 is 0.899
    assert rank(np.array([4.0, 1.0])) == 1
    assert rank(np.array([1.0, 1.0]), 1.0) == 2
    assert rank(np.array([])) == 0


def test_an_update_in_the_null_space_is_told_from_one_in_the_columns() -> None:
    base = np.zeros((6, 4))
    base[0, 0], base[1, 1] = 3.0, 2.5
    inside, outside = np.zeros((6, 4)), np.zeros((6, 4))
    inside[0, 2], outside[5, 3] = 1.0, 1.0
    assert null_shares(singular(base), singular(inside)) == pytest.approx([0.0])
    assert null_shares(singular(base), singular(outside)) == pytest.approx([1.0])
    half = inside + 0.0
    half[5, 2] = 1.0
    assert null_shares(singular(base), singular(half)) == pytest.approx([0.5])


def test_what_an_update_answers_to() -> None:
    matrix, inputs = RNG.normal(size=(5, 4)), RNG.normal(size=(3, 4))
    _, s, v = np.linalg.svd(matrix, full_matrices=False)
    expected = np.abs(inputs @ v.T) * s / np.linalg.norm(inputs, axis=1)[:, None]
    np.testing.assert_allclose(direction_gains(singular(matrix), inputs), expected, rtol=1e-6)
    by_hand = [np.linalg.norm(matrix @ a) / np.linalg.norm(a) for a in inputs]
    np.testing.assert_allclose(gain(matrix, inputs), by_hand, rtol=1e-8)
