"""Which settings of a method are worth having: the Pareto front, its knee, and the best within limits.

    front   the settings that no other one beats: none is at least as good on both axes and better on one
    knee    of the front, the setting farthest beyond the straight line between the front's two ends, both axes scaled
            to what the front spans; there is none with fewer than three places, or where the front bends inwards
    pick    of the settings within every limit, the one with the best rate

A rate that is missing or no number is on no front and within no limit. Choosing the best of many flatters it, so what
was chosen on one split is reported on another.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from .gate import COMPARISONS
from .measures import SWEPT, lower_is_better

_WRITTEN = re.compile(
    r"(?P<measure>[\w.]+)(?P<loss> +loss)?(?: +(?P<end>low|high))? *(?P<how>[<>]=?) *(?P<number>\d*\.?\d+(?:e-?\d+)?)"
)

Place = tuple[float | None, float | None]
"""A setting on two axes, both better when higher."""

SAME = 1e-12


def oriented(measure: str, rate: float | None) -> float | None:
    """The rate as a number that is better when higher; None for no number."""
    if rate is None or not math.isfinite(rate):
        return None
    return -rate if lower_is_better(measure) else rate


def pareto_front(places: Sequence[Place]) -> list[bool]:
    """Which places no other one beats; equal places stand together. A place without a number is on no front."""
    known = [_known(place) for place in places]

    def beaten(place: tuple[float, float]) -> bool:
        return any(
            other is not None and other != place and other[0] >= place[0] and other[1] >= place[1] for other in known
        )

    return [place is not None and not beaten(place) for place in known]


def knee(places: Sequence[Place]) -> int | None:
    """Which place is the front's knee: the first of the farthest; None where there is none.

    With the front's places scaled so that its ends stand at (0, 1) and (1, 0), a place (x, y) is x + y - 1 beyond the
    line between them, but for the factor 1 / sqrt(2).
    """
    front = {at: place for at, on in enumerate(pareto_front(places)) if on and (place := _known(places[at]))}
    if len(set(front.values())) < 3:
        return None
    across, upward = ([place[axis] for place in front.values()] for axis in (0, 1))
    beyond = {
        at: (x - min(across)) / (max(across) - min(across)) + (y - min(upward)) / (max(upward) - min(upward)) - 1
        for at, (x, y) in front.items()
    }
    farthest = max(beyond.values())
    return None if farthest < SAME else next(at for at, value in beyond.items() if value > farthest - SAME)


def _known(place: Place) -> tuple[float, float] | None:
    x, y = place
    return None if x is None or y is None or not (math.isfinite(x) and math.isfinite(y)) else (x, y)


@dataclass(frozen=True)
class Limit:
    """A measure, or its loss against the untouched model, or an end of the interval of either, and what it must be."""

    text: str
    measure: str
    loss: bool
    end: str | None
    comparison: str
    threshold: float

    def holds(self, rates: Mapping[str, Any], losses: Mapping[str, Any]) -> bool:
        """Whether it holds of a setting's cells and losses; what was not measured holds nothing."""
        cell = (losses if self.loss else rates).get(self.measure) or {}
        value = cell.get(self.end or ("loss" if self.loss else "rate"))
        if value is None or not math.isfinite(value):
            return False
        # a difference of rates is off by rounding: 0.92 - 0.9 is no more than 0.02
        near = abs(value - self.threshold) < SAME
        return "=" in self.comparison if near else COMPARISONS[self.comparison](value, self.threshold)


def parse_limit(text: str) -> Limit:
    """`sra_s loss <= 0.02`, `utility >= 0.8`, `utility loss high <= 0.05`. Raises InputError for anything else."""
    if (match := _WRITTEN.fullmatch(text.strip())) is None:
        raise InputError(f"{text!r} is not written MEASURE [loss] [low|high] <= NUMBER, such as sra_s loss <= 0.02")
    if match["measure"] not in SWEPT:
        raise InputError(f"no measure {match['measure']!r}; known: {', '.join(SWEPT)}")
    if float(match["number"]) > 1:
        raise InputError(f"{text!r}: rates and losses are fractions; two points are 0.02")
    return Limit(
        text.strip(), match["measure"], bool(match["loss"]), match["end"], match["how"], float(match["number"])
    )


def pick(settings: Sequence[Mapping[str, Any]], measure: str, limits: Sequence[Limit]) -> int | None:
    """Which setting is best on `measure` among those within every limit; of equal ones the first; None without any.

    A setting has "rates" {MEASURE: CELL} and "losses" {MEASURE: {"loss", "low", "high"}}.
    """
    best: tuple[float, int] | None = None
    for at, setting in enumerate(settings):
        value = oriented(measure, (setting["rates"].get(measure) or {}).get("rate"))
        within = all(limit.holds(setting["rates"], setting["losses"]) for limit in limits)
        if value is not None and within and (best is None or value > best[0] + SAME):
            best = value, at
    return None if best is None else best[1]
