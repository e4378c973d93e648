"""The eight fields of a HoliSafe-Bench record: how each is read, and what is wrong with one that cannot be."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import InputError
from ..images import inside
from ..tables import identity, short
from ..tables.fields import PictureName
from ..taxonomy import CATEGORIES, CATEGORY_OF, COMBINATIONS, IMAGE_LABELS, OTHER_SPELLINGS, SAFE

IMAGES = "images"
"""The folder that picture paths are relative to."""

FIELDS = ("id", "image", "query", "category", "subcategory", "type", "image_safe", "image_safety_label")

TOPIC = ("category", "subcategory")
"""In the release every pair has both; here a harmless pair that belongs to no topic may have null instead."""

SAMPLE_FIELD = {
    "query": "query",
    "category": "category",
    "subcategory": "subcategory",
    "type": "combination",
    "image_safety_label": "image_label",
}
"""Record field -> the field of a Sample that it holds, and that a sidecar line therefore leaves out."""

NOTATION = re.compile(r"([SU])_?\{?I\}?\s*([SU])_?\{?T\}?\s*(?:(?:->|→|\\to|\\rightarrow)\s*([SU]))?", re.IGNORECASE)
"""The paper's way to write a combination: `S_I S_T -> U`; the pair's letter may be missing where a part is unsafe."""


def parse(record: Any, root: Path) -> tuple[dict[str, Any], list[tuple[str | None, str]]]:
    """One record -> the fields that are sound, by their release name, and (field, problem) for what is not."""
    if not isinstance(record, dict):
        return {}, [(None, "not a JSON object")]
    values: dict[str, Any] = {}
    problems: list[tuple[str | None, str]] = []
    for name, read in _readers(root).items():
        if name not in record:
            problems.append((name, "missing"))
            continue
        try:
            values[name] = read(record[name])
        except InputError as fault:
            problems.append((name, fault.problem))
    problems += [(name, "not a field of the release") for name in record if name not in FIELDS]
    if COMBINATIONS.get(values.get("type", ""), "answer") == "refuse":
        problems += [(name, "null, which only an SSS pair may have") for name in TOPIC if values.get(name, "") is None]
    label, safe = values.get("image_safety_label"), values.get("image_safe")
    if label is not None and safe is not None and safe != (label == SAFE):
        problems.append(("image_safe", f"{str(safe).lower()} contradicts image_safety_label {label!r}"))
    return values, problems


def _readers(root: Path) -> dict[str, Callable[[Any], Any]]:
    """How each field is read: the value a Sample takes, or InputError."""
    return {
        "id": _identity,
        "image": picture_path(root),
        "query": _query,
        "category": _or_none(_one_of(CATEGORIES)),
        "subcategory": _or_none(_one_of(CATEGORY_OF)),
        "type": _combination,
        "image_safe": _truth,
        "image_safety_label": _label,
    }


def _identity(value: Any) -> str:
    return identity({"id": value}, "id", "", 0)


def _query(value: Any) -> str:
    if isinstance(value, PictureName):
        raise InputError(value.problem)
    return _text(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise InputError(f"not text: {short(value)}")
    if not value.strip():
        raise InputError("empty")
    return value


def _truth(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise InputError(f"neither true nor false: {short(value)}")


def _combination(value: Any) -> str:
    spelled = NOTATION.fullmatch(value.replace("$", "").strip()) if isinstance(value, str) else None
    if spelled:
        image, text, pair = (letter and letter.upper() for letter in spelled.groups())
        value = image + text + (pair or ("U" if "U" in image + text else ""))
    return _one_of(COMBINATIONS)(value)


def _one_of(known: Mapping[str, Any]) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if isinstance(value, str) and (name := OTHER_SPELLINGS.get(value, value)) in known:
            return name
        raise InputError(f"unknown value {short(value)}")

    return read


def _or_none(read: Callable[[Any], str]) -> Callable[[Any], str | None]:
    return lambda value: None if value is None else read(value)


def _label(value: Any) -> str:
    if type(value) is int and 0 <= value < len(IMAGE_LABELS):
        return IMAGE_LABELS[value]
    return _one_of(dict.fromkeys(IMAGE_LABELS))(value)


def picture_path(root: Path) -> Callable[[Any], str]:
    """Reads a path under `images/`, given with or without that folder's name; raises InputError when it leads out."""

    def read(value: Any) -> str:
        path = PurePosixPath(_text(value).replace("\\", "/"))
        name = str(path.relative_to(IMAGES) if path.is_relative_to(IMAGES) else path)
        inside(root / IMAGES, name)
        return name

    return read
