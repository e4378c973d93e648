"""How a measured rate is written everywhere: percent with one decimal, interval in brackets, n, invalid."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..runs.scores import Cell, ThoughtAndAnswer

ABSENT = "–"
TOLERANCE = 1e-9


def percent(rate: float | None, *, signed: bool = False) -> str:
    """`12.3 %`, or `+12.3 %` when signed; a dash for no rate at all."""
    if rate is None or math.isnan(rate):
        return ABSENT
    return f"{_one_decimal(rate, signed)} %"


def _one_decimal(rate: float, signed: bool = False) -> str:
    text = f"{100 * rate:+.1f}" if signed else f"{100 * rate:.1f}"
    return "0.0" if text in ("-0.0", "+0.0") else text.replace("-", "−")


def bracket(low: float | None, high: float | None, *, signed: bool = False) -> str:
    """`[10.1, 14.9]` in percent, or nothing when there is no interval."""
    if low is None or high is None:
        return ""
    return f"[{_one_decimal(low, signed)}, {_one_decimal(high, signed)}]"


def points(change: float | None, low: float | None = None, high: float | None = None) -> str:
    """`+2.0 [−0.5, +4.5]`: a change in points, with its interval where there is one; a dash for none."""
    return f"{percent(change, signed=True).removesuffix(' %')} {bracket(low, high, signed=True)}".rstrip()


def interval(cell: Cell) -> str:
    """The cell's 95 % interval as `[10.1, 14.9]`."""
    return bracket(cell.low, cell.high)


def as_cell(found: Mapping[str, Any] | None) -> Cell | None:
    """A cell as JSON keeps it; None for none."""
    return Cell(**{name: value for name, value in found.items() if name in Cell.__match_args__}) if found else None


def cell_text(cell: Cell | None) -> str:
    """`12.3 % [10.1, 14.9] n=480`, and `3 invalid` when there are any; a dash when it was not measured."""
    if cell is None:
        return ABSENT
    parts = [percent(cell.rate), interval(cell)]
    if cell.n or cell.rate is None:
        parts.append(f"n={cell.n}")
    if cell.n_invalid:
        parts.append(f"({cell.n_invalid} invalid)")
    return " ".join(part for part in parts if part)


def difference(before: Cell | None, after: Cell | None) -> tuple[float, float, float] | None:
    """after - before with a 95 % interval, from the two cells' own intervals; None where either has none.

    The square-and-add rule (Newcombe 1998; MOVER, Zou and Donner 2008). It takes the two runs as independent; asked
    the same questions they usually agree in part, and the interval is then too wide rather than too narrow.
    """
    if before is None or after is None:
        return None
    rate_1, low_1, high_1 = before.rate, before.low, before.high
    rate_2, low_2, high_2 = after.rate, after.low, after.high
    if rate_1 is None or low_1 is None or high_1 is None or rate_2 is None or low_2 is None or high_2 is None:
        return None
    change = rate_2 - rate_1
    low = change - math.hypot(rate_2 - low_2, high_1 - rate_1)
    high = change + math.hypot(high_2 - rate_2, rate_1 - low_1)
    return change, low, high


LACKING = {
    "no_thought": "no thought",
    "cut_off": "a thought that was cut off",
    "thought_invalid": "no verdict on the thought",
    "answer_invalid": "no verdict on the answer",
}


def lacking(found: ThoughtAndAnswer) -> list[str]:
    """What the pairs lack that are in no joint table of thoughts and answers: `35 with no thought`."""
    return [f"{n:,} with {LACKING[why]}" for why, n in found.left_out.items() if n]


def fragile(cell: Cell | None) -> bool:
    """Whether the invalid verdicts alone could move the rate out of its interval."""
    return cell is not None and bool(cell.n_invalid) and leaves(cell.bound_low, cell.bound_high, cell)


def leaves(lowest: float | None, highest: float | None, cell: Cell) -> bool:
    """Whether a range reaches out of the cell's interval; where an edge is unknown it may."""
    low, high = cell.low, cell.high
    if low is None or high is None or lowest is None or highest is None:
        return True
    return bool(lowest < low - TOLERANCE or highest > high + TOLERANCE)
