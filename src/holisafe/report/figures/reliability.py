"""Does the guard's confidence mean what it says? Confidence sideways, how often it was right upwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .svg import element, figure, line, marker, text, tip

LEFT, RIGHT, HEIGHT = 44.0, 364.0, 210.0
COUNTS = 34.0


@dataclass(frozen=True)
class Bin:
    """The readings whose confidence fell between two edges: their mean confidence, how many were right, how many."""

    start: float
    stop: float
    confidence: float | None
    accuracy: float | None
    n: int
    low: float | None = None
    high: float | None = None


def reliability(bins: Sequence[Bin], *, tone: int, title: str, name: str) -> str:
    """A dot a bin against the diagonal of a guard that is right as often as it says; below it, how many readings."""
    top = 10.0
    bottom = top + HEIGHT
    most = max((one.n for one in bins), default=0) or 1

    def x(share: float) -> float:
        return LEFT + share * (RIGHT - LEFT)

    def y(share: float) -> float:
        return bottom - share * HEIGHT

    parts = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts += [
            line(x(share), top, x(share), bottom, "grid"),
            line(LEFT, y(share), RIGHT, y(share), "grid"),
            text(x(share), bottom + COUNTS + 20, f"{100 * share:.0f}", anchor="middle", class_="small muted"),
            text(LEFT - 6, y(share) + 4, f"{100 * share:.0f}", anchor="end", class_="small muted"),
        ]
    parts.append(line(x(0), y(0), x(1), y(1), "route"))
    parts.append(text(x(0.5), bottom + COUNTS + 37, "confidence, %", anchor="middle", class_="small"))
    parts.append(
        element(
            "text",
            "right, %",
            transform=f"translate(12 {(top + bottom) / 2:g}) rotate(-90)",
            text_anchor="middle",
            class_="small",
        )
    )
    for one in bins:
        if not one.n or one.confidence is None or one.accuracy is None:
            continue
        height = max(COUNTS * 0.8 * one.n / most, 1.0)
        said = (
            f"confidence {100 * one.start:.0f} to {100 * one.stop:.0f} %: right {100 * one.accuracy:.1f} %, n={one.n}"
        )
        group = [
            tip(said),
            element(
                "rect",
                x=x(one.start) + 1,
                y=bottom + COUNTS + 6 - height,
                width=x(one.stop) - x(one.start) - 2,
                height=height,
                class_=f"count tone{tone}",
            ),
        ]
        if one.low is not None and one.high is not None:
            group.append(line(x(one.confidence), y(one.low), x(one.confidence), y(one.high), f"bar tone{tone}"))
        group.append(marker(x(one.confidence), y(one.accuracy), tone, 4.5))
        parts.append(element("g", *group))
    spoken_bins = "; ".join(
        f"{100 * one.start:.0f} to {100 * one.stop:.0f} %: {100 * one.accuracy:.1f} % right, n={one.n}"
        for one in bins
        if one.n and one.accuracy is not None
    )
    return figure(bottom + COUNTS + 44, title, f"By confidence: {spoken_bins}", *parts, name=name)
