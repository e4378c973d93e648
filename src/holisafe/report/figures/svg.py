"""The few SVG pieces that the figures share. Everything that reaches the output is escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 380
"""Every figure is this wide in its own units, so that text of 12 is about 11 px on a phone and 15 px on a desk."""

TONES = 5
"""Tone 0 is the neutral grey of "before", tone 1 the accent; the stylesheet defines them all."""


@dataclass(frozen=True)
class Series:
    """One run in a figure: its title, and the tone that stands for it in every figure, table and card."""

    title: str
    tone: int


def element(name: str, *children: str, **attributes: object) -> str:
    """`<name attributes>children</name>`. Children are markup; attribute values are escaped.

    `class_` is written `class`; an underscore inside a name becomes a hyphen; None leaves the attribute out.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_written(value), quote=True)}"'
        for key, value in attributes.items()
        if value is not None
    )
    inside = "".join(children)
    return f"<{name}{written}>{inside}</{name}>" if inside else f"<{name}{written}/>"


def _written(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def text(x: float, y: float, content: str, *, anchor: str = "start", class_: str | None = None) -> str:
    """A line of text, its baseline at y."""
    where = None if anchor == "start" else anchor
    return element("text", escape(content), x=float(x), y=float(y), text_anchor=where, class_=class_)


def tip(content: str) -> str:
    """What a pointer that rests on the surrounding element is told."""
    return element("title", escape(content))


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> str:
    """A straight line."""
    return element("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), class_=class_)


def marker(x: float, y: float, tone: int, radius: float = 5.0) -> str:
    """A run's mark. Tones differ in shape as well as in colour: they stay apart in grey and to every eye."""
    kind = f"mark tone{tone % TONES}"
    r = radius
    if tone % TONES == 0:
        return element("circle", cx=float(x), cy=float(y), r=r - 0.5, class_=f"{kind} hollow")
    if tone % TONES == 1:
        return element("circle", cx=float(x), cy=float(y), r=r, class_=kind)
    corners = {
        2: [(0, -r - 1), (r + 1, 0), (0, r + 1), (-r - 1, 0)],
        3: [(-r + 0.5, -r + 0.5), (r - 0.5, -r + 0.5), (r - 0.5, r - 0.5), (-r + 0.5, r - 0.5)],
        4: [(0, -r - 0.5), (r + 0.5, r - 0.5), (-r - 0.5, r - 0.5)],
    }[tone % TONES]
    return element("polygon", points=points((x + dx, y + dy) for dx, dy in corners), class_=kind)


def points(places: Iterable[tuple[float, float]]) -> str:
    """Coordinates as SVG's `points` wants them."""
    return " ".join(f"{x:.2f},{y:.2f}" for x, y in places)


def legend(series: Sequence[Series], y: float, x: float = 8.0) -> str:
    """One mark and title a run, on one line from the left; nothing for a single run."""
    if len(series) < 2:
        return ""
    parts = []
    for one in series:
        parts += [marker(x + 5, y - 4, one.tone), text(x + 15, y, one.title, class_="small")]
        x += 30 + 6.6 * len(one.title)
    return "".join(parts)


def figure(height: float, title: str, description: str, *children: str, name: str) -> str:
    """The whole drawing, `WIDTH` x height. Title and description are what a screen reader says.

    `name` must be its own in the page: the two are tied to the drawing through ids made from it.
    """
    return element(
        "svg",
        element("title", escape(title), id=f"{name}-title"),
        element("desc", escape(description), id=f"{name}-desc"),
        *children,
        class_="figure",
        viewBox=f"0 0 {WIDTH} {height:g}",
        role="img",
        aria_labelledby=f"{name}-title {name}-desc",
    )
