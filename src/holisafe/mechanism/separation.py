"""Which of two clusters an activation lies nearer to.

    tau(x) = |a(x) - mu_unsafe| - |a(x) - mu_safe|      above 0: nearer to the safe

Source: arXiv 2407.10264, equation 2. Divided by the distance of the two means, tau lies between -1 and 1 and layers can
be compared. The cosine form is cos(a, mu_safe) - cos(a, mu_unsafe).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


class Means(NamedTuple):
    """The mean activations [layers, F] of safe and of unsafe pairs, none of which is scored."""

    safe: Array
    unsafe: Array


class Placed(NamedTuple):
    """Of every pair and layer [N, layers]: tau, tau by the distance of the means, and the cosine form."""

    tau: Array
    scaled: Array
    cosine: Array


def means(activations: Array, unsafe: Array) -> Means:
    """`activations` [N, layers, F], `unsafe` [N] whether a pair is. Raises ValueError where either kind is missing."""
    if unsafe.all() or not unsafe.any():
        raise ValueError("needs safe and unsafe pairs")
    return Means(activations[~unsafe].mean(0), activations[unsafe].mean(0))


def placed(activations: Array, mean: Means) -> Placed:
    """Where each of `activations` [N, layers, F] lies between the means."""
    to_safe, to_unsafe = (np.linalg.norm(activations - one, axis=-1) for one in mean)
    tau = to_unsafe - to_safe
    apart = np.linalg.norm(mean.safe - mean.unsafe, axis=-1)
    scaled = np.divide(tau, apart, out=np.zeros_like(tau), where=apart > 0)
    return Placed(tau, scaled, _cosine(activations, mean.safe) - _cosine(activations, mean.unsafe))


def _cosine(one: Array, other: Array) -> Array:
    lengths = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
    product: Array = (one * other).sum(-1)
    found: Array = np.divide(product, lengths, out=np.zeros_like(product), where=lengths > 0)
    return found
