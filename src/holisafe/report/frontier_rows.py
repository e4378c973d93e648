"""The rows of a sweep's tables, on the page and in the terminal: one list, so that the two cannot disagree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..metrics.measures import MEASURES, TWINS, lower_is_better
from .grids import Grid
from .numbers import ABSENT, as_cell, cell_text, percent, points

SHOWN = ("sra_u", "sra_s", "utility", "masr_pooled", "rr", *TWINS)
"""Measures that have a column; those that nothing measured are left out, and twins where the other one is there."""

LATENCY_NOTE = (
    "Median seconds an answer, which depend on the machine; in brackets their ratio to the untouched model's."
)


def columns(points: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """{MEASURE: its name} of those that any point has."""
    has = {name for point in points for name in point["choose"]["rates"]}
    return {name: MEASURES[name].label for name in SHOWN if name in has and TWINS.get(name) not in has}


def marks(found: Mapping[str, Any], point: Mapping[str, Any]) -> list[str]:
    """What is to be said of a point: `front: SRA_s, RR`, `knee: Utility`, `picked`."""
    said = ["untouched"] if point["kind"] == "untouched" else ["compared"] if point["kind"] == "compared" else []
    of_front = [axes for axes, front in found["fronts"].items() if point["name"] in front["front"]]
    of_knee = [axes for axes, front in found["fronts"].items() if front["knee"] == point["name"]]
    said += [f"{word}: {_costs(axes)}" for word, axes in (("front", of_front), ("knee", of_knee)) if axes]
    picks = found["picks"]
    if point["name"] == picks["all"]:
        said.append("picked")
    elif point["name"] in picks["methods"].values():
        said.append(f"picked of {point['method']}")
    failed = sum(phase["failed"] for phase in (point["choose"], point["report"]) if phase)
    return [*said, f"failed calls: {failed:,}"] if failed else said


def _costs(fronts: Sequence[str]) -> str:
    """Fronts, each named by what safety is set against."""
    return ", ".join(MEASURES[axes.split("/")[1]].label for axes in fronts)


def latency(numbers: Mapping[str, Any]) -> str:
    """`0.025 s (1.3×)`."""
    if numbers["latency"] is None:
        return ABSENT
    ratio = numbers["latency_ratio"]
    return f"{numbers['latency']:.3g} s" + (f" ({ratio:.2f}×)" if ratio else "")


def loss(numbers: Mapping[str, Any], measure: str) -> str:
    """`loss +2.0 [−0.5, 4.5]` in points against the untouched model; nothing where it is not known."""
    found = numbers["losses"].get(measure)
    if found is None:
        return ""
    return f"loss {points(found['loss'], found['low'], found['high'])}"


def spread(numbers: Mapping[str, Any], measure: str) -> str:
    """`seeds 70.0 to 74.0`: the lowest and highest rate of several seeds."""
    rates = numbers["spread"].get(measure)
    if not rates:
        return ""
    low, high = (percent(rate).removesuffix(" %") for rate in (min(rates), max(rates)))
    return f"{len(rates)} seeds {low} to {high}"


def chosen_on(found: Mapping[str, Any]) -> str:
    """Which split settings were chosen on and which is reported, with how many samples each."""
    sides = {"choose": "Chosen on", "report": "reported on"}
    said = []
    for phase, words in sides.items():
        parts = {name: part for name, part in found["parts"].items() if name.startswith(phase)}
        listed = [
            f"{part['benchmark']}{', ' + part['split'] + ' split' if part['split'] else ''} (n={part['samples']:,})"
            for part in parts.values()
        ]
        said.append(f"{words} {' and '.join(listed)}")
    return f"{said[0]}; {said[1]}. Nothing was picked by what is reported."


def picked_by(found: Mapping[str, Any]) -> str:
    """By which rule a setting was picked, and which; empty where no rule was given."""
    picks = found["picks"]
    if not picks["measure"]:
        return ""
    better = "lowest" if lower_is_better(picks["measure"]) else "highest"
    rule = f"The {better} {MEASURES[picks['measure']].label}"
    if picks["limits"]:
        rule += f" within {' and '.join(picks['limits'])}"
    if picks["all"] is None:
        return f"{rule}: no setting keeps the limits and beats the untouched model."
    return f"{rule}: {picks['all']}."


def setting_table(found: Mapping[str, Any], phase: str) -> Grid:
    """A terminal table of all points that were measured in a phase."""
    points = [point for point in found["points"] if point[phase]]
    title = "Settings, on the split to choose on" if phase == "choose" else "On the split to report"
    named = columns(points)
    rows = []
    for point in points:
        numbers = point[phase]
        cells = [cell_text(as_cell(numbers["rates"].get(name))) for name in named]
        notes = "; ".join(marks(found, point)) if phase == "choose" else _limits(found, numbers)
        rows.append((point["name"].replace(",", ", "), *cells, latency(numbers), notes))
    picked = frozenset(n for n, point in enumerate(points) if point["name"] == found["picks"]["all"])
    return Grid(title, ("Setting", *named.values(), "Latency", ""), tuple(rows), picked)


def _limits(found: Mapping[str, Any], numbers: Mapping[str, Any]) -> str:
    """The losses that the limits are about."""
    measures = dict.fromkeys(limit.split()[0] for limit in found["picks"]["limits"] if " loss" in limit)
    told = [f"{MEASURES[name].label} {said}" for name in measures if (said := loss(numbers, name))]
    return "; ".join(told)
