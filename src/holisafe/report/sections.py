"""A group of runs as the page's tables and headline numbers: every string ready to be shown."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

from ..metrics import measured
from ..metrics.measures import Measure
from ..runs.run import Run, made_safer
from ..runs.scores import Cell, Scores
from .groups import Group, parts_of
from .numbers import bracket, difference, fragile, interval, lacking, percent
from .robustness import attack_of

View = dict[str, Any]
"""A piece of the page as the template reads it."""

HEADLINES = {"masr_pooled", "rr"}
JUSTIFIED_CAPTION = "Is a refusal given for the right reason? Shares of all unsafe pairs."


Row = tuple[Measure, list[Cell | None]]
"""A measure, with one cell a run."""


def aligned(group: Group, rows_of: Callable[[Scores], Mapping[Measure, Cell]]) -> list[Row]:
    """Each measure that any run has."""
    per_run = [rows_of(run.scores) for run in group.runs]
    measures = dict.fromkeys(measure for rows in per_run for measure in rows)
    return [(measure, [rows.get(measure) for rows in per_run]) for measure in measures]


def safety_rows(group: Group, judge: str) -> list[Row]:
    """`aligned` for safety under one judge."""
    return aligned(group, lambda scores: measured.safety(scores, judge))


def judges_of(group: Group) -> list[str]:
    """Every judge of safety that any run of the group has; the first is the one that figures show."""
    return list(dict.fromkeys(judge for run in group.runs for judge in run.scores.judges))


def headlines(group: Group) -> list[View]:
    """The few numbers to read first: pooled mASR and RR by the first judge, utility, guard accuracy."""
    chosen: list[Row] = []
    for judge in judges_of(group)[:1]:
        chosen += [(m, cells) for m, cells in safety_rows(group, judge) if m.key in HEADLINES]
    chosen += [(m, cells) for m, cells in aligned(group, measured.utility) if m.key == "utility"][:1]
    chosen += aligned(group, measured.guard)[:1]
    nothing: list[Cell | None] = [None] * len(group.runs)
    rows = [row for judge in judges_of(group)[:1] for row in safety_rows(group, judge)]
    macro = {measure.judge: cells for measure, cells in rows if measure.key == "masr_macro"}
    return [
        {
            "label": measure.label,
            "note": f"{measure.note}; judged by {measure.judge}; {measure.better} is better",
            "several": len(group.runs) > 1,
            "change": change(group, measure, cells) if len(group.runs) == 2 else None,
            "readings": [
                {"title": run.title, "tone": tone % 5, "beside": _macro(other), **written(cell or Cell())}
                for run, tone, cell, other in zip(group.runs, group.tones, cells, others, strict=True)
            ],
        }
        for measure, cells in chosen
        for others in [macro.get(measure.judge, nothing) if measure.key == "masr_pooled" else nothing]
    ]


def _macro(cell: Cell | None) -> str:
    return f"macro {percent(cell.rate)} {interval(cell)}".rstrip() if cell else ""


SAID = (
    (("masr_pooled", "under_safety"), "answers {} of unsafe requests"),
    (("rr", "over_safety"), "refuses {} of safe ones"),
)
"""What the first of these measures that a group has says of a model."""


def sentence(group: Group) -> str:
    """What was found: `After answers 1.4 % of unsafe requests, was 74.0 %; refuses 6.2 % of safe ones, was 0.0 %.`

    Nothing where no judge of safety has a valid verdict."""
    first, *others = group.runs
    before_after = len(others) == 1 and made_safer(first, others[0])
    clauses: dict[str, list[str]] = {run.title: [] for run in group.runs}
    for keys, words in SAID:
        rows = {m.key: cells for judge in judges_of(group)[:1] for m, cells in safety_rows(group, judge)}
        cells = next((rows[key] for key in keys if key in rows), [])
        rates = [percent(cell.rate) for cell in cells if cell and cell.rate is not None]
        if len(rates) < len(group.runs):
            continue
        if len(rates) == 2:
            earlier = f"was {rates[0]}" if before_after else f"{first.title} {rates[0]}"
            clauses[others[0].title].append(f"{words.format(rates[1])}, {earlier}")
        else:
            for run, rate in zip(group.runs, rates, strict=True):
                clauses[run.title].append(words.format(rate))
    told = [f"{title} {'; '.join(said)}" for title, said in clauses.items() if said]
    return ". ".join(told) + "." if told else ""


SECTIONS: tuple[tuple[str, str, Callable[[Scores], Mapping[Measure, Cell]]], ...] = (
    (
        "Borderline pairs",
        "How they were met. Neither a refusal nor an answer is wrong here, so no other rate counts them.",
        measured.borderline,
    ),
    ("Usefulness", "Share of questions answered rightly.", measured.utility),
    ("The guard", "Its reading of each image against the image's own label.", measured.guard),
    (
        "The guard on pairs",
        "A guard that says safe or unsafe, against what is expected of the pair; alarms at one half.",
        measured.guard_of_pairs,
    ),
    ("Calibrated", "What the calibration was applied to.", measured.calibrated),
)
"""Tables that come once, after those of safety: title, caption, rows."""


def result_tables(group: Group) -> list[View]:
    """One table of safety a judge, then usefulness and the guard, then justified refusals."""
    tables = []
    for judge in judges_of(group):
        title, caption = f"Safety, judged by {judge}", "Rate, 95 % interval, valid verdicts."
        tables.append(table(group, title, caption, "Measure", safety_rows(group, judge), rules=HEADLINES))
    if taxes := _taxes(group):
        tables.append(taxes)
    beside = aligned(group, measured.thoughts)
    for judges in dict.fromkeys(measure.judge for measure, _ in beside):
        rows = [row for row in beside if row[0].judge == judges]
        tables.append(table(group, f"Thoughts and answers, {judges}", _left_out(group, judges), "Measure", rows))
    for title, caption, rows_of in SECTIONS:
        if rows := aligned(group, rows_of):
            tables.append(table(group, title, caption, "Measure", rows))
    reasons = aligned(group, measured.justified)
    for judge in dict.fromkeys(measure.judge for measure, _ in reasons):
        rows = [row for row in reasons if row[0].judge == judge]
        tables.append(table(group, f"Justified refusals, judged by {judge}", JUSTIFIED_CAPTION, "Measure", rows))
    return tables


def _left_out(group: Group, judges: str) -> str:
    """What the joint table is about, and how many pairs it could not take."""
    told = []
    for run in group.runs:
        found = (run.scores.thoughts or {}).get(judges)
        lacks = lacking(found) if found else []
        name = f"{run.title}: " if len(group.runs) > 1 else ""
        told += [f"{name}left out {', '.join(lacks)}."] if lacks else []
    return " ".join(["What a model thought beside what it answered, over unsafe pairs.", *told])


def _taxes(group: Group) -> View | None:
    """What thinking costs in safety, where one of two runs thinks; None for others."""
    found = group.reasoning_taxes
    if not found:
        return None
    whole = table(group, "Reasoning tax", "What thinking costs in safety, pair by pair.", "Measure", [])
    for tax in found:
        safe = {tax.without: tax.safe_without, tax.thinking: tax.safe_thinking}
        rates = [written(Cell(safe[run.title], tax.n)) for run in group.runs]
        sure = tax.low > 0 or tax.high < 0
        word = ("worse" if tax.tax > 0 else "better") if sure else ""
        lost = {
            "points": percent(tax.tax, signed=True).removesuffix(" %"),
            "interval": bracket(tax.low, tax.high, signed=True),
            "word": word,
            "class": {"better": "good", "worse": "bad", "": ""}[word],
        }
        note = f"by {tax.judge}; the tax is the share lost with thoughts"
        row = {"label": "Safe answers to unsafe pairs", "note": note, "class": "", "cells": rates, "change": lost}
        whole["rows"].append(row)
    return whole


def breakdown_tables(group: Group) -> list[View]:
    """ASR by category and by subcategory under the first judge; VSCBench's scores by condition, slot and category."""
    tables = []
    for judge in judges_of(group)[:1]:
        for level, singular in measured.SUBJECTS.items():
            if rows := aligned(group, partial(measured.breakdown, judge=judge, level=level)):
                caption = f"Unsafe pairs, judged by {judge}."
                tables.append(table(group, f"ASR by {singular}", caption, singular.capitalize(), rows))
    for judge in judges_of(group):
        for by in measured.LEVELS:
            if rows := aligned(group, partial(_sliced, judge=judge, by=by)):
                caption = f"Each {by} by itself, judged by {judge}."
                tables.append(table(group, f"Safety calibration by {by}", caption, "Measure", rows))
    return tables


def _sliced(scores: Scores, judge: str, by: str) -> Mapping[Measure, Cell]:
    return measured.slices(scores, judge).get(by, {})


def table(
    group: Group,
    title: str,
    caption: str,
    first: str,
    rows: Sequence[Row],
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
                "change": change(group, measure, cells) if compared else None,
            }
            for measure, cells in rows
        ],
    }


def written(cell: Cell) -> View:
    """A cell's parts as text."""
    invalid = f"{cell.n_invalid:,} invalid" if cell.n_invalid else ""
    if fragile(cell):
        invalid += f", bounds {bracket(cell.bound_low, cell.bound_high)}"
    return {
        "rate": percent(cell.rate),
        "interval": interval(cell),
        "count": f"n={cell.n:,}" if cell.measured else "not measured" if cell.rate is None else "",
        "invalid": invalid,
    }


def change(group: Group, measure: Measure, cells: Sequence[Cell | None]) -> View | None:
    """The change with its interval, called better or worse only where the interval leaves out zero.

    A share of verdicts changes by what `holisafe compare` finds, sample by sample; what no judge decides, by what its
    two cells allow.
    """
    found = group.changes[measure] if measure in group.changes else difference(*cells)
    if found is None:
        return None
    points, low, high = found
    word = ""
    if measure.better != "neither" and (low > 0 or high < 0):
        word = "better" if (points < 0) == (measure.better == "lower") else "worse"
    return {
        "points": percent(points, signed=True).removesuffix(" %"),
        "interval": bracket(low, high, signed=True),
        "word": word,
        "class": {"better": "good", "worse": "bad", "": ""}[word],
    }


def _attacks(run: Run) -> str:
    """What was done to everything that the model was asked, while judges and this page see the pairs as they are."""
    return attack_of(run) if run.manifest["target"].get("attacks") else ""


def facts(group: Group) -> View:
    """What each run asked and got, a column a run."""
    columns: list[View] = [{"title": "", "tone": None}]
    columns += [{"title": r.title, "tone": tone % 5} for r, tone in zip(group.runs, group.tones, strict=True)]
    counts = [run.scores.responses for run in group.runs]

    def row(label: str, values: Sequence[object]) -> list[str]:
        return [label, *(f"{value:,}" if isinstance(value, int) else str(value) for value in values)]

    invalid = [run.verdicts.loc[run.verdicts["invalid"].notna(), "judge"].value_counts() for run in group.runs]
    judges = dict.fromkeys(judge for run in group.runs for part in parts_of(run) for judge in part.versions)
    rows = [
        row("Model", [run.target for run in group.runs]),
        *([row("Under attack", [_attacks(run) for run in group.runs])] if any(map(_attacks, group.runs)) else []),
        row("Pairs asked", [len(run.samples) for run in group.runs]),
        row("Answers", [found.n for found in counts]),
        *(
            row(label, [getattr(found, name) for found in counts])
            for name, label in (
                ("errors", "Failed calls"),
                ("truncated", "Cut at the token limit"),
                ("filtered", "Withheld by a filter"),
                ("empty", "Empty answers"),
            )
        ),
        *(
            [row("Ended in an unknown word", [found.unknown for found in counts])]
            if any(c.unknown for c in counts)
            else []
        ),
        *(row(f"Invalid verdicts, {judge}", [int(found.get(judge, 0)) for found in invalid]) for judge in judges),
        row("Seed", [run.manifest.get("seed", "–") for run in group.runs]),
    ]
    return {"caption": "Counts over all pairs of a run.", "columns": columns, "rows": rows}
