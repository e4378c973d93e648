"""Split conformal prediction: thresholds that hold on new images, and sets of labels that cover the true one.

For n + 1 exchangeable scores the last is above the ceil((n + 1)(1 - a))-th smallest of the others with probability at
most a (Vovk, Gammerman and Shafer 2005; Lei et al. 2018). The guarantee is on average over draws of the n scores;
scores that are not exchangeable with the new one (another source, another style) have none.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from .intervals import Floats
from .rates import Mask


def upper_quantile(scores: npt.ArrayLike, share: float) -> float:
    """The least value that a new score is above with probability at most `share`, 0 < share < 1.

    Infinite where the n scores are too few: ceil((n + 1)(1 - share)) > n. Raises ValueError for another share or for
    scores that are no numbers.
    """
    if not 0 < share < 1:
        raise ValueError(f"{share} does not lie between 0 and 1")
    ordered = np.sort(np.asarray(scores, dtype=float).ravel())
    if np.isnan(ordered).any():
        raise ValueError("scores must be numbers")
    # Rounded: (n + 1)(1 - share) of 10 * 0.9 must not become 9.000000000000002.
    rank = math.ceil(round((len(ordered) + 1) * (1 - share), 9))
    return float(ordered[rank - 1]) if rank <= len(ordered) else math.inf


def needed(share: float) -> int:
    """How many scores `upper_quantile` needs for a finite value."""
    return math.ceil(round(1 / share, 9)) - 1


def set_quantile(probabilities: npt.ArrayLike, true: npt.ArrayLike, share: float) -> float:
    """What 1 - P(label) may be for a label to belong to the set: (n, k) probabilities, (n,) ids of the true labels.

    The set then misses a new image's label with probability at most `share` (Sadinle, Lei and Wasserman 2019).
    """
    probability, ids = np.asarray(probabilities, dtype=float), np.asarray(true, dtype=int)
    return upper_quantile(1 - probability[np.arange(len(ids)), ids], share)


def label_sets(probabilities: npt.ArrayLike, quantile: float) -> Mask:
    """(n, k) probabilities -> (n, k), True where the label belongs to the image's set; it may be empty."""
    inside: Mask = 1 - np.asarray(probabilities, dtype=float) <= quantile
    return inside


def covered(sets: Mask, true: npt.ArrayLike) -> Mask:
    """(n, k) sets, (n,) ids of the true labels -> (n,), True where the set holds it."""
    ids = np.asarray(true, dtype=int)
    holds: Mask = sets[np.arange(len(ids)), ids]
    return holds


def sizes(sets: Mask) -> Floats:
    """(n,) how many labels each set holds."""
    size: Floats = sets.sum(axis=1).astype(np.float64)
    return size
