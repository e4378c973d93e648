"""`holisafe judge`: judge the responses in a run folder or in any table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from .command import leave_if


def judge(
    source: Annotated[Path, typer.Argument(metavar="RUN|TABLE.csv", help="A run folder, or a table of responses.")],
    judge: Annotated[list[str], typer.Option(metavar="J", help="Who judges; for a run it may be repeated.")],
    response_column: Annotated[str | None, typer.Option(metavar="COL", help="Table: where the responses are.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="OUT.csv", help="Table: where to write it, judged.")] = None,
    reference_column: Annotated[
        str | None, typer.Option(metavar="COL", help="Table: the right answers, for exact-match.")
    ] = None,
    rejudge_invalid: Annotated[
        bool, typer.Option("--rejudge-invalid", help="Run: judge again what these judges could not judge.")
    ] = False,
    max_cost: Annotated[float | None, typer.Option(metavar="USD", help="Run: as for `holisafe run`.")] = None,
    root: Annotated[str | None, typer.Option(metavar="DIR", help="Run: the benchmark's folder, if moved.")] = None,
) -> None:
    """holisafe judge runs/before --judge llm/holisafe/openai/gpt-4o
    holisafe judge t.csv --judge string-match --response-column answer --out j.csv

    Judge stored responses: of a run, without asking its model again, or in any table.

    A run keeps the verdicts and gets new scores. To a table, string-match adds `refused`, exact-match adds `correct`:
    true, false, or empty for an empty response. Where a column `expected` (answer, refuse) or `combination` (SSS, SSU
    ...) says what should be, `adheres` is added too. All else in the table stays as it is, except that text which a
    spreadsheet would take for a formula gets a leading apostrophe.
    """
    if source.is_dir():
        _judge_run(source, judge, rejudge_invalid, max_cost, root)
        return
    if response_column is None or out is None:
        raise InputError("a table needs --response-column and --out; a run folder needs neither", where=source)
    if len(judge) != 1:
        raise InputError("a table takes one judge at a time", where=source)
    from ..evaluation.judge_table import judge_table

    print(judge_table(source, judge[0], response_column, out, reference_column))


def _judge_run(folder: Path, specs: list[str], rejudge_invalid: bool, max_cost: float | None, root: str | None) -> None:
    from ..evaluation import judge_run
    from ..judges import open_judge
    from ..report.tables import rates_grid
    from .progress import showing_progress
    from .run import print_reasons
    from .screen import screen

    judges = [open_judge(spec) for spec in dict.fromkeys(specs)]
    with showing_progress() as progress:
        scores = judge_run(
            folder, judges, root=root, rejudge_invalid=rejudge_invalid, max_cost=max_cost, progress=progress
        )
    screen().print(rates_grid([scores]))
    for remark in scores.remarks:
        print(f"note: {remark}")
    if scores.judge_errors:
        print_reasons(folder)
    failed = sum(scores.judge_errors.values())
    leave_if(failed, f"calls of {', '.join(scores.judge_errors)} failed; the same command tries them again")
