"""YAML files typed by pydantic models: whatever is wrong becomes one line that names file and field.

A file may come from a stranger: it is plain data, within limits on bytes, depth and values.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from .errors import InputError

Kind = TypeVar("Kind")

LARGEST, DEEPEST, MOST, LONGEST_NUMBER = 2**20, 40, 100_000, 64
"""Bytes, levels of nesting, values with aliases written out, digits of a number: far more than settings need."""


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file's mapping. Raises InputError when it is missing, no file, no UTF-8, too large, or no mapping."""
    try:
        if path.exists() and not path.is_file():
            raise InputError("is not a file", where=path)
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
        return parse_yaml(content.decode(), path)
    except (OSError, UnicodeDecodeError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else f"unreadable ({error})"
        raise InputError(reason, where=path) from None


def parse_yaml(text: str, where: str | Path) -> dict[str, Any]:
    """The mapping that a YAML text holds. Raises InputError, naming the line where it can, for anything else."""
    values = parse_value(text, where)
    if not isinstance(values, dict):
        raise InputError("not a mapping of settings", where=where)
    return values


def parse_value(text: str, where: str | Path, field: str | None = None) -> Any:
    """Any value written in YAML: text, numbers, dates, lists and mappings. Raises InputError as `parse_yaml`."""
    import yaml

    if len(text) > LARGEST:
        raise InputError(f"more than the limit of {LARGEST:,} bytes", where=where)
    try:
        return yaml.load(text, _loader())  # noqa: S506 - a SafeLoader with limits
    except yaml.YAMLError as error:
        mark, said = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        problem = str(said) if isinstance(error, _limit()) else "not YAML"
        raise InputError(problem, where=where, row=mark.line + 1 if mark else None, field=field) from None
    except (ValueError, OverflowError, RecursionError) as error:  # impossible dates, endless numbers
        raise InputError(f"not YAML ({error})", where=where, field=field) from None


@cache
def _limit() -> Any:
    from yaml import MarkedYAMLError

    return type("LimitError", (MarkedYAMLError,), {})


@cache
def _loader() -> Any:
    """PyYAML's SafeLoader with the limits: it refuses a text as soon as it is over one of them."""
    from yaml import AliasEvent, SafeLoader

    class Limited(SafeLoader):
        def __init__(self, text: str) -> None:
            super().__init__(text)
            self.depth = self.values = 0
            self.sizes: dict[int, int] = {}

        def compose_node(self, parent: Any, index: Any) -> Any:
            before, event = self.values, self.peek_event()  # type: ignore[no-untyped-call]
            self.depth, self.values = self.depth + 1, self.values + 1
            if self.depth > DEEPEST:
                raise _limit()(None, None, f"more than the limit of {DEEPEST} levels", event.start_mark)
            node = super().compose_node(parent, index)
            if isinstance(event, AliasEvent):
                if id(node) not in self.sizes:
                    raise _limit()(None, None, f"*{event.anchor} holds itself", event.start_mark)
                self.values += self.sizes[id(node)]
            if self.values > MOST:
                raise _limit()(None, None, f"more than the limit of {MOST:,} values", event.start_mark)
            self.depth -= 1
            self.sizes[id(node)] = self.values - before
            return node

        def compose_mapping_node(self, anchor: Any) -> Any:
            node, seen = super().compose_mapping_node(anchor), set()
            for key, _ in node.value:
                if isinstance(key.value, str) and key.value in seen:
                    raise _limit()(None, None, f"two settings called {key.value!r}", key.start_mark)
                seen.add(key.value if isinstance(key.value, str) else None)
            return node

        def compose_scalar_node(self, anchor: Any) -> Any:
            node = super().compose_scalar_node(anchor)
            if "\0" in node.value:
                raise _limit()(None, None, "a character that no text has (NUL)", node.start_mark)
            numeric = node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
            if numeric and len(node.value) > LONGEST_NUMBER:
                raise _limit()(None, None, f"a number of more than {LONGEST_NUMBER} digits", node.start_mark)
            return node

    return Limited


def validated(kind: type[Kind], values: Mapping[str, Any], where: str | Path) -> Kind:
    """The values as a pydantic model, or as a dataclass of such. Raises InputError for the first that is wrong."""
    from pydantic import TypeAdapter, ValidationError

    try:
        made = TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or None
        unknown = first["type"] == "extra_forbidden"
        problem = "no such setting" if unknown else first["msg"].removeprefix("Value error, ")
        raise InputError(problem[0].lower() + problem[1:], where=where, field=field) from None
    _check_numbers(values, made, where)
    return made


def _check_numbers(values: Mapping[str, Any], made: object, where: str | Path, within: str = "") -> None:
    """Raise InputError where `yes` or `true` stands for a number: pydantic makes 1 of it."""
    for name, value in values.items():
        got = getattr(made, str(name), None)
        if isinstance(value, bool) and type(got) in (int, float):
            raise InputError(f"a number is wanted, not {str(value).lower()}", where=where, field=f"{within}{name}")
        if isinstance(value, Mapping):
            _check_numbers(value, got, where, f"{within}{name}.")
