"""What tuning gives, and what is done with it, on the frontier of the calibrations without training (seen style)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from holisafe.metrics.frontier import oriented, pareto_front
from holisafe.report.figures.frontier import COMPARED, UNTOUCHED, Point, frontier_plot
from holisafe.report.numbers import as_cell
from holisafe.report.templates import part

ACROSS, UPWARD = "rr", "masr_pooled"

LIGHT = ":root { color-scheme: light; background: #fff; }"
"""A picture in a page does not know the page's colours."""


class Place(NamedTuple):
    """A setting, its two cells as JSON, and whether it needed training."""

    name: str
    across: Mapping[str, Any]
    upward: Mapping[str, Any]
    trained: bool


def places(rows: Mapping[str, Any], calibrations: Path) -> list[Place]:
    """The settings that docs/calibration_results.json reports on test, then those of `rows`."""
    without = json.loads(calibrations.read_text(encoding="utf-8"))["wide"]["points"]
    found = [
        Place(one["name"].partition(",file=")[0], one["report"]["rates"][ACROSS], one["report"]["rates"][UPWARD], False)
        for one in without
        if one["report"] and one["kind"] != "compared"
    ]
    trained = {name: styles["seen"] for name, styles in rows.items() if name != "before"}
    return found + [Place(name, one[ACROSS]["pooled"], one[UPWARD]["pooled"], True) for name, one in trained.items()]


def on_front(found: list[Place]) -> list[Place]:
    """Those that no other one beats."""
    front = pareto_front(
        [(oriented(ACROSS, one.across["rate"]), oriented(UPWARD, one.upward["rate"])) for one in found]
    )
    return [one for one, on in zip(found, front, strict=True) if on]


def draw(found: list[Place], out: Path) -> None:
    """The figure, as an SVG file."""
    front = on_front(found)
    marked = [
        Point(
            number,
            one.name,
            UNTOUCHED if one.name == "untouched" else 1 if one.trained else COMPARED,
            as_cell(one.across),  # type: ignore[arg-type]
            as_cell(one.upward),  # type: ignore[arg-type]
            front=one in front,
            picked=False,
            label="" if one.trained else one.name.partition(",")[0],
        )
        for number, one in enumerate(found, 1)
    ]
    svg = frontier_plot(
        marked,
        across_name="RR, %",
        upward_name="mASR, pooled, %",
        lower=True,
        title="With and without training",
        name="f",
    )
    write_alone(svg, out)


def write_alone(svg: str, out: Path, *sheets: str) -> None:
    """A page's figure as a file of its own, with the page's styles in it and those of other `sheets`."""
    style = "".join(map(part, ("results.css", "page.css", "frontier.css", *sheets))) + LIGHT
    opened, body = svg.split(">", 1)
    out.write_text(f'{opened} xmlns="http://www.w3.org/2000/svg"><style>{style}</style>{body}', encoding="utf-8")


def numbered(found: list[Place]) -> str:
    """`1 untouched, 2 ...`: what the numbers in the figure stand for."""
    return ", ".join(f"{number} `{one.name}`" for number, one in enumerate(found, 1))
