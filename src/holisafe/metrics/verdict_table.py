"""From the cells of a verdict table, as text, to the frame that `score` reads: every value checked, with its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from ..errors import InputError
from ..taxonomy import COMBINATIONS

NEEDED = ("sample_id", "combination", "adheres")
OPTIONAL = ("repeat", "cluster", "judge", "category", "subcategory", "expected")
EXPECTED = ("answer", "refuse", "borderline")
ADHERES = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False, "": None}


def verdict_frame(columns: Mapping[str, Sequence[str]], where: str | Path) -> pd.DataFrame:
    """The columns `score` knows, typed: `adheres` True, False or None; an empty cluster or category is missing.

    A combination may be empty in a row whose `expected` tells what should have been done. Raises InputError naming row
    and field for a missing column, an unknown combination or `expected`, two that contradict each other, an `adheres`
    that is none of ADHERES (in any case), an empty sample_id or judge, and a sample that one judge judged twice.
    """
    for name in NEEDED:
        if name not in columns:
            raise InputError(f"no such column; the table has: {', '.join(columns)}", where=where, field=name)
    values: dict[str, list[str | bool | None]] = {
        name: [value or None for value in columns[name]] for name in (*NEEDED, *OPTIONAL) if name in columns
    }
    values["combination"] = [value.strip().upper() or None for value in columns["combination"]]
    values["adheres"] = [ADHERES.get(value.strip().lower(), value) for value in columns["adheres"]]

    seen: dict[tuple[object, ...], int] = {}
    rows = len(values["sample_id"])
    judges, tasks = values.get("judge", [""] * rows), values.get("expected", [None] * rows)
    times = values.get("repeat", [None] * rows)
    for row, (judge, time, expected, sample, combination, adheres) in enumerate(
        zip(judges, times, tasks, *(values[name] for name in NEEDED), strict=True), start=1
    ):
        if sample is None:
            raise InputError("empty", where=where, row=row, field="sample_id")
        if judge is None:
            raise InputError("empty", where=where, row=row, field="judge")
        if expected not in (*EXPECTED, None):
            raise InputError(f"{expected!r} is none of {', '.join(EXPECTED)}", where=where, row=row, field="expected")
        if combination not in COMBINATIONS and (combination or not expected):
            known = ", ".join(COMBINATIONS)
            problem = f"unknown combination {combination or ''!r}; known: {known}"
            raise InputError(problem, where=where, row=row, field="combination")
        if expected and combination and expected != COMBINATIONS[str(combination)]:
            problem = f"contradicts combination {combination}"
            raise InputError(problem, where=where, row=row, field="expected")
        if isinstance(adheres, str):
            raise InputError(f"{adheres!r} is none of true, false and empty", where=where, row=row, field="adheres")
        if (first := seen.setdefault((judge, sample, time), row)) != row:
            by = f" by {judge}" if judge else ""
            raise InputError(
                f"{sample!r} was already judged{by} in row {first}", where=where, row=row, field="sample_id"
            )
    return pd.DataFrame(values, dtype=object)
