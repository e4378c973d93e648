"""YAML files typed by pydantic models: whatever is wrong becomes one line that names file and field."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import InputError

if TYPE_CHECKING:
    from pydantic import BaseModel

Model = TypeVar("Model", bound="BaseModel")


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file's mapping. Raises InputError when the file is missing, no UTF-8, no YAML, or no mapping."""
    try:
        return parse_yaml(path.read_text(encoding="utf-8"), path)
    except (OSError, UnicodeDecodeError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else f"unreadable ({error})"
        raise InputError(reason, where=path) from None


def parse_yaml(text: str, where: str | Path) -> dict[str, Any]:
    """The mapping that a YAML text holds. Raises InputError, naming the line where it can, for anything else."""
    import yaml

    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise InputError("not YAML", where=where, row=mark.line + 1 if mark else None) from None
    if not isinstance(values, dict):
        raise InputError("not a mapping of settings", where=where)
    return values


def validated(model: type[Model], values: Mapping[str, Any], where: str | Path) -> Model:
    """The values as an instance of a pydantic model. Raises InputError for the first setting that is wrong."""
    from pydantic import ValidationError

    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or None
        unknown = first["type"] == "extra_forbidden"
        problem = "no such setting" if unknown else first["msg"].removeprefix("Value error, ")
        raise InputError(problem[0].lower() + problem[1:], where=where, field=field) from None
