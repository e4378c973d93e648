"""What tuning added to one weight matrix: dW = W_tuned - W_base, [out, in].

    column space  share of each left singular vector of dW in the left null space of W_base: 1 means that tuning writes
                  where the base wrote nothing
    row space     |sigma_j <a, v_j>| / |a| for the leading right singular vectors: which inputs the update answers to
    gain          |dW a| / |a|

Source: arXiv 2407.10264, section 5 (the definitions, not the released code, which compares by sine and has slips).
Singular vectors come from the smaller of the two Gram matrices, in float64.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

ENERGY = 0.9
"""The base's rank: the fewest singular values whose squares hold this share of all."""


class Singular(NamedTuple):
    """left [out, k], values [k] from the largest, right [k, in]; k at most the smaller side."""

    left: Array
    values: Array
    right: Array


def singular(matrix: Array, most: int | None = None) -> Singular:
    """The leading `most` singular vectors and values of [out, in]; without it all that are not 0."""
    from scipy.linalg import eigh

    tall = matrix.shape[0] >= matrix.shape[1]
    side = matrix.astype(np.float64)
    gram = side.T @ side if tall else side @ side.T
    wanted = None if most is None or most >= len(gram) else (len(gram) - most, len(gram) - 1)
    squares, vectors = eigh(gram, subset_by_index=wanted)
    squares, vectors = np.maximum(squares[::-1], 0.0), vectors[:, ::-1]
    values = np.sqrt(squares)
    kept = int((values > values[:1] * 1e-7).sum()) if values.size and values[0] > 0 else 0
    kept = kept if most is None else min(kept, most)
    values, vectors = values[:kept], vectors[:, :kept]
    if tall:
        return Singular(side @ vectors / values, values, vectors.T)
    return Singular(vectors, values, (vectors / values).T @ side)


def rank(values: Array, energy: float = ENERGY) -> int:
    """How many of the singular values, the largest first, hold the share `energy` of the sum of squares."""
    squares = np.cumsum(np.asarray(values, np.float64) ** 2)
    return int(np.searchsorted(squares, energy * squares[-1] * (1 - 1e-12)) + 1) if len(squares) and squares[-1] else 0


def null_shares(base: Singular, update: Singular) -> Array:
    """Of every left singular vector of the update, [k]: the squared length outside the base's leading columns."""
    columns = base.left[:, : rank(base.values)]
    found: Array = np.clip(1.0 - ((columns.T @ update.left) ** 2).sum(0), 0.0, 1.0)
    return found


def direction_gains(update: Singular, inputs: Array) -> Array:
    """|sigma_j <a, v_j>| / |a| for `inputs` [N, in] -> [N, k]."""
    inputs = inputs.astype(np.float64)
    found: Array = np.abs(inputs @ update.right.T) * update.values / _length(inputs)
    return found


def gain(matrix: Array, inputs: Array) -> Array:
    """|dW a| / |a| for `inputs` [N, in] -> [N]."""
    inputs = inputs.astype(np.float64)
    found: Array = np.linalg.norm(inputs @ matrix.astype(np.float64).T, axis=1) / _length(inputs)[:, 0]
    return found


def _length(inputs: Array) -> Array:
    found: Array = np.maximum(np.linalg.norm(inputs, axis=1, keepdims=True), 1e-30)
    return found
