"""`holisafe score`: the scores of any table of verdicts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def score(
    table: Annotated[Path, typer.Argument(metavar="TABLE.csv", help="Columns sample_id, combination, adheres.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON.")] = False,
) -> None:
    """holisafe score verdicts.csv

    Compute ASR, mASR and RR of any table of verdicts, with intervals.

    TABLE.csv holds one verdict a row: sample_id, combination (SSS, SSU, SUU, USU, UUU) and adheres (true, false, or
    empty where the verdict is invalid). It may hold judge, cluster (what may fail together, such as the image),
    category, subcategory and expected (answer, refuse). A table from `holisafe export` is read too.
    """
    from ..interchange.run_table import verdict_columns
    from ..metrics.score import score as scores_of
    from ..metrics.verdict_table import verdict_frame
    from ..tables import text_columns

    scores = scores_of(verdict_frame(verdict_columns(text_columns(table)), table))
    if as_json:
        import json

        print(json.dumps(scores, indent=2, ensure_ascii=False))
    else:
        _print(scores, str(table))


def _print(scores: dict[str, Any], title: str) -> None:
    """One column a judge; categories below where the table has them."""
    from ..metrics.measured import breakdown, safety
    from ..report.grids import Grid
    from ..report.numbers import cell_text
    from ..runs.scores import Scores, typed
    from .screen import screen

    console, found = screen(), typed(Scores, {"judges": scores})
    sections = {title: {judge: safety(found, judge) for judge in scores}}
    for level in ("categories", "subcategories"):
        sections[f"ASR by {level}"] = {judge: breakdown(found, judge, level) for judge in scores}
    for heading, columns in sections.items():
        cells = {judge: {measure.label: cell for measure, cell in rows.items()} for judge, rows in columns.items()}
        names = dict.fromkeys(name for column in cells.values() for name in column)
        if not names:
            continue
        rows = [(name, *(cell_text(column.get(name)) for column in cells.values())) for name in names]
        console.print(Grid(heading, ("", *columns), tuple(rows)))
