"""CSV and TSV: text as it stands, whatever ends the lines, with commas or, as some spreadsheets write, semicolons."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..limits import beyond, counted, limits
from .fields import is_blank
from .files import lines, opened


def csv_rows(path: Path, member: str | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows under the header line; a header without commas tells that semicolons or tabs are meant."""
    del member
    yield from _rows(path, ",")


def tsv_rows(path: Path, member: str | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows under the header line, between tabs."""
    del member
    yield from _rows(path, "\t")


def column_names(header: list[Any], path: Path) -> list[str]:
    """The header's names, "column N" where there is none, without nameless ones at the end."""
    names = ["" if is_blank(name) else str(name).strip() for name in header]
    while names and not names[-1]:
        names.pop()
    names = [name or f"column {number}" for number, name in enumerate(names, start=1)]
    for name, times in Counter(names).items():
        if times > 1:
            raise InputError(f"two columns called {name!r}", where=path)
    if not names:
        raise InputError("the file is empty", where=path)
    return names


def _rows(path: Path, delimiter: str) -> Iterator[tuple[int, dict[str, Any]]]:
    csv.field_size_limit(limits().value)
    number = 0
    with opened(path) as file:
        told = lines(file, path)
        first = next((line for line in told if line.strip()), "")
        if first.startswith("sep=") and len(first.strip()) == 5:  # what Excel puts before a header
            delimiter, first = first[4], next(told, "")
        elif delimiter == "," and "," not in first:
            delimiter = max(",;\t", key=first.count)
        reader = csv.reader(chain([first], told), delimiter=delimiter, strict=True)
        try:
            columns = column_names(next(reader, []), path)
            for number, cells in counted(reader, path):
                if not cells or (len(columns) > 1 and all(map(is_blank, cells))):
                    continue
                if len(cells) > len(columns) and all(map(is_blank, cells[len(columns) :])):
                    cells = cells[: len(columns)]
                if len(cells) != len(columns):
                    problem = f"{len(cells)} values for {len(columns)} columns"
                    raise InputError(problem, where=path, row=number)
                yield number, dict(zip(columns, cells, strict=True))
        except csv.Error as error:
            if "field limit" in str(error):
                raise beyond("value", "characters", path, number + 1) from None
            said = "a quote is never closed" if "unexpected end" in str(error) else str(error)
            raise InputError(f"not CSV ({said})", where=path, row=number + 1) from None
