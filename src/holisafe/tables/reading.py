"""Rows of a table file, whatever its form: each with its number, each value sound, every fault named.

A row's number is its place in the file from 1, blank rows counted, the header not. Rows come one by one, so that a
file may be larger than memory.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..limits import beyond, limits
from .columnar import parquet_rows
from .delimited import csv_rows, tsv_rows
from .files import check_unicode, reading, regular_file
from .json_rows import json_rows, json_value
from .workbook import xlsx_rows

Rows = Iterator[tuple[int, dict[str, Any]]]

Form = Callable[[Path, str | None], Rows]

FORMS: dict[str, Form] = {
    ".json": json_rows,
    ".jsonl": json_rows,
    ".ndjson": json_rows,
    ".csv": csv_rows,
    ".tsv": tsv_rows,
    ".xlsx": xlsx_rows,
    ".parquet": parquet_rows,
}
"""Ending of a file's name -> what reads its rows: file, and the list or sheet in it that is meant, if it is named."""


def rows(path: Path, member: str | None = None, *, form: Form | None = None) -> Rows:
    """Every row that is not blank, with its number, by column name.

    A .json file holds a list of objects, objects on lines, or an object with such a list: the only one, or the one
    called `member`. Of an .xlsx file the sheet called `member` is read, or the first that has rows. In CSV and TSV
    every value is text; the other forms keep numbers, dates become text, and parquet's pictures stay bytes, or
    {"bytes", "path"}. `form` reads a file in another way than its name tells.

    Raises InputError, naming file, row and field as far as they are known, for a file that is missing, no regular file,
    broken, without rows or beyond `Limits`, for two columns of one name, for an infinite number, and for text that is
    no Unicode. NaN is how pandas writes a missing value, so it is blank.
    """
    regular_file(path, FORMS)
    ending, found = path.suffix.lower(), False
    with reading(path):
        for number, row in (form or FORMS[ending])(path, member):
            found = True
            yield number, _sound_row(row, path, number)
    if not found:
        raise InputError("holds no rows", where=path)


def keyed_rows(path: Path, what: str) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """The objects of a JSON object by name, each with its number, its name and its values, sound and with NaN blank as
    those of `rows`. `what` the file should hold by number is told in the InputError for any other JSON."""
    regular_file(path, (".json",))
    with reading(path):
        found = json_value(path)
        if not isinstance(found, dict) or not found:
            raise InputError(f"not an object of {what} by number", where=path)
        for number, (name, row) in enumerate(found.items(), start=1):
            if not isinstance(row, dict):
                raise InputError("not a JSON object", where=path, row=number)
            check_unicode(name, path, number, ascii(name)[1:-1])
            yield number, name, _sound_row(row, path, number)


def _sound_row(row: dict[str, Any], path: Path, number: int) -> dict[str, Any]:
    """The row with every value checked; the common ones, short text in ASCII, pass at once."""
    most = limits()

    def sound(value: Any, field: str, depth: int) -> Any:
        if isinstance(value, str | bytes):
            if len(value) > most.value:
                raise beyond("value", "characters", path, number, field)
            if isinstance(value, str):
                check_unicode(value, path, number, field)
            return value
        if isinstance(value, float):
            if math.isfinite(value):
                return value
            if math.isnan(value):
                return None
            raise InputError(f"{value} is no finite number", where=path, row=number, field=field)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            if value.bit_length() > 128:
                raise InputError("a number of more than 38 digits", where=path, row=number, field=field)
            return value
        if isinstance(value, list | tuple | dict):
            if depth >= most.depth:
                raise beyond("depth", "lists and objects within each other", path, number, field)
            if isinstance(value, dict):
                return {sound(str(name), field, depth): sound(held, field, depth + 1) for name, held in value.items()}
            return [sound(held, field, depth + 1) for held in value]
        return value.isoformat() if hasattr(value, "isoformat") else str(value)

    for name, value in row.items():
        if not name.isascii():
            check_unicode(name, path, number, ascii(name)[1:-1])
        if not (type(value) is str and value.isascii() and len(value) <= most.value):
            row[name] = sound(value, name, 1)
    return row


def text_columns(path: Path) -> dict[str, list[str]]:
    """A whole table as columns of text: a blank cell is "", true and false are words."""
    found: dict[str, list[str]] = {}
    for at, (_, row) in enumerate(rows(path)):
        for name in row:
            found.setdefault(name, [""] * at)
        for name, values in found.items():
            values.append(_word(row.get(name)))
    return found


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False, default=str)
