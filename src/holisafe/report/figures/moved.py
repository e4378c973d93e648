"""Changes with their intervals around zero, in points: one block a name, one track a measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

from ..numbers import points
from .svg import WIDTH, Series, element, figure, legend, line, marker, text, tip

LEFT, RIGHT = 12.0, 308.0
TRACK, HEADING, GAP = 17.0, 20.0, 12.0
LONGEST = 48
"""A name of more letters is cut; what a screen reader says has it whole."""

REACHES = (0.1, 0.25, 0.5, 1.0)
"""How far the scale may reach to either side: the first that holds every interval."""


class Move(NamedTuple):
    """A change as a fraction, with its 95 % interval where it has one."""

    change: float
    low: float | None
    high: float | None


def moved(moves: Mapping[str, Sequence[Move | None]], series: Sequence[Series], *, title: str, name: str) -> str:
    """Dots with 95 % error bars on one scale; None is drawn as not measured. `series` are the measures."""
    ends = [abs(end) for tracks in moves.values() for move in tracks if move for end in move if end is not None]
    reach = next((reach for reach in REACHES if max(ends, default=0.0) <= reach), REACHES[-1])
    block = HEADING + TRACK * len(series) + GAP
    top = 30.0 if len(series) > 1 else 8.0
    bottom = top + block * len(moves)

    def x(change: float) -> float:
        return LEFT + (change + reach) / (2 * reach) * (RIGHT - LEFT)

    parts = [legend(series, 16.0), text(WIDTH - 4, bottom + 14, "points", anchor="end", class_="small muted")]
    for part in (-1.0, -0.5, 0.0, 0.5, 1.0):
        shown = f"{100 * part * reach:+g}".replace("-", "−") if part else "0"
        parts.append(text(x(part * reach), bottom + 14, shown, anchor="middle", class_="small muted"))
        for index in range(len(moves)):
            start = top + block * index + HEADING
            parts.append(line(x(part * reach), start, x(part * reach), start + TRACK * len(series) + 2, "grid"))
    for index, (called, tracks) in enumerate(moves.items()):
        y = top + block * index + 14
        shown = called if len(called) <= LONGEST else f"{called[: LONGEST - 1]}…"
        parts.append(element("text", element("tspan", escape(shown), class_="strong"), x=LEFT - 4, y=y))
        for track, (one, move) in enumerate(zip(series, tracks, strict=True)):
            here = y + 14 + TRACK * track
            if move is None:
                parts.append(text(WIDTH - 4, here + 4, "not measured", anchor="end", class_="small muted"))
                continue
            drawn = [tip(f"{one.title}: {points(*move)}")]
            if move.low is not None and move.high is not None:
                left, right = x(max(move.low, -reach)), x(min(move.high, reach))
                drawn.append(line(left, here, right, here, f"bar tone{one.tone}"))
                drawn += [line(at, here - 4, at, here + 4, f"bar tone{one.tone}") for at in (left, right)]
            drawn += [
                marker(x(move.change), here, one.tone, 4.5),
                text(WIDTH - 4, here + 4, points(move.change), anchor="end", class_=f"value tone{one.tone}"),
            ]
            parts.append(element("g", *drawn))
    said = "; ".join(f"{called}: {', '.join(map(_told, series, tracks))}" for called, tracks in moves.items())
    return figure(bottom + 20, title, said, *parts, name=name)


def _told(one: Series, move: Move | None) -> str:
    return f"{one.title} {points(*move) if move else 'not measured'}"
