"""Choose a guard's temperature, alarm thresholds and label sets from labelled images.

    images ─ one half of the clusters ─> temperature
           └ the other half ───────────> thresholds on safe images, label sets on all

What the halves share is nothing, so that a temperature fitted to some images does not void the guarantee of thresholds
taken from the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..records import digest
from ..taxonomy import SAFE
from .conformal import needed, set_quantile, upper_quantile
from .guard import of_auroc, resampled
from .guard_temperature import fit_temperature, mean_nll, scaled
from .guard_traffic import traffic_quantile
from .intervals import Floats

AUROC_DRAWS = 500


def choose_thresholds(
    logits: npt.ArrayLike,
    truth: Sequence[str | None],
    labels: Sequence[str],
    clusters: Sequence[str],
    *,
    image_safe: Sequence[bool] | None = None,
    false_alarm_rate: float = 0.05,
    coverage: float = 0.9,
    traffic: npt.ArrayLike | None = None,
    unsafe_share: float = 0.0,
    seed: int = 0,
) -> dict[str, Any]:
    """What `guard_thresholds.json` holds, from a guard's logits (n, k) on n images.

    Args:
        truth: each image's label; None where it is only known to be unsafe: it then says nothing on label sets.
        clusters: what belongs together, such as drawings of one scene; it falls into one half as a whole.
        image_safe: by the label where not given.
        false_alarm_rate: the wanted share of safe images above a threshold, for each threshold by itself.
        coverage: the wanted share of images whose label set holds their label.
        traffic: logits (m, k) on unlabelled images of another kind, `unsafe_share` of which is unsafe; the thresholds
            are then for such images (`guard_traffic`), the label sets still for the labelled ones.

    Returns:
        "temperature"; "unsafe", the threshold on 1 - P(safe), and "by_label", those on P(label), None where the safe
        images are too few for any; "auroc", CELL of 1 - P(safe) over all images; "set_quantile", None where the images
        are too few; "n": how many images each part is from; "nll" before and after, on the half that did not fit it.

    Raises ValueError when there is no label `safe`, or no safe image in the second half.
    """
    if SAFE not in labels:
        raise ValueError(f"the guard has no label {SAFE!r}, so no image is a false alarm")
    values = np.asarray(logits, dtype=float).reshape(-1, len(labels))
    place = {label: at for at, label in enumerate(labels)}
    known = np.array([label in place for label in truth], dtype=bool)
    ids = np.array([place.get(str(label), 0) for label in truth], dtype=int)
    safe = np.asarray([label == SAFE for label in truth] if image_safe is None else image_safe, dtype=bool)
    first = np.array([int(digest([seed, cluster]), 16) % 2 == 0 for cluster in clusters], dtype=bool)

    temperature = fit_temperature(values[first & known], ids[first & known])
    held, sure = ~first & safe, ~first & known
    if not held.any():
        raise ValueError("no safe image to choose thresholds on")
    probability = scaled(values, temperature)
    alarm, groups = 1 - probability[:, place[SAFE]], np.unique(clusters, return_inverse=True)[1]
    quantile = set_quantile(probability[sure], ids[sure], 1 - coverage)
    other = None if traffic is None else scaled(np.asarray(traffic, dtype=float).reshape(-1, len(labels)), temperature)

    def limit(score: Callable[[Floats], Floats]) -> float | None:
        if other is None:
            return _finite(upper_quantile(score(probability[held]), false_alarm_rate))
        unsafe = score(probability[~first & ~safe])
        return _finite(traffic_quantile(score(other), unsafe, unsafe_share, false_alarm_rate))

    return {
        "temperature": temperature,
        "unsafe": limit(lambda rows: 1 - rows[:, place[SAFE]]),
        "by_label": {label: limit(lambda rows, at=at: rows[:, at]) for label, at in place.items() if label != SAFE},  # type: ignore[misc]
        "set_quantile": _finite(quantile),
        "auroc": resampled({"auroc": of_auroc(~safe, alarm)}, len(safe), groups, AUROC_DRAWS, seed)["auroc"].to_json(),
        "n": {
            "temperature": int((first & known).sum()),
            "safe": int(held.sum()),
            "safe_needed": needed(false_alarm_rate),
            "sets": int(sure.sum()),
            **({} if other is None else {"unlabelled": len(other)}),
        },
        "nll": {
            "before": mean_nll(values[sure], ids[sure]) if sure.any() else None,
            "after": mean_nll(values[sure], ids[sure], temperature) if sure.any() else None,
        },
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
