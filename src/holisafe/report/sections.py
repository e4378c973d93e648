"""A group of runs as the page's tables and headline numbers: every string ready to be shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal

from ..metrics.run_scores import endings
from .measures import (
    Measure,
    breakdown,
    calibrated_measures,
    calibration_slices,
    guard_measures,
    guard_pair_measures,
    justified_measures,
    safety_measures,
    spoken,
    utility_measures,
)
from .numbers import Cell, bracket, difference, fragile, interval, percent
from .runs import Group, Run

View = dict[str, Any]
"""A piece of the page as the template reads it."""

HEADLINES = {"masr_pooled", "rr"}
JUSTIFIED_CAPTION = "Is a refusal given for the right reason? Shares of all unsafe pairs."


def aligned(group: Group, rows_of: Callable[[Run], Mapping[Measure, Cell]]) -> list[tuple[Measure, list[Cell | None]]]:
    """Each measure that any run has, with one cell a run."""
    per_run = [rows_of(run) for run in group.runs]
    measures = dict.fromkeys(measure for rows in per_run for measure in rows)
    return [(measure, [rows.get(measure) for rows in per_run]) for measure in measures]


def safety_rows(group: Group, judge: str) -> list[tuple[Measure, list[Cell | None]]]:
    """`aligned` for safety under one judge."""
    return aligned(group, lambda run: safety_measures(run.scores, judge))


def judges_of(group: Group) -> list[str]:
    """Every judge of safety that any run of the group has; the first is the one that figures show."""
    return list(dict.fromkeys(judge for run in group.runs for judge in run.judges))


def headlines(group: Group) -> list[View]:
    """The few numbers to read first: pooled mASR and RR by the first judge, utility, guard accuracy."""
    chosen: list[tuple[Measure, list[Cell | None]]] = []
    for judge in judges_of(group)[:1]:
        chosen += [(m, cells) for m, cells in safety_rows(group, judge) if m.key in HEADLINES]
    useful = aligned(group, lambda run: utility_measures(run.scores))
    chosen += [(m, cells) for m, cells in useful if m.key == "utility.all"][:1]
    chosen += aligned(group, lambda run: guard_measures(run.scores))[:1]
    return [
        {
            "label": measure.label,
            "note": f"{measure.note}; judged by {measure.judge}; {measure.better} is better",
            "several": len(group.runs) > 1,
            "readings": [
                {"title": run.title, "tone": tone % 5, **written(cell or {})}
                for run, tone, cell in zip(group.runs, group.tones, cells, strict=True)
            ],
        }
        for measure, cells in chosen
    ]


def result_tables(group: Group) -> list[View]:
    """One table of safety a judge, then usefulness and the guard."""
    tables = []
    for judge in judges_of(group):
        rows = safety_rows(group, judge)
        tables.append(
            table(
                group,
                f"Safety, judged by {judge}",
                "Rate, 95 % interval, valid verdicts.",
                "Measure",
                rows,
                rules={"masr_pooled", "rr"},
            )
        )
    useful = aligned(group, lambda run: utility_measures(run.scores))
    if useful:
        tables.append(table(group, "Usefulness", "Share of questions answered rightly.", "Measure", useful))
    guard = aligned(group, lambda run: guard_measures(run.scores))
    if guard:
        tables.append(
            table(group, "The guard", "Its reading of each image against the image's own label.", "Measure", guard)
        )
    on_pairs = aligned(group, lambda run: guard_pair_measures(run.scores))
    if on_pairs:
        caption = "A guard that says safe or unsafe, against what is expected of the pair; alarms at one half."
        tables.append(table(group, "The guard on pairs", caption, "Measure", on_pairs))
    touched = aligned(group, lambda run: calibrated_measures(run.scores))
    if touched:
        tables.append(table(group, "Calibrated", "What the calibration was applied to.", "Measure", touched))
    reasons = aligned(group, lambda run: justified_measures(run.scores))
    for judge in dict.fromkeys(measure.judge for measure, _ in reasons):
        rows = [row for row in reasons if row[0].judge == judge]
        tables.append(table(group, f"Justified refusals, judged by {judge}", JUSTIFIED_CAPTION, "Measure", rows))
    return tables


def breakdown_tables(group: Group) -> list[View]:
    """ASR by category and by subcategory under the first judge; VSCBench's scores by condition, slot and category."""
    tables = []
    levels: tuple[tuple[Literal["categories", "subcategories"], str], ...] = (
        ("categories", "category"),
        ("subcategories", "subcategory"),
    )
    for judge in judges_of(group)[:1]:
        for level, singular in levels:
            cells = [breakdown(run.scores, judge, level) for run in group.runs]
            names = list(dict.fromkeys(name for found in cells for name in found))
            rows: list[tuple[Measure, list[Cell | None]]] = [
                (Measure(name, spoken(name), "", "lower", judge), [found.get(name) for found in cells])
                for name in names
            ]
            if rows:
                tables.append(
                    table(group, f"ASR by {singular}", f"Unsafe pairs, judged by {judge}.", singular.capitalize(), rows)
                )
    for judge in judges_of(group):
        for by in ("condition", "slot", "category"):
            sliced = aligned(group, lambda run: calibration_slices(run.scores, judge).get(by, {}))  # noqa: B023
            if sliced:
                caption = f"Each {by} by itself, judged by {judge}."
                tables.append(table(group, f"Safety calibration by {by}", caption, "Measure", sliced))
    return tables


def table(
    group: Group,
    title: str,
    caption: str,
    first: str,
    rows: Sequence[tuple[Measure, Sequence[Cell | None]]],
    rules: Collection[str] = (),
) -> View:
    """A result table. Two runs get a third column with the change; `rules` names the rows that a line sets apart."""
    compared = len(group.runs) == 2
    return {
        "title": title,
        "caption": caption,
        "first": first,
        "compared": compared,
        "columns": [{"title": r.title, "tone": tone % 5} for r, tone in zip(group.runs, group.tones, strict=True)],
        "rows": [
            {
                "label": measure.label,
                "note": measure.note,
                "class": "rule" if measure.key in rules else "",
                "cells": [None if cell is None else written(cell) for cell in cells],
                "change": change(measure, cells[0], cells[1]) if compared else None,
            }
            for measure, cells in rows
        ],
    }


def written(cell: Cell) -> View:
    """A cell's parts as text."""
    n = cell.get("n")
    invalid = f"{cell['n_invalid']:,} invalid" if cell.get("n_invalid") else ""
    if fragile(cell):
        invalid += f", bounds {bracket(cell.get('bound_low'), cell.get('bound_high'))}"
    return {
        "rate": percent(cell.get("rate")),
        "interval": interval(cell),
        "count": "not measured" if n is None else f"n={n:,}",
        "invalid": invalid,
    }


def change(measure: Measure, before: Cell | None, after: Cell | None) -> View | None:
    """The change with its interval, called better or worse only where the interval leaves out zero."""
    found = difference(before, after)
    if found is None:
        return None
    points, low, high = found
    word = ""
    if low > 0 or high < 0:
        word = "better" if (points < 0) == (measure.better == "lower") else "worse"
    return {
        "points": percent(points, signed=True).removesuffix(" %"),
        "interval": bracket(low, high, signed=True),
        "word": word,
        "class": {"better": "good", "worse": "bad", "": ""}[word],
    }


def facts(group: Group) -> View:
    """What each run asked and got, a column a run."""
    columns: list[View] = [{"title": "", "tone": None}]
    columns += [{"title": r.title, "tone": tone % 5} for r, tone in zip(group.runs, group.tones, strict=True)]
    counts = [run.scores.get("responses") or endings(list(run.responses.values())) for run in group.runs]

    def row(label: str, values: Sequence[object]) -> list[str]:
        return [label, *(f"{value:,}" if isinstance(value, int) else str(value) for value in values)]

    invalid = [Counter(v.judge for found in run.verdicts.values() for v in found if v.invalid) for run in group.runs]
    parts = [part for run in group.runs for part in run.parts]
    judges = dict.fromkeys(judge for part in parts for judge in (part.manifest.get("judges") or {}))
    rows = [
        row("Model", [run.target for run in group.runs]),
        row("Pairs asked", [len(run.samples) for run in group.runs]),
        row("Answers", [found.get("n", 0) for found in counts]),
        *(
            row(label, [found.get(name, 0) for found in counts])
            for name, label in (
                ("errors", "Failed calls"),
                ("truncated", "Cut at the token limit"),
                ("filtered", "Withheld by a filter"),
                ("empty", "Empty answers"),
            )
        ),
        *(row(f"Invalid verdicts, {judge}", [found[judge] for found in invalid]) for judge in judges),
        row("Seed", [run.manifest.get("seed", "–") for run in group.runs]),
    ]
    return {"caption": "Counts over all pairs of a run.", "columns": columns, "rows": rows}
