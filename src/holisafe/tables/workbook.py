"""Sheets of an .xlsx workbook."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..limits import beyond, counted, limits
from .delimited import column_names
from .fields import is_blank
from .files import regular_file

Rows = Iterator[tuple[int, dict[str, Any]]]

UNCOMPUTED = "a formula that was never computed; open the file in a spreadsheet and save it"

ESCAPED = re.compile("_x([0-9A-Fa-f]{4})_")
"""How a text in a workbook holds what XML cannot, such as the line ends of Windows (ECMA-376, ST_Xstring)."""


class Fault(str):
    """Stands in a row for a cell without a value that could be meant: what is wrong with it."""

    __slots__ = ()


def xlsx_rows(path: Path, member: str | None) -> Rows:
    """The rows of the sheet called `member`, or of the first sheet that has any.

    A formula without its value is a fault, and so is a cell that shows an error.
    """
    name, sheets = chosen_sheet(path, member)
    try:
        yield from _sheet(path, name)
    except InputError as fault:
        said = f"{fault.problem} (sheet {name!r} of {', '.join(sheets)})" if len(sheets) > 1 else fault.problem
        raise InputError(said, where=path, row=fault.row, field=fault.field) from None


def chosen_sheet(path: Path, member: str | None) -> tuple[str, list[str]]:
    """The sheet called `member`, or the first one that has rows under a header, and the names of all."""
    regular_file(path, (".xlsx",))
    sheets = sheet_names(path)
    if member is not None and member not in sheets:
        raise InputError(f"no sheet {member!r}; the sheets are: {', '.join(sheets)}", where=path)
    for name in sheets if member is None else [member]:
        if _has_rows(path, name):
            return name, sheets
    one = "no sheet holds" if member is None else f"sheet {member!r} does not hold"
    raise InputError(f"{one} rows under a header; the sheets are: {', '.join(sheets)}", where=path)


def _has_rows(path: Path, name: str) -> bool:
    """Whether a sheet holds rows; one that cannot be read does, which reading it will tell."""
    try:
        return next(_sheet(path, name), None) is not None
    except InputError:
        return True


def sheet_names(path: Path) -> list[str]:
    """The names of the workbook's sheets, in its order."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(part.file_size for part in archive.infolist() if part.filename.endswith((".xml", ".rels")))
        if size > limits().unpacked:
            raise beyond("unpacked", "bytes unpacked", path)
        book = _opened(path, values=True)
        book.close()
        return [sheet.title for sheet in book.worksheets]
    except (InputError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001  (broken archives and broken XML raise nearly anything)
        raise InputError(f"not a readable xlsx file ({error})", where=path) from None


def _sheet(path: Path, name: str) -> Rows:
    columns: list[str] = []
    header = 0
    for line, cells in counted(_lines(path, name), path):
        if all(map(is_blank, cells)):
            continue
        if not columns:
            columns, header = column_names(cells, path), line
            continue
        more = {f"column {at}": cell for at, cell in enumerate(cells, 1) if at > len(columns) and not is_blank(cell)}
        row = dict.fromkeys(columns) | dict(zip(columns, cells, strict=False)) | more
        for field, cell in row.items():
            if isinstance(cell, Fault):
                raise InputError(cell, where=path, row=line - header, field=field)
        yield line - header, row


def _lines(path: Path, name: str) -> Iterator[list[Any]]:
    """The cells of every line of a sheet, as it shows them, beside its formulas, which tell what was not computed."""
    books = [_opened(path, values=values) for values in (True, False)]
    try:
        sheets = [book[name] for book in books]
        for sheet in sheets:
            sheet.reset_dimensions()  # the size that some writers store is wrong
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for shown, written in zip(*(sheet.iter_rows() for sheet in sheets), strict=True):
                yield [_value(*cells) for cells in zip(shown, written, strict=True)] if shown else []
    except (InputError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001
        raise InputError(f"not a readable xlsx file ({error})", where=path) from None
    finally:
        for book in books:
            book.close()


def _value(shown: Any, written: Any) -> Any:
    """A cell's value; "str" is the type of a text that was computed, also where it is empty."""
    if shown.value is None:
        return Fault(UNCOMPUTED) if written.data_type == "f" and shown.data_type != "str" else None
    if shown.data_type == "e":
        return Fault(f"the spreadsheet shows the error {shown.value}")
    return ESCAPED.sub(_character, shown.value) if isinstance(shown.value, str) else shown.value


def _character(escaped: re.Match[str]) -> str:
    return chr(int(escaped[1], 16))


def _opened(path: Path, *, values: bool) -> Any:
    from openpyxl import load_workbook

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about styles, which no row has
        return load_workbook(path, read_only=True, data_only=values)
