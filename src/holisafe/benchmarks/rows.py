"""Rows of a table file, whatever its format, and their fields: what is unusable is named by file, row and field.

Rows count from 1, as in `InputError`; a header is not counted. A cell without a value (None, NaN, spaces) is blank.
"""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..journal import read_json

Row = Mapping[str, Any]


def read_rows(path: Path, member: str | None = None) -> list[dict[str, Any]]:
    """Every row of a .json, .jsonl, .csv, .tsv, .xlsx or .parquet file, in order, by column name.

    A .json file holds a list of objects, or an object with such a list: the only one, or the one called `member`. Of
    an .xlsx file the first sheet is read, blank rows at its end apart. In CSV every value is text; the other formats
    keep numbers, and parquet's image columns stay {"bytes", "path"}.

    Raises InputError, naming the row where it can, when the file is missing, half-written or holds no rows.
    """
    formats: dict[str, Callable[[], list[dict[str, Any]]]] = {
        ".json": lambda: _json(path, member),
        ".jsonl": lambda: _jsonl(path),
        ".csv": lambda: _csv(path, ","),
        ".tsv": lambda: _csv(path, "\t"),
        ".xlsx": lambda: _xlsx(path),
        ".parquet": lambda: _parquet(path),
    }
    read = formats.get(path.suffix.lower())
    if read is None:
        raise InputError(f"unknown kind of table; known: {', '.join(formats)}", where=path)
    if not path.is_file():
        raise InputError("not a file" if path.exists() else "no such file", where=path)
    rows = read()
    if not rows:
        raise InputError("holds no rows", where=path)
    return rows


def is_blank(value: Any) -> bool:
    """Whether a cell holds nothing: None, NaN, or text of spaces only."""
    return (
        value is None
        or (isinstance(value, float) and math.isnan(value))
        or (isinstance(value, str) and not value.strip())
    )


def text(row: Row, field: str, where: str | Path, number: int) -> str:
    """A field's text, as it stands there. Raises InputError when it is missing, blank or no text."""
    value = _present(row, field, where, number)
    if not isinstance(value, str):
        raise InputError(f"not text: {short(value)}", where=where, row=number, field=field)
    return value


def optional_text(row: Row, field: str, where: str | Path, number: int) -> str | None:
    """As `text`, but None where the cell is blank or the table has no such column."""
    return None if is_blank(row.get(field)) else text(row, field, where, number)


def label(row: Row, field: str, where: str | Path, number: int) -> str:
    """A name or number as text without surrounding spaces, a whole number without a decimal point."""
    value = _present(row, field, where, number)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InputError(f"neither a number nor text: {short(value)}", where=where, row=number, field=field)
    return str(value).strip()


def truth(row: Row, field: str, where: str | Path, number: int) -> bool:
    """True or false, also as the words or as 1 and 0."""
    value = _present(row, field, where, number)
    known = {"true": True, "1": True, "false": False, "0": False}
    word = str(value).strip().lower()
    if word not in known:
        raise InputError(f"neither true nor false: {short(value)}", where=where, row=number, field=field)
    return known[word]


def one_of(row: Row, field: str, known: Collection[str], where: str | Path, number: int) -> str:
    """A label that is one of `known`. Raises InputError listing them otherwise."""
    value = label(row, field, where, number)
    if value not in known:
        raise InputError(
            f"unknown value {short(value)}; known: {', '.join(known)}", where=where, row=number, field=field
        )
    return value


def short(value: Any) -> str:
    """A value as a message shows it: benchmark text is never printed at length."""
    return repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."


def _present(row: Row, field: str, where: str | Path, number: int) -> Any:
    if field not in row:
        raise InputError(f"missing; the row has: {', '.join(map(str, row))}", where=where, row=number, field=field)
    if is_blank(row[field]):
        raise InputError("blank", where=where, row=number, field=field)
    return row[field]


def _objects(values: list[Any], path: Path) -> list[dict[str, Any]]:
    for number, value in enumerate(values, start=1):
        if not isinstance(value, dict):
            raise InputError("not a JSON object", where=path, row=number)
    return values


def _json(path: Path, member: str | None) -> list[dict[str, Any]]:
    value = read_json(path)
    if isinstance(value, dict):
        lists = {name: held for name, held in value.items() if isinstance(held, list) and member in (None, name)}
        if len(lists) != 1:
            wanted = f"a list called {member!r}" if member else "one list of rows"
            raise InputError(f"an object without {wanted}; it holds: {', '.join(value) or 'nothing'}", where=path)
        value = next(iter(lists.values()))
    if not isinstance(value, list):
        raise InputError("not a list of rows", where=path)
    return _objects(value, path)


def _jsonl(path: Path) -> list[dict[str, Any]]:
    values = []
    for number, line in enumerate(decoded(path).removesuffix("\n").split("\n"), start=1):
        try:
            values.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise InputError(f"not JSON ({error})", where=path, row=number) from None
    return _objects(values, path)


def _csv(path: Path, delimiter: str) -> list[dict[str, Any]]:
    csv.field_size_limit(sys.maxsize)
    lines = csv.reader(io.StringIO(decoded(path), newline=""), delimiter=delimiter, strict=True)
    rows: list[dict[str, Any]] = []
    try:
        columns = _columns(next(lines, []), path)
        for values in lines:
            if not values:
                continue  # a blank line
            if len(values) != len(columns):
                problem = f"{len(values)} values for {len(columns)} columns"
                raise InputError(problem, where=path, row=len(rows) + 1)
            rows.append(dict(zip(columns, values, strict=True)))
    except csv.Error as error:
        raise InputError(f"not CSV ({error})", where=path, row=len(rows) + 1) from None
    return rows


def _xlsx(path: Path) -> list[dict[str, Any]]:
    import warnings

    from openpyxl import load_workbook

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about styles, which no row has
            book = load_workbook(path, read_only=True, data_only=True)
            sheet = book.worksheets[0]
            sheet.reset_dimensions()  # the size that some writers store is wrong
            lines = [list(line) for line in sheet.iter_rows(values_only=True)]
            book.close()
    except Exception as error:  # noqa: BLE001  (broken archives and broken XML raise nearly anything)
        raise InputError(f"not a readable xlsx file ({error})", where=path) from None
    while lines and all(map(is_blank, lines[-1])):
        lines.pop()
    columns = _columns(lines[0] if lines else [], path)
    return [{name: line[at] if at < len(line) else None for at, name in enumerate(columns)} for line in lines[1:]]


def _parquet(path: Path) -> list[dict[str, Any]]:
    import pyarrow as arrow
    from pyarrow import parquet

    try:
        rows: list[dict[str, Any]] = parquet.ParquetFile(path).read().to_pylist()
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise InputError(f"not a readable parquet file ({error})", where=path) from None
    return rows


def _columns(header: list[Any], path: Path) -> list[str]:
    names = ["" if is_blank(name) else str(name).strip() for name in header]
    while names and not names[-1]:
        names.pop()
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two columns called {name!r}", where=path)
    if not names:
        raise InputError("the file is empty", where=path)
    return names


def decoded(path: Path) -> str:
    """A text file without its byte order mark. Raises InputError when it is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text (byte {error.object[error.start]:#04x})", where=path) from None
