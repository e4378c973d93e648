"""How large a file may be: a small one can stand for endless rows, and a stranger's file is no reason to run out.

Every limit is named where it is met, and raised by HOLISAFE_LIMITS, such as HOLISAFE_LIMITS=rows=2e7,value=1e9.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from .errors import InputError

SETTING = "HOLISAFE_LIMITS"


@dataclass(frozen=True)
class Limits:
    """What a table, or a file of a run, may hold at most."""

    rows: int = 5_000_000
    """Rows, blank ones counted."""

    cells: int = 50_000_000
    """Cells of all rows together, blank ones counted."""

    value: int = 64 << 20
    """Characters or bytes of what is held at once: a cell, a line, a row of JSON, a JSON file that is no list."""

    depth: int = 50
    """Lists and objects within each other."""

    unpacked: int = 512 << 20
    """Bytes that a compressed file unpacks to, where that is more than `RATIO` times its size."""


RATIO = 200
"""How many times its size an honest file may unpack to."""

Line = TypeVar("Line")


def limits() -> Limits:
    """The limits as the environment sets them. Raises InputError for a setting that is none."""
    return _limits(os.environ.get(SETTING, ""))


@cache
def _limits(setting: str) -> Limits:
    given = {}
    for part in filter(None, setting.split(",")):
        name, _, number = part.partition("=")
        try:
            given[name.strip()] = int(float(number))
        except (ValueError, OverflowError):
            raise InputError(f"{number!r} is no number", where=SETTING, field=name) from None
        if name.strip() not in {one.name for one in fields(Limits)}:
            raise InputError(f"no such limit; known: {', '.join(one.name for one in fields(Limits))}", where=SETTING)
    return replace(Limits(), **given)


def beyond(name: str, unit: str, where: Path, row: int | None = None, field: str | None = None) -> InputError:
    """The fault of what exceeds the limit called `name`, which is in `unit`."""
    most = getattr(limits(), name)
    problem = f"more than the limit of {most:,} {unit}; {SETTING}={name}=N raises it"
    return InputError(problem, where=where, row=row, field=field)


def counted(lines: Iterable[Line], path: Path, cells_of: Callable[[Any], int] = len) -> Iterator[tuple[int, Line]]:
    """Each line with its number. Raises InputError for more of them, or more cells, than the limits allow."""
    most, cells = limits(), 0
    for number, line in enumerate(lines, start=1):
        cells += cells_of(line)
        if number > most.rows:
            raise beyond("rows", "rows", path)
        if cells > most.cells:
            raise beyond("cells", "cells", path, number)
        yield number, line
