"""How common something is, from a guard that errs: the share that it flags, corrected for its measured error rates.

    prevalence = (flagged + specificity - 1) / (sensitivity + specificity - 1)          Rogan and Gladen (1978)

The interval takes in that all three shares are estimates: Lang and Reiczigel's (Preventive Veterinary Medicine 113,
2014), which puts pseudo-observations to each and shifts the centre. It is right where the labelled pictures are like
those that were scanned; a guard measured on others may err more or less often there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from .intervals import NORMAL_QUANTILE, clopper_pearson

Z2 = NORMAL_QUANTILE**2


@dataclass(frozen=True)
class Share:
    """`rate` of `n` observations; `n` may be an effective size."""

    rate: float
    n: float


@dataclass(frozen=True)
class ErrorRates:
    """How often a guard is right on labelled unsafe and safe pictures, and where that was measured."""

    sensitivity: Share
    specificity: Share
    where: str

    def to_json(self) -> dict[str, Any]:
        return {
            "sensitivity": vars(self.sensitivity),
            "specificity": vars(self.specificity),
            "where": self.where,
        }


@dataclass(frozen=True)
class Prevalence:
    """Fractions. `rate` is cut to 0 ... 1; None where the guard finds no more than chance, when nothing can be said:
    the interval is then all of 0 ... 1."""

    rate: float | None
    low: float
    high: float


def corrected(flagged: Share, rates: ErrorRates) -> Prevalence:
    """The prevalence with its 95 % interval."""
    sensitivity, specificity = rates.sensitivity, rates.specificity
    if sensitivity.rate + specificity.rate <= 1:
        return Prevalence(None, 0.0, 1.0)
    rate = (flagged.rate + specificity.rate - 1) / (sensitivity.rate + specificity.rate - 1)

    n = flagged.n + Z2
    share = (flagged.n * flagged.rate + Z2 / 2) / n
    right = [(one.n * one.rate + 1) / (one.n + 2) for one in (sensitivity, specificity)]
    spread = [p * (1 - p) / (one.n + 2) for p, one in zip(right, (sensitivity, specificity), strict=True)]
    skill = sum(right) - 1
    if skill <= 0:
        return Prevalence(None, 0.0, 1.0)
    centre = (share + right[1] - 1) / skill
    shift = 2 * Z2 * (centre * spread[0] - (1 - centre) * spread[1])
    variance = share * (1 - share) / n + centre**2 * spread[0] + (1 - centre) ** 2 * spread[1]
    half = NORMAL_QUANTILE * math.sqrt(variance) / skill
    low, high, rate = (min(1.0, max(0.0, value)) for value in (centre + shift - half, centre + shift + half, rate))
    return Prevalence(rate, min(low, rate), max(high, rate))


def typed_share(told: str, what: str) -> Share:
    """`93/100` -> 0.93 of 100. Raises InputError for anything else."""
    found = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", told)
    share = None if found is None else share_of(int(found[1]), int(found[2]))
    if share is None:
        raise InputError(f"{what} {told!r} is not written FOUND/ALL, such as 93/100")
    return share


def share_of(found: int, of: int) -> Share | None:
    """So many of so many; None where these are no such counts."""
    return Share(found / of, of) if 0 <= found <= of and of > 0 else None


def measured_rates(board: Mapping[str, Any], guard: str, where: str) -> ErrorRates:
    """A guard's error rates out of what `holisafe guard eval --out DIR` found. Raises InputError where it is not among
    the guards there, or no board at all."""
    guards = board.get("guards")
    if not isinstance(guards, Mapping) or board.get("on") != "images":
        raise InputError("holds no guards that were measured on images", where=where)
    if guard not in guards:
        raise InputError(f"no figures of {guard!r}; it has those of {', '.join(map(str, guards))}", where=where)
    try:
        alarms, recall = (_share(guards[guard]["own"][name]) for name in ("false_alarms", "recall"))
    except (KeyError, TypeError):
        raise InputError(f"its rates of {guard!r} are no rates with n and an interval", where=where) from None
    return ErrorRates(recall, Share(1 - alarms.rate, alarms.n), where)


def _share(cell: Mapping[str, Any]) -> Share:
    """A rate at the size that its interval has: less than n where pictures come in clusters."""
    if cell["rate"] is None:
        raise InputError("a guard's rate on no pictures corrects nothing")
    rate, wanted = cell["rate"], cell["high"] - cell["low"]
    if not (0 <= rate <= 1 and 0 <= wanted <= 1 and 1 <= cell["n"] < math.inf):
        raise TypeError
    least, most = 1.0, float(cell["n"])
    for _ in range(60):
        middle = (least + most) / 2
        low, high = clopper_pearson(rate * middle, middle)
        least, most = (middle, most) if high - low > wanted else (least, middle)
    return Share(rate, most)
