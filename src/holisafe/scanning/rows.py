"""A row a picture, as it stands in a part of parquet and, until there is a part, as a line of JSON.

id, name         its place in the source, unlike any other's; what a table calls it
content          SHA-256 of all that the guard sees of it; none where nothing could be read
copy_of          the id of the first with the same content, which alone was read
width, height    in pixels
unsafe           the guard's verdict; none for a copy and where `fault` tells why there is none
score            the higher the more likely unsafe
categories       the guard's own words for what it found, and `labels` ours; `scores` by its own words
fault            why there is no verdict
cost             of the call, in US dollars
looks            what `near_duplicates.image_hash` makes of it: 32 bytes and 192 colours
thumb            a small picture (WebP) of the few that may come into the sample to check by hand
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..guards.base import CALL_FAILED, Reading
from ..journal import typed_json
from .fetching import Fetched

if TYPE_CHECKING:
    import pyarrow

Row = dict[str, Any]

BINARY = ("looks", "thumb")


def empty_row() -> Row:
    """Every column, without a value."""
    return dict.fromkeys(
        ("id", "name", "content", "copy_of", "width", "height", "unsafe", "score", "categories", "labels", "scores",
         "fault", "cost", "looks", "thumb")
    )  # fmt: skip


def schema() -> pyarrow.Schema:
    """The columns' types."""
    import pyarrow as pa

    text = pa.string()
    types = {
        "id": text, "name": text, "content": text, "copy_of": text, "width": pa.int32(), "height": pa.int32(),
        "unsafe": pa.bool_(), "score": pa.float64(), "categories": pa.list_(text), "labels": pa.list_(text),
        "scores": pa.map_(text, pa.float64()), "fault": text, "cost": pa.float64(), "looks": pa.binary(),
        "thumb": pa.binary(),
    }  # fmt: skip
    return pa.schema(list(types.items()))


def unread_row(found: Fetched) -> Row:
    """The row of a unit that the guard cannot be shown."""
    width, height = found.size or (None, None)
    seen = {"width": width, "height": height, "fault": found.fault, "looks": found.looks}
    return {**empty_row(), "id": found.unit.id, "name": found.unit.name, "content": found.content, **seen}


def copy_row(found: Fetched, first: str) -> Row:
    """The row of a copy: whatever there is to say stands in the row of its first."""
    told = {"id": found.unit.id, "name": found.unit.name, "content": found.content, "copy_of": first}
    return {**empty_row(), **told}


def read_row(found: Fetched, said: Reading, thumb: bytes | None) -> Row:
    """The row of a unit with what the guard says of it."""
    return {
        **unread_row(found),
        "unsafe": said.unsafe,
        "score": said.score,
        "categories": list(said.categories),
        "labels": list(said.labels),
        "scores": {name: float(value) for name, value in said.scores.items()},
        "fault": None if said.unsafe is not None else said.invalid or "no verdict",
        "cost": said.cost,
        "thumb": thumb,
    }


def to_be_tried_again(row: Mapping[str, Any]) -> bool:
    """Whether the row's fault may pass: nothing could be read, or the guard could not be asked."""
    fault = row["fault"]
    return fault is not None and (row["content"] is None or fault.startswith(CALL_FAILED))


def to_line(row: Row) -> str:
    """One line of JSON."""
    coded = {name: base64.b64encode(row[name]).decode() for name in BINARY if row[name] is not None}
    return json.dumps({**row, **coded}, ensure_ascii=False)


def from_line(line: str) -> Row | None:
    """The row that a line holds; None for a line of something else."""
    row = typed_json(dict[str, Any], line)
    if row is None or row.keys() != empty_row().keys() or not isinstance(row["id"], str):
        return None
    try:
        coded = {name: base64.b64decode(row[name]) for name in BINARY if row[name] is not None}
    except (ValueError, TypeError):
        return None
    return {**row, **coded}


def as_table(rows: Iterable[Row]) -> pyarrow.Table:
    """Rows as a table of `schema`."""
    import pyarrow as pa

    listed = [{**row, "scores": list(row["scores"].items()) if row["scores"] else None} for row in rows]
    return pa.Table.from_pylist(listed, schema=schema())
