"""`holisafe judge`: judge the responses in any table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from ..taxonomy import COMBINATIONS, Expected, adheres

if TYPE_CHECKING:
    from ..interchange.csv_table import CsvTable

COLUMN_OF = {"string-match": "refused", "exact-match": "correct"}
"""The judges that need no more than a table, and the column that tells for which rows their verdict has that label."""

EXPECTED_BY: dict[str, dict[str, Expected]] = {
    "expected": {"answer": "answer", "refuse": "refuse"},
    "combination": COMBINATIONS,
}
"""The columns that tell what is expected of a model; the first that a table has is believed."""


def judge(
    table: Annotated[Path, typer.Argument(metavar="TABLE.csv", help="A table with a column of responses.")],
    judge: Annotated[str, typer.Option(metavar="J", help="string-match:MODE or exact-match.")],
    response_column: Annotated[str, typer.Option(metavar="COL", help="The column that holds the responses.")],
    out: Annotated[Path, typer.Option(metavar="OUT.csv", help="Where to write the table with its new columns.")],
    reference_column: Annotated[str | None, typer.Option(metavar="COL", help="The right answers: exact-match.")] = None,
) -> None:
    """Judge the responses in any table, and write the table with the verdicts.

    string-match adds `refused`, exact-match adds `correct`: true, false, or empty for an empty response. Where a column
    `expected` (answer, refuse) or `combination` (SSS, SSU ...) says what should be, `adheres` is added too. All else in
    the table stays as it is.
    """
    from ..interchange.csv_table import read_csv, write_csv
    from ..judges import open_judge
    from ..judges.base import Judged
    from ..records import Response, Sample

    opened, kind = open_judge(judge), judge.partition(":")[0]
    if kind not in COLUMN_OF:
        raise InputError(f"{kind} needs more than a table; these do not: {', '.join(COLUMN_OF)}")
    if kind == "exact-match" and reference_column is None:
        raise InputError("exact-match needs --reference-column")
    if out.resolve() == table.resolve():
        raise InputError("this is the table itself; --out must be another file", where=out)
    if not out.parent.is_dir():
        raise InputError("no such folder", where=out.parent)

    read = read_csv(table)
    texts = read.column(response_column, table)
    references = read.column(reference_column, table) if reference_column else [None] * len(texts)
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
    for name, values in added.items():
        if name in read.columns:
            raise InputError("the table has such a column already; rename it there", where=table, field=name)
        read = read.with_column(name, ["" if value is None else str(value).lower() for value in values])
    write_csv(read, out)
    print(
        f"{out}: {len(texts)} responses judged by {opened.name} (version {opened.version}): "
        f"{found.count(True)} {column}, {found.count(False)} not, {found.count(None)} invalid"
    )


def _expected(table: CsvTable, where: Path) -> list[Expected] | None:
    """What every row expects of a model, or None when no column tells. Raises InputError for a word that is unknown."""
    for field, words in EXPECTED_BY.items():
        if field in table.columns:
            values = table.column(field, where)
            for row, value in enumerate(values, start=1):
                if value not in words:
                    raise InputError(f"{value!r} is none of {', '.join(words)}", where=where, row=row, field=field)
            return [words[value] for value in values]
    return None
