"""The responses in any table, judged by a judge that needs no more than the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import InputError
from ..judges import open_judge
from ..judges.base import Judged
from ..records import Response, Sample
from ..tables import text_columns, write_csv
from ..taxonomy import COMBINATIONS, Expected, adheres

COLUMN_OF = {"string-match": "refused", "exact-match": "correct"}
"""The judges that need no more than a table, and the column that tells for which rows their verdict has that label."""

EXPECTED_BY: dict[str, dict[str, Expected]] = {
    "expected": {"answer": "answer", "refuse": "refuse", "borderline": "borderline"},
    "combination": COMBINATIONS,
}
"""The columns that tell what is expected of a model; the first that a table has is believed."""


def judge_table(table: Path, judge: str, response_column: str, out: Path, reference_column: str | None) -> str:
    """Write the table to `out` with what a judge says of each response; what came of it in a line.

    Raises InputError naming the column that is missing or there already, or what the judge needs besides.
    """
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
    return (
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
