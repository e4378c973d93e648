"""CSV tables written, with nothing in them that a spreadsheet would run.

A spreadsheet takes a cell that begins with = + - @, a tab or a line break for a formula, and model answers are free to
begin so. Such text, unless it is a number, gets a leading apostrophe, and so does text that begins with an apostrophe
itself: taking one away from every text cell that begins with one gives the text back (`as_text`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..journal import whole_file

FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r", "\n", "'")
"""How text begins that a leading apostrophe is put before."""

NUMBER = re.compile(r"[-+]?\d+(\.\d*)?([eE][-+]?\d+)?")

BYTE_ORDER_MARK = "\ufeff"
"""What tells spreadsheets that a file is UTF-8."""


def write_csv(
    path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, newline: str = "\n", marked: bool = True
) -> None:
    """Write a table, so that at every moment the file is whole: what was there before, or all of this."""
    with whole_file(path) as unfinished, unfinished.open("w", encoding="utf-8", newline="") as file:
        file.write(BYTE_ORDER_MARK if marked else "")
        for row in (columns, *rows):
            file.write(csv_text(row) + newline)


def csv_text(row: Iterable[Any]) -> str:
    """One line without its end: None is empty, true and false are words, text is inert."""
    return ",".join(map(_cell, row)) or '""'  # an empty line would be no row


def as_text(cell: str) -> str:
    """The text that a text cell of such a table stands for."""
    return cell.removeprefix("'")


def _cell(value: Any) -> str:
    """The value in quotes where it needs them. The standard writer forgets those around a lone carriage return."""
    if value is None:
        return ""
    told = str(value).lower() if isinstance(value, bool) else str(value)
    if isinstance(value, str) and told.startswith(FORMULA) and not NUMBER.fullmatch(told):
        told = "'" + told
    return f'"{told.replace(chr(34), chr(34) * 2)}"' if any(mark in told for mark in ',"\r\n') else told
