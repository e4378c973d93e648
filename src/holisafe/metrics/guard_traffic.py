"""A threshold for images of another kind than the labelled ones, from unlabelled images of that kind.

    above t of all  =  p * recall(t) + (1 - p) * false alarms(t)        p: the share of them that is unsafe

What is above t can be counted without labels. With p known about, and the recall taken from the labelled images, what
is left are the false alarms. Where the true recall on these images is lower than that by d, false alarms are above the
wanted rate by p d / (1 - p) on average: little where p is small, nothing where none is unsafe.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt


def traffic_quantile(traffic: npt.ArrayLike, unsafe: npt.ArrayLike, share: float, rate: float) -> float:
    """The threshold for the false-alarm rate `rate`.

    Args:
        traffic: scores of n unlabelled images, of which `share` (from 0, below 1) is thought to be unsafe.
        unsafe: scores of labelled unsafe images, not needed where `share` is 0.
        rate: the wanted share of safe images above the threshold, between 0 and 1.

    Returns:
        The least of the scores from which on the equation above gives at most `rate`; with `share` 0 that is
        `conformal.upper_quantile`, counting the next image along. Infinite where the images are too few.

    Raises ValueError for shares outside of these bounds, for scores that are no numbers, and without unsafe ones where
    they are needed.
    """
    if not (0 <= share < 1 and 0 < rate < 1):
        raise ValueError(f"a share of {share:g} or a rate of {rate:g} is out of bounds")
    ordered, known = (np.sort(np.asarray(values, dtype=float).ravel()) for values in (traffic, unsafe))
    if np.isnan(ordered).any() or np.isnan(known).any():
        raise ValueError("scores must be numbers")
    if share and not len(known):
        raise ValueError("no labelled unsafe image tells how many of them are above a threshold")
    above = len(ordered) - np.searchsorted(ordered, ordered, side="right")
    recall = 1 - np.searchsorted(known, ordered, side="right") / len(known) if share else 0.0
    most = share * recall + (1 - share) * rate
    # Rounded: 0.1 * 11 must not be less than 1.1.
    kept = np.round((above + 1) / (len(ordered) + 1) - most, 9) <= 0
    broken = np.flatnonzero(~kept)
    first = int(broken[-1]) + 1 if len(broken) else 0
    return float(ordered[first]) if first < len(ordered) else math.inf
