"""The page of a sweep: OUT/frontier.json in, one self-contained HTML file out, in the look of the report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ..journal import write_text
from ..metrics.measures import MEASURES
from ..runs.scores import Cell
from .figures.frontier import COMPARED, UNTOUCHED, Point, frontier_plot, setting_mark
from .figures.svg import element, line, points
from .frontier_rows import LATENCY_NOTE, chosen_on, columns, latency, loss, marks, picked_by, spread
from .numbers import as_cell
from .page import content_hash
from .sections import written
from .templates import part, template

View = dict[str, Any]

TITLES = {
    "sra_u/sra_s": ("Refusing the hazardous, answering the harmless", False),
    "sra_u/utility": ("Refusing the hazardous, staying useful", False),
    "masr_pooled/rr": ("Attack success against refusals", True),
    "under_safety/over_safety": ("Under-safety against over-safety", True),
}
"""Title of each pair of axes, and whether both rates are better when lower."""


def write_frontier_page(found: Mapping[str, Any], out: Path) -> Path:
    """Write the page of what `Sweep.run` found to `out`, whole or not at all; return its path."""
    write_text(out, render(found))
    return out


def render(found: Mapping[str, Any]) -> str:
    """The page as text."""
    style = "".join(map(part, ("results.css", "page.css", "frontier.css")))
    settings = sum(point["kind"] == "setting" for point in found["points"])
    target = found["config"]["target"]
    seeded = any(point["choose"]["spread"] for point in found["points"])
    notes = [f"{LATENCY_NOTE} Losses are in points."]
    if seeded:
        notes.append("Rates of several seeds are pooled; their interval is about the samples, not about the seeds.")
    return template("frontier.html.jinja").render(
        version=version("holisafe"),
        style=Markup(style),  # noqa: S704 - the package's own files
        style_hash=content_hash(style),
        title=f"HoliSafe frontier: {target}",
        lead=f"{settings:,} setting{'s' * (settings != 1)} of {_listed(_methods(found))} on {target}.",
        chosen_on=chosen_on(found),
        picked_by=picked_by(found),
        dated=f"Written {datetime.now(UTC):%d %B %Y}.".replace(" 0", " "),
        failed=_failed(found),
        keys=_keys(found),
        figures=figures(found),
        reported=_table(found, "report"),
        all=_table(found, "choose"),
        notes=" ".join(notes),
        config=json.dumps(found["config"], indent=2, ensure_ascii=False),
    )


def figures(found: Mapping[str, Any]) -> list[View]:
    """A figure for every pair of axes that has a front: {title, svg, caption}."""
    marks_of = _marks(found)
    drawn = []
    for number, (axes, front) in enumerate(found["fronts"].items()):
        up, across = axes.split("/")
        title, lower = TITLES[axes]
        places = [
            Point(
                number=place,
                name=point["name"],
                mark=marks_of[point["name"]],
                across=as_cell(point["choose"]["rates"].get(across)) or Cell(),
                upward=as_cell(point["choose"]["rates"].get(up)) or Cell(),
                front=point["name"] in front["front"],
                knee=point["name"] == front["knee"],
                picked=point["name"] == found["picks"]["all"],
                label=point["name"] if point["kind"] != "setting" else "",
            )
            for place, point in enumerate(found["points"], start=1)
            if not point["choose"]["failed"]
        ]
        svg = frontier_plot(
            places,
            across_name=f"{MEASURES[across].label}, %",
            upward_name=f"{MEASURES[up].label}, %",
            lower=lower,
            title=title,
            name=f"frontier-{number + 1}",
        )
        knee = f"Its knee is {front['knee']}." if front["knee"] else "It has no knee."
        judges = found["judges"]
        by = f"judged by {judges['safety']}"
        if across == "utility":
            by += f", utility by {judges.get('utility', 'lmms-eval')}"
        caption = (
            f"On the split to choose on, {by}. {len(front['front'])} of {len(places)} settings are on the front. {knee}"
        )
        drawn.append({"title": title, "svg": Markup(svg), "caption": caption})  # noqa: S704 - figures escape their text
    return drawn


def _marks(found: Mapping[str, Any]) -> dict[str, int]:
    """{SETTING: its mark}: one a method, in their order."""
    methods, neutral = _methods(found), {"untouched": UNTOUCHED, "compared": COMPARED}
    return {
        point["name"]: neutral[point["kind"]] if point["kind"] in neutral else 1 + methods.index(point["method"])
        for point in found["points"]
    }


def _methods(found: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(point["method"] for point in found["points"] if point["method"]))


def _keys(found: Mapping[str, Any]) -> list[View]:
    """What the marks mean."""
    entries = [(setting_mark(13, 13, UNTOUCHED), "the untouched model")]
    entries += [(setting_mark(13, 13, number), method) for number, method in enumerate(_methods(found), start=1)]
    if COMPARED in _marks(found).values():
        entries.append((setting_mark(13, 13, COMPARED), "compared models"))
    entries.append((line(1, 13, 25, 13, "front"), "front"))
    diamond = points([(13, 1), (25, 13), (13, 25), (1, 13)])
    if any(front["knee"] for front in found["fronts"].values()):
        entries.append((element("polygon", points=diamond, class_="knee"), "knee"))
    if found["picks"]["all"]:
        entries.append((element("circle", cx=13, cy=13, r=9.5, class_="picked"), "picked"))
    return [
        {
            "svg": Markup(  # noqa: S704 - fixed pieces
                element("svg", mark, class_="figure key", viewBox="0 0 26 26", aria_hidden="true")
            ),
            "text": words,
        }
        for mark, words in entries
    ] + [{"svg": "", "text": "numbers are rows of the table"}]


def _table(found: Mapping[str, Any], phase: str) -> View:
    """The points that were measured in a phase, with their losses."""
    measured = [(place, point) for place, point in enumerate(found["points"], start=1) if point[phase]]
    named = columns([point for _, point in measured])
    rows = [
        {
            "number": place,
            "name": point["name"].replace(",", ", "),
            "marks": marks(found, point) if phase == "choose" else _role(found, point),
            "cells": [_cell(point[phase], name) for name in named],
            "latency": latency(point[phase]),
        }
        for place, point in measured
    ]
    caption = "Rate, 95 % interval, valid verdicts, and loss against the untouched model."
    return {"caption": caption, "columns": list(named.values()), "rows": rows}


def _cell(numbers: Mapping[str, Any], measure: str) -> View | None:
    cell = as_cell(numbers["rates"].get(measure))
    if cell is None:
        return None
    shown = written(cell)
    lost, _, around = loss(numbers, measure).partition(" [")
    notes = [shown["invalid"], lost, f"[{around}" if around else "", spread(numbers, measure)]
    return {**shown, "notes": [note for note in notes if note]}


def _role(found: Mapping[str, Any], point: Mapping[str, Any]) -> list[str]:
    return [mark for mark in marks(found, point) if not mark.startswith(("front", "knee"))]


def _failed(found: Mapping[str, Any]) -> int:
    return sum(
        numbers["failed"] for point in found["points"] for numbers in (point["choose"], point["report"]) if numbers
    )


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
