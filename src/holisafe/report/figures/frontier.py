"""The frontier: every setting a point on two rates, the front, its knee, what was picked, and the untouched model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ...runs.scores import Cell
from ..numbers import cell_text, percent
from .svg import TONES, element, figure, line, marker, points, text, tip

LEFT, RIGHT, TOP, HEIGHT = 44.0, 368.0, 26.0, 262.0
INSET = 9.0
"""Room between the frame and the first and last number of a scale, for marks that stand there."""

STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.25)
CROWD = 12
"""With more settings than this only the marked ones keep a strong cross."""


UNTOUCHED, COMPARED = 0, -1
"""Marks that are no method's: a hollow circle and a hollow square, both neutral. Methods have 1, 2, 3 ..."""


def tone_of(mark: int) -> int:
    return 0 if mark in (UNTOUCHED, COMPARED) else 1 + (mark - 1) % (TONES - 1)


def setting_mark(x: float, y: float, mark: int, radius: float = 5.5) -> str:
    """A setting's mark: methods take the four tones in turn, the second four hollow, later ones in others' shapes."""
    if mark == COMPARED:
        side = 2 * radius - 2
        place = {"x": x - side / 2, "y": y - side / 2}
        return element("rect", **place, width=side, height=side, class_="mark tone0 hollow")
    if mark == UNTOUCHED:
        return marker(x, y, 0, radius)
    tone, turn = tone_of(mark), (mark - 1) // (TONES - 1)
    shape = 1 + (tone - 1 + turn // 2) % (TONES - 1)
    kind = f"mark tone{tone}" + " hollow" * (turn % 2)
    return marker(x, y, shape, radius).replace(f'"mark tone{shape}"', f'"{kind}"')


@dataclass(frozen=True)
class Point:
    """A setting: its number in the table, its name, the mark of its method, its two rates, and what sets it apart.

    `label` is shown beside the untouched and the compared models; others have their number there.
    """

    number: int
    name: str
    mark: int
    across: Cell
    upward: Cell
    front: bool = False
    knee: bool = False
    picked: bool = False
    label: str = ""

    @property
    def said(self) -> str:
        return self.label or (str(self.number) if self.front or self.knee or self.picked else "")

    @property
    def marked(self) -> bool:
        return bool(self.said)


@dataclass(frozen=True)
class Axis:
    """The part of a rate's scale that is shown, and where it lies: `at(start)` is `first`, `at(stop)` is `last`."""

    start: float
    stop: float
    step: float
    first: float
    last: float

    def at(self, rate: float) -> float:
        inside = min(max(rate, self.start), self.stop)
        return self.first + (inside - self.start) / (self.stop - self.start) * (self.last - self.first)

    def ticks(self) -> list[float]:
        count = round((self.stop - self.start) / self.step)
        return [self.start + number * self.step for number in range(count + 1)]


def frontier_plot(
    settings: Sequence[Point], *, across_name: str, upward_name: str, lower: bool, title: str, name: str
) -> str:
    """Crosses are 95 % intervals, cut at the edge of what is shown. `lower`: both rates are better when lower.

    Settings at the same place make one mark, whose tip names them all. A point without one of its rates is left out.
    """
    placed = [one for one in settings if None not in (one.across.rate, one.upward.rate)]
    bottom = TOP + HEIGHT
    x = _axis([one.across for one in placed], LEFT + INSET, RIGHT - INSET)
    y = _axis([one.upward for one in placed], bottom - INSET, TOP + INSET)
    parts = [*_grid(x, y, bottom), *_names(across_name, upward_name, bottom)]
    better = "better: down and left ↙" if lower else "better: up and right ↗"
    parts.append(text(RIGHT, TOP - 10, better, anchor="end", class_="small ideal-name"))
    crowded = len(placed) > CROWD
    for one in sorted(placed, key=lambda one: one.marked):
        parts += _cross(one, x, y, faint=crowded and not one.marked)
    front = sorted({(one.across.rate, one.upward.rate) for one in placed if one.front})
    if len(front) > 1:
        parts.append(
            element("polyline", points=points((x.at(a or 0.0), y.at(u or 0.0)) for a, u in front), class_="front")
        )
    groups = _together(placed, x, y)
    for here, members in groups:
        parts.append(_mark(here, members, crowded))
    parts += _labels(groups)
    said = _description(placed, across_name, upward_name)
    return figure(bottom + 40, title, said, *parts, name=name)


def _axis(cells: Sequence[Cell], first: float, last: float) -> Axis:
    """The scale from just below the lowest rate or interval to just above the highest, on round numbers."""
    ends = [value for cell in cells for value in (cell.rate, cell.low, cell.high) if value is not None]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    step = next((step for step in STEPS if (high - low) / step <= 6), 0.25)
    start = max(0.0, math.floor(low / step + 1e-9) * step)
    stop = min(1.0, math.ceil(high / step - 1e-9) * step)
    if stop - start < step / 2:
        start, stop = max(0.0, start - step), min(1.0, stop + step)
    return Axis(start, stop, step, first, last)


def _grid(x: Axis, y: Axis, bottom: float) -> list[str]:
    parts = []
    for tick in x.ticks():
        label = f"{100 * tick:.0f}"
        parts.append(line(x.at(tick), TOP, x.at(tick), bottom, "grid"))
        parts.append(text(x.at(tick), bottom + 15, label, anchor="middle", class_="small muted"))
    for tick in y.ticks():
        label = f"{100 * tick:.0f}"
        parts.append(line(LEFT, y.at(tick), RIGHT, y.at(tick), "grid"))
        parts.append(text(LEFT - 6, y.at(tick) + 4, label, anchor="end", class_="small muted"))
    return parts


def _names(across: str, upward: str, bottom: float) -> list[str]:
    turned = f"translate(12 {(TOP + bottom) / 2:g}) rotate(-90)"
    return [
        text((LEFT + RIGHT) / 2, bottom + 32, across, anchor="middle", class_="small"),
        element("g", text(0, 0, upward, anchor="middle", class_="small"), transform=turned),
    ]


def _cross(one: Point, x: Axis, y: Axis, *, faint: bool) -> list[str]:
    here_x, here_y = x.at(one.across.rate or 0.0), y.at(one.upward.rate or 0.0)
    kind = f"bar thin tone{tone_of(one.mark)}" + (" faint" if faint else "")
    parts = []
    if None not in (one.across.low, one.across.high):
        parts.append(line(x.at(one.across.low or 0.0), here_y, x.at(one.across.high or 0.0), here_y, kind))
    if None not in (one.upward.low, one.upward.high):
        parts.append(line(here_x, y.at(one.upward.low or 0.0), here_x, y.at(one.upward.high or 0.0), kind))
    return parts


Group = tuple[tuple[float, float], list[Point]]


def _together(placed: Sequence[Point], x: Axis, y: Axis) -> list[Group]:
    """Points less than two units apart as one, the marked ones on top of the others."""
    groups: list[Group] = []
    for one in sorted(placed, key=lambda one: -one.marked):
        here = x.at(one.across.rate or 0.0), y.at(one.upward.rate or 0.0)
        near = next((members for place, members in groups if math.dist(place, here) < 2), None)
        if near is None:
            groups.append((here, [one]))
        else:
            near.append(one)
    return list(reversed(groups))


def _mark(here: tuple[float, float], members: Sequence[Point], crowded: bool) -> str:
    """The mark of a group, ringed where one of it is picked and boxed where one is the knee; its tip tells all."""
    top = members[0]
    parts = [setting_mark(*here, top.mark, 4.0 if crowded and not top.marked else 5.5)]
    x, y = here
    if any(one.knee for one in members):
        corners = points([(x, y - 12), (x + 12, y), (x, y + 12), (x - 12, y)])
        parts.append(element("polygon", points=corners, class_="knee"))
    if any(one.picked for one in members):
        parts.append(element("circle", cx=x, cy=y, r=9.5, class_="picked"))
    told = [f"{one.number}. {one.name}: {cell_text(one.upward)}, {cell_text(one.across)}" for one in members]
    return element("g", tip("\n".join(told)), *parts)


def _labels(groups: Sequence[Group]) -> list[str]:
    """Each marked group's names beside it, where they cover no other mark or name; left out where there is no room."""
    taken = [(x - 6, y - 6, x + 6, y + 6) for (x, y), members in groups if members[0].marked]
    parts = []
    named_first = sorted(groups, key=lambda group: not any(one.label for one in group[1]))
    for (x, y), members in named_first:
        said = ", ".join(dict.fromkeys(one.said for one in members if one.said))
        if not said:
            continue
        width = 6.4 * len(said)
        room = 15 if any(one.picked or one.knee for one in members) else 9
        for dx, dy, anchor in (
            (room, 4.0, "start"),
            (-room, 4.0, "end"),
            (0.0, -room, "middle"),
            (0.0, room + 9.0, "middle"),
            (room - 3, -room + 3, "start"),
            (room - 3, room + 5, "start"),
            (-room + 3, -room + 3, "end"),
            (-room + 3, room + 5, "end"),
        ):
            left = x + dx - {"start": 0, "middle": width / 2, "end": width}[anchor]
            box = (left, y + dy - 10, left + width, y + dy + 2)
            if left > LEFT and box[2] < RIGHT + 8 and box[1] > TOP - 6 and not any(_overlap(box, o) for o in taken):
                taken.append(box)
                parts.append(text(x + dx, y + dy, said, anchor=anchor, class_="small said"))
                break
    return parts


Box = tuple[float, float, float, float]


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _description(placed: Sequence[Point], across_name: str, upward_name: str) -> str:
    def named(chosen: Sequence[Point]) -> str:
        return "; ".join(
            f"{one.number}. {one.name} ({percent(one.upward.rate)}, {percent(one.across.rate)})" for one in chosen
        )

    parts = [f"{len(placed)} settings by {upward_name} upwards and {across_name} sideways."]
    for title, chosen in (
        ("Front", [one for one in placed if one.front]),
        ("Knee", [one for one in placed if one.knee]),
        ("Picked", [one for one in placed if one.picked]),
        ("For comparison", [one for one in placed if one.label]),
    ):
        if chosen:
            parts.append(f"{title}: {named(chosen)}.")
    return " ".join(parts)
