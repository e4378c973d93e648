"""CSV tables of any origin, kept as the text they are: no value is guessed at, none is changed on the way out."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..journal import whole_file

BYTE_ORDER_MARK = "\ufeff"


@dataclass(frozen=True)
class CsvTable:
    """Column names and rows of text; its line ends, and whether it had a byte order mark, as spreadsheets write."""

    columns: list[str]
    rows: list[list[str]]
    newline: str = "\n"
    marked: bool = False

    def column(self, name: str, where: str | Path) -> list[str]:
        """One column's values. Raises InputError unless exactly one column has that name."""
        if self.columns.count(name) != 1:
            problem = "two columns of this name" if name in self.columns else "no such column"
            raise InputError(f"{problem}; the table has: {', '.join(self.columns)}", where=where, field=name)
        at = self.columns.index(name)
        return [row[at] for row in self.rows]

    def with_column(self, name: str, values: list[str]) -> CsvTable:
        """The table with one more column at its right."""
        rows = [[*row, value] for row, value in zip(self.rows, values, strict=True)]
        return CsvTable([*self.columns, name], rows, self.newline, self.marked)


def read_csv(path: Path) -> CsvTable:
    """Read a comma-separated UTF-8 file with a header line.

    Raises InputError, naming the row where it can, for a file that is missing, empty, without rows, not UTF-8, no CSV
    (such as the unfinished quote of a half-written file), or with a row longer or shorter than the header.
    """
    try:
        raw = path.read_bytes()
        text = raw.decode("utf-8")
    except FileNotFoundError:
        raise InputError("no such file", where=path) from None
    except UnicodeDecodeError as error:
        row = len(list(_reader(raw[: error.start].decode("utf-8") + "?"))) - 1
        raise InputError(f"not UTF-8 text (byte {raw[error.start]:#04x})", where=path, row=row or None) from None
    body = text.removeprefix(BYTE_ORDER_MARK)
    reader, rows = _reader(body, strict=True), list[list[str]]()
    try:
        columns = next((line for line in reader if line), [])
        for line in reader:
            if not line and len(columns) > 1:
                continue  # a blank line
            rows.append(line or [""])
            if len(rows[-1]) != len(columns):
                raise InputError(f"{len(rows[-1])} values for {len(columns)} columns", where=path, row=len(rows))
    except csv.Error as error:
        raise InputError(f"not CSV ({error})", where=path, row=len(rows) + 1) from None
    if not rows:
        raise InputError("the table has no rows" if columns else "the file is empty", where=path)
    newline = "\r\n" if body.partition("\n")[0].endswith("\r") else "\n"
    return CsvTable(columns, rows, newline, marked=text != body)


def write_csv(table: CsvTable, path: Path) -> None:
    """Write the table so that at every moment the file is whole: what was there before, or all of this."""
    with whole_file(path) as unfinished, unfinished.open("w", encoding="utf-8", newline="") as file:
        file.write(BYTE_ORDER_MARK if table.marked else "")
        for row in (table.columns, *table.rows):
            line = ",".join(map(_quoted, row)) or '""'  # an empty line would be no row
            file.write(line + table.newline)


def _quoted(value: str) -> str:
    """The value in quotes where it needs them. The standard writer forgets those around a lone carriage return."""
    return f'"{value.replace(chr(34), chr(34) * 2)}"' if any(mark in value for mark in ',"\r\n') else value


def _reader(text: str, *, strict: bool = False) -> Iterator[list[str]]:
    csv.field_size_limit(sys.maxsize)
    return csv.reader(io.StringIO(text, newline=""), strict=strict)
