"""Rates with their intervals on a common scale from 0 to 100 %, one row a rate, one track a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from ...runs.scores import Cell
from ..numbers import cell_text, percent
from .svg import WIDTH, Series, element, figure, legend, line, marker, text, tip

LEFT, RIGHT = 12.0, 308.0
TRACK = 17.0
HEADING = 20.0
GAP = 12.0


@dataclass(frozen=True)
class Row:
    """One rate: its name, what it says in words, and a cell a run (None where it was not measured)."""

    label: str
    note: str
    cells: Sequence[Cell | None]


def rate_plot(rows: Sequence[Row], series: Sequence[Series], *, title: str, name: str) -> str:
    """Dots with 95 % error bars. A pale band behind a dot spans what its invalid verdicts could make of it."""
    top = 30.0 if len(series) > 1 else 8.0
    block = HEADING + TRACK * len(series) + GAP
    bottom = top + block * len(rows)
    parts = [legend(series, 16.0)]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = across(share)
        parts.append(text(x, bottom + 14, f"{100 * share:.0f}", anchor="middle", class_="small muted"))
        for index in range(len(rows)):
            start = top + block * index + HEADING
            parts.append(line(x, start, x, start + TRACK * len(series) + 2, "grid"))
    parts.append(text(WIDTH - 4, bottom + 14, "percent", anchor="end", class_="small muted"))
    for index, row in enumerate(rows):
        y = top + block * index + 14
        parts.append(
            element(
                "text",
                element("tspan", escape(row.label), class_="strong"),
                element("tspan", escape(f"  {row.note}"), class_="small muted"),
                x=LEFT - 4,
                y=y,
            )
        )
        for track, (one, cell) in enumerate(zip(series, row.cells, strict=True)):
            parts.append(_track(cell, one.tone, y + 14 + TRACK * track))
    said = "; ".join(
        f"{row.label}: " + ", ".join(f"{s.title} {cell_text(c)}" for s, c in zip(series, row.cells, strict=True))
        for row in rows
    )
    return figure(bottom + 20, title, said, *parts, name=name)


def across(share: float) -> float:
    """The x of a rate."""
    return LEFT + share * (RIGHT - LEFT)


def _track(cell: Cell | None, tone: int, y: float) -> str:
    if cell is None or cell.rate is None:
        return text(WIDTH - 4, y + 4, "not measured", anchor="end", class_="small muted")
    parts = [tip(cell_text(cell))]
    low, high = cell.bound_low, cell.bound_high
    if cell.n_invalid and low is not None and high is not None:
        left = across(low)
        parts.append(
            element(
                "rect",
                x=left,
                y=y - 5,
                width=max(across(high) - left, 1.0),
                height=10,
                rx=2,
                class_=f"bound tone{tone}",
            )
        )
    if cell.low is not None and cell.high is not None:
        left, right = across(cell.low), across(cell.high)
        parts.append(line(left, y, right, y, f"bar tone{tone}"))
        parts += [line(x, y - 4, x, y + 4, f"bar tone{tone}") for x in (left, right)]
    parts.append(marker(across(cell.rate), y, tone, 4.5))
    parts.append(text(WIDTH - 4, y + 4, percent(cell.rate), anchor="end", class_=f"value tone{tone}"))
    return element("g", *parts)
