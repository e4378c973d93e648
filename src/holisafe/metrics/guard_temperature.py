"""Temperature scaling (Guo et al. 2017): one number that divides a guard's logits, by likelihood on validation images.

It changes how sure the guard is and never which label is the likeliest.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .intervals import Floats

RANGE = (0.02, 50.0)
"""Where the temperature is looked for."""


def scaled(logits: npt.ArrayLike, temperature: float) -> Floats:
    """(n, k) logits, or log-probabilities -> (n, k) probabilities softmax(logits / temperature)."""
    cold = np.asarray(logits, dtype=float) / temperature
    cold = cold - cold.max(axis=-1, keepdims=True)
    warm = np.exp(cold)
    probabilities: Floats = warm / warm.sum(axis=-1, keepdims=True)
    return probabilities


def mean_nll(logits: npt.ArrayLike, true: npt.ArrayLike, temperature: float = 1.0) -> float:
    """Mean negative log-likelihood of the true labels' ids (n,), in nats."""
    cold = np.asarray(logits, dtype=float) / temperature
    ids = np.asarray(true, dtype=int)
    top = cold.max(axis=1)
    total = top + np.log(np.exp(cold - top[:, None]).sum(axis=1))
    return float((total - cold[np.arange(len(ids)), ids]).mean())


def fit_temperature(logits: npt.ArrayLike, true: npt.ArrayLike) -> float:
    """The temperature within RANGE under which the true labels are likeliest.

    The likelihood has one optimum: it is concave in 1 / temperature. It has none where every image is named right, as
    colder is then always likelier; the temperature is 1 there, and without images. Raises ValueError for logits that
    are not finite.
    """
    from scipy.optimize import minimize_scalar

    values, ids = np.asarray(logits, dtype=float), np.asarray(true, dtype=int)
    if not np.isfinite(values).all():
        raise ValueError("logits must be finite")
    if (values[np.arange(len(ids)), ids] >= values.max(axis=1, initial=-np.inf)).all():
        return 1.0
    edges = (1 / RANGE[1], 1 / RANGE[0])
    found = minimize_scalar(
        lambda inverse: mean_nll(values, ids, 1 / inverse), bounds=edges, method="bounded", options={"xatol": 1e-7}
    )
    return float(1 / found.x)
