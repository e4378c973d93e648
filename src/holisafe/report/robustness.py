"""What attacks cost: of runs of one model, one asked as it is and others under attacks, how much each rate rose."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..metrics.measures import MEASURES
from ..runs.run import Run, attacked_from
from .figures.moved import Move, moved
from .figures.svg import Series
from .grids import Grid
from .numbers import ABSENT, bracket, percent, points

COLUMNS = ("asr.SSU", "asr.SUU", "asr.USU", "asr.UUU", "masr_macro", "masr_pooled", "under_safety", "rr", "over_safety",
           "utility")  # fmt: skip
DRAWN = (("masr_macro", "masr_pooled", "under_safety"), ("rr", "over_safety"), ("utility",))
"""What a figure shows: of each of these the first that there is."""

NOTE = (
    "Change from the run without attack, in points, with its paired 95 % interval over the n samples of both; out are "
    "those without two valid verdicts."
)


@dataclass(frozen=True)
class Robustness:
    """One model by one judge: `measures` by key, its own rate of each where it is known, and for every attack a row of
    `metrics.comparison.compare` a measure, None where nothing was compared."""

    model: str
    judge: str
    measures: tuple[str, ...]
    rates: tuple[float | None, ...]
    attacks: Mapping[str, tuple[Mapping[str, Any] | None, ...]]

    @property
    def title(self) -> str:
        return f"What each attack costs {self.model}, by {self.judge}"


def robustness(runs: Sequence[Run], rows: Sequence[Mapping[str, Any]]) -> list[Robustness]:
    """Every model and judge. `rows` are those of `metrics.comparison.compare`; nothing where no run is another one
    under an attack."""
    studies = {base.title: attacks for base in runs if (attacks := _attacks_on(base, runs))}
    found = {(row["judge"], row["first"], row["second"], row["measure"]): row for row in rows}
    told = []
    for base, attacks in studies.items():
        for judge in dict.fromkeys(row["judge"] for row in rows):
            keys = tuple(key for key in COLUMNS if any((judge, base, run.title, key) in found for run in attacks))
            under = {run.title: tuple(found.get((judge, base, run.title, key)) for key in keys) for run in attacks}
            rates = tuple(row["rate_first"] if row else None for row in under[attacks[0].title])
            names = _apart(attacks)
            if keys:
                told.append(
                    Robustness(base, judge, keys, rates, {names[title]: cells for title, cells in under.items()})
                )
    return told


def robustness_grids(found: Iterable[Robustness]) -> list[Grid]:
    """A table for every model and judge: its rates as it is, then their changes under each attack."""
    grids = []
    for one in found:
        lines = [(f"{one.model}, as it is", *map(percent, one.rates))]
        for attack, cells in one.attacks.items():
            lines.append((f"under {attack}", *map(_changed, cells)))
        columns = ("Asked", *(MEASURES[key].label for key in one.measures))
        grids.append(Grid(one.title, columns, tuple(lines), note=NOTE))
    return grids


def robustness_figure(one: Robustness, name: str) -> str:
    """The same changes drawn, an attack a row, of the measures that sum up the others; `name` makes its ids unique."""
    keys = [key for choice in DRAWN for key in [next((k for k in choice if k in one.measures), None)] if key]
    places = [one.measures.index(key) for key in keys]
    series = [Series(MEASURES[key].label, tone) for tone, key in enumerate(keys, start=1)]
    moves = {attack: [_move(cells[place]) for place in places] for attack, cells in one.attacks.items()}
    return moved(moves, series, title=one.title, name=name)


def attack_of(run: Run) -> str:
    """The attacks on a run's target, as they were written: `noise,sigma=60 + typed`."""
    return " + ".join(run.target.split("!")[1:]) or run.title


def robustness_view(one: Robustness) -> dict[str, Any]:
    """The same table as a page's template reads it."""

    def row(label: str, cells: Sequence[dict[str, str] | None]) -> dict[str, Any]:
        return {"label": label, "note": "", "class": "", "cells": cells}

    nothing = {"interval": "", "count": "", "invalid": ""}
    asked = [None if rate is None else {"rate": percent(rate), **nothing} for rate in one.rates]
    rows = [row(f"{one.model}, as it is", asked)]
    rows += [row(f"under {attack}", [*map(_parts, cells)]) for attack, cells in one.attacks.items()]
    columns = [{"title": MEASURES[key].label, "tone": 0} for key in one.measures]
    return {"caption": NOTE, "first": "Asked", "compared": False, "columns": columns, "rows": rows}


def _parts(row: Mapping[str, Any] | None) -> dict[str, str] | None:
    """A change, its interval, on how many samples, and how many are out."""
    if row is None:
        return None
    change, between = points(row["difference"]), bracket(row["low"], row["high"], signed=True)
    out = sum(row["left_out"].values())
    return {"rate": change, "interval": between, "count": f"n={row['n']:,}", "invalid": f"{out:,} out" if out else ""}


def _changed(row: Mapping[str, Any] | None) -> str:
    """`+16.7 [+0.5, +31.2] n=39 (2 out)`."""
    if (parts := _parts(row)) is None:
        return ABSENT
    shown = [parts["rate"], parts["interval"], parts["count"], parts["invalid"] and f"({parts['invalid']})"]
    return " ".join(part for part in shown if part)


def _move(row: Mapping[str, Any] | None) -> Move | None:
    return None if row is None or row["difference"] is None else Move(row["difference"], row["low"], row["high"])


def _attacks_on(base: Run, runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if attacked_from(base, run)]


def _apart(runs: Sequence[Run]) -> dict[str, str]:
    """Title -> attack; with the title behind it where two runs are under the same."""
    names = [attack_of(run) for run in runs]
    return {
        run.title: name if names.count(name) == 1 else f"{name} ({run.title})"
        for run, name in zip(runs, names, strict=True)
    }
