"""The few pictures that a person checks by hand: at random of those called unsafe, called safe, and in between.

A content's hash is its lot, so the sample is the `size` smallest of each group whoever scanned, in whichever order and
after however many kills. A picture that is among the smallest so far is kept small in its row, for the source may not
be at hand later; some that are not in the end are kept too: about size x (1 + ln(n / size)) of n.
"""

from __future__ import annotations

import heapq
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from PIL import Image

from ..guards.base import Reading
from ..taxonomy import SAFE
from .fetching import Fetched

SIZE = 12
SIDE = 256
GROUPS = ("unsafe", "uncertain", "safe")

NEAR = 3.0
"""A picture is uncertain where the odds that decide are within this factor of tipping over."""


def apart(score: float | None, scores: Mapping[str, float], line: float | None) -> float | None:
    """How far a verdict is from the other one, as a log of odds: those of the score against those of the guard's line,
    or, where the likeliest label decides, those of the likeliest unsafe label against `safe`. None where unknown."""
    if line is not None:
        inside = score is not None and 0 < score < 1 and 0 < line < 1
        return abs(_log_odds(score) - _log_odds(line)) if inside and score is not None else None
    safe, others = scores.get(SAFE, 0.0), [value for label, value in scores.items() if label != SAFE]
    most = max(others, default=0.0)
    return abs(math.log(most / safe)) if most > 0 and safe > 0 else None


def group_of(unsafe: bool | None, distance: float | None) -> str | None:
    """`uncertain` where it is near to the other verdict, else what the verdict is; None without one."""
    if unsafe is None:
        return None
    return "uncertain" if distance is not None and distance <= math.log(NEAR) else "unsafe" if unsafe else "safe"


def _log_odds(share: float) -> float:
    return math.log(share / (1 - share))


@dataclass
class Sampler:
    """Which pictures are kept small: per group the smallest lots so far. `line` is the guard's."""

    line: float | None
    size: int = SIZE
    lots: dict[str, list[int]] = field(default_factory=dict)

    def thumb(self, found: Fetched, said: Reading) -> bytes | None:
        """The picture small, as WebP, if it may come into the sample."""
        group = group_of(said.unsafe, apart(said.score, said.scores, self.line))
        if group is None or not found.content or not self.size:
            return None
        lots, lot = self.lots.setdefault(group, []), -int(found.content, 16)
        if len(lots) < self.size:
            heapq.heappush(lots, lot)
        elif lot > lots[0]:
            heapq.heapreplace(lots, lot)
        else:
            return None
        return small(found.open())


def small(image: Image.Image) -> bytes:
    """At most `SIDE` pixels long, as WebP."""
    copy = image.convert("RGB")
    copy.thumbnail((SIDE, SIDE), Image.Resampling.HAMMING, reducing_gap=1.5)
    buffer = io.BytesIO()
    copy.save(buffer, format="WEBP", quality=70, method=2)
    return buffer.getvalue()
