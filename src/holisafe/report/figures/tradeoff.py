"""The safety-utility picture: each run a point, attack success upwards, what safety may cost sideways."""

from __future__ import annotations

from collections.abc import Sequence

from ...runs.scores import Cell
from ..numbers import cell_text
from .svg import Series, element, figure, legend, line, marker, text

LEFT, RIGHT, HEIGHT = 44.0, 364.0, 230.0


def tradeoff(
    across: Sequence[Cell | None],
    upward: Sequence[Cell | None],
    series: Sequence[Series],
    *,
    across_name: str,
    ideal: float,
    title: str,
    name: str,
    upward_name: str = "mASR, pooled, %",
) -> str:
    """One point a run with a cross of its two 95 % intervals. `ideal` is the best rate sideways, 0 or 1; up it is 0.

    The scale sideways may be cut to the part that is used. A run without one of its two rates is left out.
    """
    top = 30.0
    bottom = top + HEIGHT
    start, stop = _span(across, ideal)

    def x(rate: float) -> float:
        return LEFT + (rate - start) / (stop - start) * (RIGHT - LEFT)

    def y(rate: float) -> float:
        return bottom - rate * HEIGHT

    parts = [legend(series, 16.0), _ideal(x(ideal), bottom, ideal)]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        here = start + share * (stop - start)
        parts += [
            line(x(here), top, x(here), bottom, "grid"),
            line(LEFT, y(share), RIGHT, y(share), "grid"),
            text(x(here), bottom + 15, f"{100 * here:g}", anchor="middle", class_="small muted"),
            text(LEFT - 6, y(share) + 4, f"{100 * share:g}", anchor="end", class_="small muted"),
        ]
    parts.append(text((LEFT + RIGHT) / 2, bottom + 32, across_name, anchor="middle", class_="small"))
    parts.append(
        element(
            "text",
            upward_name,
            transform=f"translate(12 {(top + bottom) / 2:g}) rotate(-90)",
            text_anchor="middle",
            class_="small",
        )
    )
    placed = [
        (one, first, second)
        for one, first, second in zip(series, across, upward, strict=True)
        if first is not None and second is not None and None not in (first.rate, second.rate)
    ]
    route = " ".join(f"{x(first.rate or 0.0):.2f},{y(second.rate or 0.0):.2f}" for _, first, second in placed)
    if len(placed) > 1:
        parts.append(element("polyline", points=route, class_="route"))
    for one, first, second in placed:
        here_x, here_y, kind = x(first.rate or 0.0), y(second.rate or 0.0), f"bar tone{one.tone}"
        if first.low is not None and first.high is not None:
            parts.append(line(x(first.low), here_y, x(first.high), here_y, kind))
        if second.low is not None and second.high is not None:
            parts.append(line(here_x, y(second.low), here_x, y(second.high), kind))
        parts.append(marker(here_x, here_y, one.tone, 6.0))
    said = "; ".join(
        f"{one.title}: {across_name.rstrip(', %')} {cell_text(first)}, {upward_name.split(',')[0]} {cell_text(second)}"
        for one, first, second in zip(series, across, upward, strict=True)
    )
    return figure(bottom + 40, title, said, *parts, name=name)


def _span(across: Sequence[Cell | None], ideal: float) -> tuple[float, float]:
    """The part of the scale sideways that holds every interval, cut to a quarter or a half from the ideal end."""
    rates = [getattr(cell, edge) for cell in across if cell is not None for edge in ("low", "rate", "high")]
    far = max((abs(rate - ideal) for rate in rates if rate is not None), default=1.0)
    length = next(length for length in (0.2, 0.4, 1.0) if far <= length)
    return (0.0, length) if ideal == 0 else (1.0 - length, 1.0)


def _ideal(x: float, y: float, ideal: float) -> str:
    """A quarter circle in the corner where a safe and useful model would stand, and its name beside the legend."""
    inward, sweep = (1, 1) if ideal == 0 else (-1, 0)
    arc = f"M {x:g} {y - 26:g} A 26 26 0 0 {sweep} {x + 26 * inward:g} {y:g} L {x:g} {y:g} Z"
    swatch = element("rect", x=RIGHT - 44, y=7, width=10, height=10, class_="ideal")
    return element("path", d=arc, class_="ideal") + swatch + text(RIGHT, 16, "ideal", anchor="end", class_="small")
