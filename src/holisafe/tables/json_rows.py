"""JSON: a list of objects, or objects on lines, read one by one; or an object that holds such a list, read whole."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from ..errors import InputError
from ..limits import beyond, counted, limits
from .files import lines, opened

BLOCK = 1 << 16
"""Characters of a list read at once."""

SPACES = re.compile(r"[ \t\r\n]*")

Object = dict[str, Any]

BLANK: Object = {}
"""Stands for a blank line, which is counted."""


def json_rows(path: Path, member: str | None) -> Iterator[tuple[int, Object]]:
    """The objects of a file, whose content tells which of the forms it has, whatever its name."""
    with opened(path) as file:
        begins = file.read(BLOCK).lstrip()[:1]
        file.seek(0)
        values: Iterator[Object] = iter(())
        if begins == "[":
            values = _listed(file, path)
        elif begins and (path.suffix.lower() != ".json" or _has_lines(file, path)):
            values = _on_lines(file, path)
        elif begins:
            values = iter(_member(json_value(path), member, path))
        for number, value in counted(values, path):
            if value is not BLANK:
                yield number, value


def json_value(path: Path) -> Any:
    """The value of a whole file."""
    with opened(path) as file:
        text = file.read(limits().value + 1)
    if len(text) > limits().value:
        raise beyond("value", "characters", path)
    return _decoded(text, path)


def _has_lines(file: TextIO, path: Path) -> bool:
    """Whether the first line is a whole object and another follows: JSON lines that are called .json."""
    told = (line for line in lines(file, path) if line.strip())
    first, second = next(told, ""), next(told, "")
    file.seek(0)
    try:
        return bool(second) and isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False


def _on_lines(file: TextIO, path: Path) -> Iterator[Object]:
    for number, line in enumerate(lines(file, path), start=1):
        yield _object(_decoded(line, path, number), path, number) if line.strip() else BLANK


def _listed(file: TextIO, path: Path) -> Iterator[Object]:
    """The objects of one list, one held at a time: text is read on until it holds a whole object."""
    text, at, row, wanted = "", 0, 1, "["
    while True:
        found = SPACES.match(text, at)
        at = found.end() if found else at
        if at == len(text):
            text, at = file.read(BLOCK), 0
            if text:
                continue
            if wanted:
                raise InputError("not JSON (the list does not end)", where=path, row=row)
            return
        mark = text[at]
        if mark not in wanted or not wanted:
            said = "not a JSON object" if "{" in wanted else f"not JSON (no {' or '.join(wanted) or 'more'} here)"
            raise InputError(said, where=path, row=row)
        if mark != "{":
            at, wanted = at + 1, "" if mark == "]" else "{]"
            continue
        try:
            value, at = DECODER.raw_decode(text, at)
        except ValueError as error:
            more = file.read(max(BLOCK, len(text) - at)) if isinstance(error, json.JSONDecodeError) else ""
            text, at = text[at:] + more, 0
            if len(text) > limits().value:
                raise beyond("value", "characters", path, row) from None
            if not more:
                raise _fault(error, path, row) from None
            continue
        except RecursionError as error:
            raise _fault(error, path, row) from None
        yield value
        row, wanted = row + 1, ",]"


def _member(value: Any, member: str | None, path: Path) -> list[Object]:
    """The rows that an object holds under a name: the only list, or the one called `member`; else rows by their number,
    which is their id, or whole columns, as pandas writes them."""
    if not isinstance(value, dict):
        raise InputError("not a list of rows", where=path)
    inner = list(value.values())
    if inner and member is None and all(isinstance(held, dict) for held in inner):
        if all(map(str.isdecimal, value)):
            return [{"id": number} | held for number, held in value.items()]
        if all(map(str.isdecimal, inner[0])) and all(held.keys() == inner[0].keys() for held in inner):
            return [{name: held[number] for name, held in value.items()} for number in inner[0]]
    columns = [held for held in inner if isinstance(held, list) and held and not isinstance(held[0], dict)]
    if member is None and len(columns) == len(inner) > 1 and len({len(held) for held in columns}) == 1:
        return [dict(zip(value, cells, strict=True)) for cells in zip(*columns, strict=True)]
    found = [held for name, held in value.items() if isinstance(held, list) and member in (None, name)]
    if len(found) != 1:
        wanted = f"a list called {member!r}" if member else "one list of rows"
        raise InputError(f"an object without {wanted}; it holds: {', '.join(value) or 'nothing'}", where=path)
    return [_object(held, path, row) for row, held in enumerate(found[0], start=1)]


def _decoded(text: str, path: Path, row: int | None = None) -> Any:
    try:
        return DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise _fault(error, path, row) from None


def _fault(error: Exception, path: Path, row: int | None) -> InputError:
    if isinstance(error, RecursionError):
        return beyond("depth", "lists and objects within each other", path, row)
    return InputError(f"not JSON ({getattr(error, 'msg', error)})", where=path, row=row)


def _object(value: Any, path: Path, row: int) -> Object:
    if not isinstance(value, dict):
        raise InputError("not a JSON object", where=path, row=row)
    return value


def _once(pairs: list[tuple[str, Any]]) -> Object:
    """An object whose fields have different names: of two values for one, none is more right than the other."""
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"two fields called {next(name for name in names if names.count(name) > 1)!r}")
    return value


DECODER = json.JSONDecoder(object_pairs_hook=_once)
