"""`holisafe judge`: judge the responses in a run folder or in any table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from ..errors import ExitCode, InputError
from ..taxonomy import COMBINATIONS, Expected, adheres

COLUMN_OF = {"string-match": "refused", "exact-match": "correct"}
"""The judges that need no more than a table, and the column that tells for which rows their verdict has that label."""

EXPECTED_BY: dict[str, dict[str, Expected]] = {
    "expected": {"answer": "answer", "refuse": "refuse"},
    "combination": COMBINATIONS,
}
"""The columns that tell what is expected of a model; the first that a table has is believed."""


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
    _judge_table(source, judge[0], response_column, out, reference_column)


def _judge_run(folder: Path, specs: list[str], rejudge_invalid: bool, max_cost: float | None, root: str | None) -> None:
    from ..evaluation import judge_run
    from ..judges import open_judge
    from ..report.tables import run_table
    from .progress import showing_progress
    from .run import print_reasons
    from .screen import screen

    judges = [open_judge(spec) for spec in dict.fromkeys(specs)]
    with showing_progress() as progress:
        scores = judge_run(
            folder, judges, root=root, rejudge_invalid=rejudge_invalid, max_cost=max_cost, progress=progress
        )
    screen().print(run_table(scores))
    for remark in scores.remarks:
        print(f"note: {remark}")
    for name, count in scores.judge_errors.items():
        print(f"{count} calls of {name} failed; the same command tries them again.")
    if scores.judge_errors:
        print_reasons(folder)
    raise typer.Exit(ExitCode.RESUMABLE if scores.judge_errors else ExitCode.DONE)


def _judge_table(table: Path, judge: str, response_column: str, out: Path, reference_column: str | None) -> None:
    from ..judges import open_judge
    from ..judges.base import Judged
    from ..records import Response, Sample
    from ..tables import text_columns, write_csv

    opened, kind = open_judge(judge), judge.partition(":")[0]
    if kind not in COLUMN_OF:
        raise InputError(f"{kind} needs more than a table; these do not: {', '.join(COLUMN_OF)}")
    if kind == "exact-match" and reference_column is None:
        raise InputError("exact-match needs --reference-column")
    if out.resolve() == table.resolve():
        raise InputError("this is the table itself; --out must be another file", where=out)
    if not out.parent.is_dir():
        raise InputError("no such folder", where=out.parent)

    read = text_columns(table)
    for column in filter(None, (response_column, reference_column)):
        if column not in read:
            raise InputError(f"no such column; the table has: {', '.join(read)}", where=table, field=column)
    texts = read[response_column]
    references = read[reference_column] if reference_column else [None] * len(texts)
    expected = _expected(read, table)
    items = [
        Judged(
            Sample(benchmark="table", id=str(row), query="", expected="answer", reference=reference),
            Response(sample_id=str(row), target="table", text=text),
        )
        for row, (text, reference) in enumerate(zip(texts, references, strict=True))
    ]
    by_row = {int(verdict.sample_id): verdict.label for verdict in opened.judge(items)}
    labels = [by_row[row] for row in range(len(texts))]

    column = COLUMN_OF[kind]
    found = [None if label is None else label == column for label in labels]
    added = {column: found}
    if expected is not None:
        pairs = zip(labels, expected, strict=True)
        added["adheres"] = [None if label is None else adheres(label, wanted) for label, wanted in pairs]
    for name in added:
        if name in read:
            raise InputError("the table has such a column already; rename it there", where=table, field=name)
    judged: dict[str, Sequence[object]] = {**read, **added}
    newline, marked = _layout(table)
    write_csv(out, list(judged), zip(*judged.values(), strict=True), newline=newline, marked=marked)
    print(
        f"{out}: {len(texts)} responses judged by {opened.name} (version {opened.version}): "
        f"{found.count(True)} {column}, {found.count(False)} not, {found.count(None)} invalid"
    )


def _layout(path: Path) -> tuple[str, bool]:
    """How the lines of a table end, and whether a byte order mark begins it."""
    with path.open("rb") as file:
        first = file.readline(1 << 20)
    return "\r\n" if first.endswith(b"\r\n") else "\n", first.startswith(b"\xef\xbb\xbf")


def _expected(table: Mapping[str, list[str]], where: Path) -> list[Expected] | None:
    """What every row expects of a model, or None when no column tells. Raises InputError for a word that is unknown."""
    for field, words in EXPECTED_BY.items():
        if field in table:
            for row, value in enumerate(table[field], start=1):
                if value not in words:
                    raise InputError(f"{value!r} is none of {', '.join(words)}", where=where, row=row, field=field)
            return [words[value] for value in table[field]]
    return None
