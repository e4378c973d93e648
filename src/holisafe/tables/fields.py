"""The fields of a row: what is unusable is named by file, row and field.

A cell without a value (None, NaN, spaces) is blank. Rows count from 1, as in `InputError`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError

Row = Mapping[str, Any]

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""What no id may hold: records are kept under ids, by line."""


class PictureName(str):
    """What stands in a row for a picture, or for bytes taken for one: a name, never something to ask."""

    problem = "a picture, or bytes that are no UTF-8 text"


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
    return _name(row, field, where, number).strip()


def identity(row: Row, field: str, where: str | Path, number: int) -> str:
    """An id: text as it stands there, or a whole number, on one line; the one way in for ids of every kind of file."""
    value = _name(row, field, where, number)
    if CONTROL.search(value):
        problem = f"an id is one line without control characters: {short(value)}"
        raise InputError(problem, where=where, row=number, field=field)
    return value


def truth(row: Row, field: str, where: str | Path, number: int) -> bool:
    """True or false, also as the words, as yes and no or as 1 and 0."""
    value = _present(row, field, where, number)
    known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
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


def column_of(row: Row, names: Collection[str], where: str | Path, number: int) -> str:
    """The first of the names that the row has. Raises InputError when it has none."""
    for name in names:
        if name in row:
            return name
    problem = f"the row has none; it has: {', '.join(map(str, row))}"
    raise InputError(problem, where=where, row=number, field=" or ".join(names))


def short(value: Any) -> str:
    """A value as a message shows it: benchmark text is never printed at length."""
    shown = repr(value[:60] if isinstance(value, str | list) else value)
    return shown if len(shown) <= 60 else shown[:57] + "..."


def _name(row: Row, field: str, where: str | Path, number: int) -> str:
    value = _present(row, field, where, number)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InputError(f"neither a number nor text: {short(value)}", where=where, row=number, field=field)
    return str(value)


def _present(row: Row, field: str, where: str | Path, number: int) -> Any:
    if field not in row:
        raise InputError(f"missing; the row has: {', '.join(map(str, row))}", where=where, row=number, field=field)
    if is_blank(row[field]):
        raise InputError("blank", where=where, row=number, field=field)
    if isinstance(row[field], PictureName):
        raise InputError(row[field].problem, where=where, row=number, field=field)
    return row[field]
