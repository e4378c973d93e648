"""Rates around a circle, one spoke a category: where a model is weak at a glance; the numbers stand in the table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from ...metrics.measured import spoken
from ...runs.scores import Cell
from ..numbers import percent
from .svg import Series, element, figure, legend, line, marker, points, text

CENTRE_X, RADIUS = 190.0, 104.0


def radar(
    names: Sequence[str], rates: Sequence[Mapping[str, Cell]], series: Sequence[Series], *, title: str, name: str
) -> str:
    """`rates` holds one mapping name -> cell a run. The rim is 100 %, or 50 or 25 where that is enough for all.

    Raises ValueError for fewer than three names: there is no shape to draw.
    """
    if len(names) < 3:
        raise ValueError("a radar needs three spokes")
    centre_y = 172.0 if len(series) > 1 else 150.0
    rim = _rim(cell.rate for cells in rates for cell in cells.values() if cell.rate is not None)
    spokes = [2 * math.pi * index / len(names) for index in range(len(names))]

    def place(angle: float, share: float) -> tuple[float, float]:
        return CENTRE_X + math.sin(angle) * share * RADIUS, centre_y - math.cos(angle) * share * RADIUS

    parts = [legend(series, 16.0)]
    parts += [
        element("polygon", points=points(place(angle, share) for angle in spokes), class_="grid")
        for share in (0.25, 0.5, 0.75, 1.0)
    ]
    for angle, label in zip(spokes, names, strict=True):
        parts.append(line(*place(angle, 0), *place(angle, 1), "grid"))
        parts.append(_label(label, angle, *place(angle, 1 + 13 / RADIUS)))
    parts += [
        text(CENTRE_X - 4, centre_y - share * RADIUS + 4, f"{100 * share * rim:g}", anchor="end", class_="tiny muted")
        for share in (0.5, 1.0)
    ]
    for one, cells in zip(series, rates, strict=True):
        kept = [
            (angle, cells[label])
            for angle, label in zip(spokes, names, strict=True)
            if label in cells and cells[label].rate is not None
        ]
        corners = [place(angle, (cell.rate or 0.0) / rim) for angle, cell in kept]
        parts.append(element("polygon", points=points(corners), class_=f"area tone{one.tone}"))
        parts += [marker(x, y, one.tone, 3.5) for x, y in corners]
    said = "; ".join(
        f"{spoken(label)}: "
        + ", ".join(
            f"{s.title} {percent(cells.get(label, Cell()).rate)}" for s, cells in zip(series, rates, strict=True)
        )
        for label in names
    )
    return figure(centre_y + RADIUS + 40, title, said, *parts, name=name)


def _rim(rates: Iterable[float]) -> float:
    most = max(rates, default=1.0)
    return next(rim for rim in (0.25, 0.5, 1.0) if most <= rim)


def _label(label: str, angle: float, x: float, y: float) -> str:
    """The spoke's name, a word a line, outside its end."""
    side = math.sin(angle)
    anchor = "middle" if abs(side) < 0.3 else "start" if side > 0 else "end"
    words = spoken(label).split()
    rise = -13.0 * (len(words) - 1) if math.cos(angle) > 0.5 else 13.0 * 0.5 if math.cos(angle) < -0.5 else -3.0
    return "".join(text(x, y + rise + 13 * row, word, anchor=anchor, class_="small") for row, word in enumerate(words))
