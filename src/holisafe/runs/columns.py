"""The record files of a run as columns: a million lines in seconds, where record by record would take minutes.

pyarrow parses the lines. What it finds odd (a torn or broken line, a value of another type, another schema) is read
again record by record: that way is slow, but it migrates old lines and names row and field of what is wrong. The last
line of a key wins, and stands where it was written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pandas as pd

from ..journal import read_whole_lines
from ..records import SCHEMA_VERSION, Finish, Record, Response, Sample, Verdict
from ..taxonomy import Expected
from .folder import FILES, read_records

if TYPE_CHECKING:
    import pyarrow as arrow

TOKENS = ("input_tokens", "output_tokens", "reasoning_tokens")
MOST_BRACKETS = 1000
"""Opened in a line, as far as counting tells: more may be nested deeper than pyarrow's stack."""

SLICES = ("task", "condition", "slot")
"""What benchmarks tell in a sample's `meta` that rates are taken apart by."""

TEXT = {
    Sample: ("benchmark", "id", "split", "combination", "expected", "category", "subcategory", "image_label", "cluster",
             "reference"),
    Response: ("sample_id", "target", "text", "reasoning", "finish", "error", "finish_reason", "original"),
    Verdict: ("sample_id", "response_hash", "judge", "judge_version", "label", "choice", "invalid"),
}  # fmt: skip
KEYS: dict[type, list[str]] = {
    Sample: ["id"],
    Response: ["sample_id", "repeat"],
    Verdict: ["judge", "sample_id", "repeat"],
}
NEEDED = {
    Sample: ("benchmark", "id", "expected"),
    Response: ("sample_id", "target", "text"),
    Verdict: ("sample_id", "response_hash", "judge", "judge_version"),
}
KNOWN = {"expected": get_args(Expected), "finish": get_args(Finish)}
DEFAULTS = {"split": "test", "finish": "stop", "repeat": 0}


def read_columns(folder: Path, kind: type[Record]) -> pd.DataFrame:
    """One kind's records, a row a record; text as pandas' own strings, missing where there is none.

    Samples also have `pictures`, the names of the images joined by line ends, and SLICES as text. Responses have
    `repeat`, `cost`, `latency_seconds`, TOKENS, `calibrated`, and for each label of the guard `guard.LABEL`, its
    probability: 0 where the reading does not name the label, missing without a reading. Verdicts have `repeat`, `cost`
    and TOKENS.

    Raises InputError, naming file, row and field, for what is no record.
    """
    table = _parsed(read_whole_lines(folder / FILES[kind]), kind)
    if table is None:
        table = _from_records(list(read_records(folder, kind).values()), kind)
    return _flat(table, kind)


def columns_of(records: Sequence[Sample] | Sequence[Response] | Sequence[Verdict], kind: type) -> pd.DataFrame:
    """The same of records in memory."""
    return _flat(_from_records(records, kind), kind)


def _schema(kind: type) -> arrow.Schema:
    import pyarrow as arrow

    text = arrow.string()
    columns = [("schema", arrow.int64()), *((name, text) for name in TEXT[kind])]
    if kind is Sample:
        columns += [("images", arrow.list_(text)), ("meta", arrow.struct([(name, text) for name in SLICES]))]
    else:
        usage = arrow.struct([(name, arrow.int64()) for name in TOKENS])
        columns += [("repeat", arrow.int64()), ("usage", usage), ("cost", arrow.float64())]
    if kind is Response:
        columns += [("latency_seconds", arrow.float64()), ("calibrated", arrow.bool_())]
    return arrow.schema(columns)


def _parsed(data: bytes, kind: type) -> arrow.Table | None:
    """The lines as a table; None where they need the careful reader."""
    import pyarrow as arrow
    import pyarrow.compute as compute
    from pyarrow import json
    from pydantic_core import from_json

    if not data:
        return _schema(kind).empty_table()
    lines = data.count(b"\n")
    if not data.startswith(b"{") or data.count(b"\n{") + 1 != lines:
        return None  # pyarrow crashes on a line that is `null`
    if kind is Response and _deep(data):
        return None  # and on nesting without end, where it infers types
    # What a sample's meta and the labels of a guard are called is known to them alone.
    others = {Sample: "ignore", Response: "infer", Verdict: "error"}[kind]
    schema = _schema(kind).append(arrow.field("raw", arrow.string())) if kind is Verdict else _schema(kind)
    options = json.ParseOptions(explicit_schema=schema, unexpected_field_behavior=others)
    known = {"schema", *(field.name for field in fields(kind))}
    try:
        table = json.read_json(arrow.BufferReader(data), json.ReadOptions(block_size=16 << 20), options)
        named = map(from_json, data.splitlines()) if kind is Sample else [table.column_names]
        strange = any(not known.issuperset(names) for names in named)
    except ValueError:  # Arrow's own is one
        return None
    whole = len(table) == lines and compute.all(compute.equal(table["schema"], SCHEMA_VERSION)).as_py()
    if strange or not whole or any(table[name].null_count for name in (*NEEDED[kind], "schema")):
        return None
    if "guard" in table.column_names and not _told_by_label(table["guard"].type):
        return None
    for name in KNOWN.keys() & set(TEXT[kind]):
        if not set(table[name].unique().to_pylist()) <= {*KNOWN[name], None}:
            return None
    return table


def _deep(data: bytes) -> bool:
    """Whether a line opens more than MOST_BRACKETS; only a longer one can."""
    long = (line for line in data.split(b"\n") if len(line) > MOST_BRACKETS)
    return any(line.count(b"[") + line.count(b"{") > MOST_BRACKETS for line in long)


def _told_by_label(reading: arrow.DataType) -> bool:
    """Whether readings, where there are any, are {"probabilities": {label: number}}."""
    from pyarrow import types

    if types.is_null(reading):
        return True
    if not types.is_struct(reading) or [field.name for field in reading] != ["probabilities"]:
        return False
    labels = reading.field(0).type
    number = types.is_struct(labels) and all(
        types.is_floating(field.type) or types.is_integer(field.type) for field in labels
    )
    return bool(number and labels.num_fields)


def _from_records(records: Sequence[Any], kind: type) -> arrow.Table:
    import pyarrow as arrow

    def of(record: Any) -> dict[str, Any]:
        row = {name: getattr(record, name) for name in (field.name for field in schema) if hasattr(record, name)}
        row |= {name: storable(value) for name, value in row.items() if isinstance(value, str)}
        if kind is Sample:
            told = {name: record.meta.get(name) for name in SLICES}
            row["meta"] = {name: None if value is None else storable(str(value)) for name, value in told.items()}
            row["images"] = [storable(name) for name in record.images]
        if kind is Response and record.guard is not None:
            row["guard"] = {"probabilities": {name: float(p) for name, p in record.guard.probabilities.items()}}
        return row

    schema = _schema(kind)
    rows = [of(record) for record in records]
    if kind is Response:
        labels = dict.fromkeys(name for row in rows for name in row.get("guard", {}).get("probabilities", ()))
        if labels:
            reading = arrow.struct([(name, arrow.float64()) for name in labels])
            schema = schema.append(arrow.field("guard", arrow.struct([("probabilities", reading)])))
    return arrow.Table.from_pylist(rows, schema=schema)


def storable(text: str) -> str:
    """The text with half a surrogate pair, which no UTF-8 can hold, as "?": so it counts in every digest too."""
    return text.encode("utf-8", "replace").decode()


def _flat(table: arrow.Table, kind: type) -> pd.DataFrame:
    """The table without its nested columns, each key once."""
    import pyarrow.compute as compute

    columns: dict[str, Any] = {name: table[name] for name in TEXT[kind]}
    if kind is Sample:
        columns["pictures"] = compute.fill_null(compute.binary_join(table["images"], "\n"), "")
        columns |= _members(table, "meta", SLICES)
    else:
        columns |= {name: table[name] for name in ("repeat", "cost")} | _members(table, "usage", TOKENS)
    if kind is Response:
        columns |= {name: table[name] for name in ("latency_seconds", "calibrated")} | _readings(table)
    for name, value in DEFAULTS.items():
        if name in columns:
            columns[name] = compute.fill_null(columns[name], value)
    frame = pd.DataFrame({name: _as_pandas(column) for name, column in columns.items()})
    return frame.drop_duplicates(KEYS[kind], keep="last", ignore_index=True)


def _members(table: arrow.Table, struct: str, names: Sequence[str]) -> dict[str, Any]:
    import pyarrow.compute as compute

    return {name: compute.struct_field(table[struct], name) for name in names}


def _readings(table: arrow.Table) -> dict[str, Any]:
    """`guard.LABEL` for each label that any reading names."""
    import pyarrow as arrow
    import pyarrow.compute as compute

    if "guard" not in table.column_names or not arrow.types.is_struct(table["guard"].type):
        return {}
    readings = compute.struct_field(table["guard"], "probabilities")
    there = compute.is_valid(readings)
    labels: Mapping[str, Any] = _members_of(readings)
    return {
        f"guard.{name}": compute.if_else(there, compute.fill_null(values.cast(arrow.float64()), 0.0), None)
        for name, values in labels.items()
    }


def _members_of(column: arrow.ChunkedArray) -> dict[str, Any]:
    import pyarrow.compute as compute

    return {column.type.field(at).name: compute.struct_field(column, [at]) for at in range(column.type.num_fields)}


def _as_pandas(column: arrow.ChunkedArray) -> pd.Series:
    """Text, nullable integers and booleans as pandas' own types; numbers with NaN where there is none."""
    import pyarrow as arrow

    kinds = {arrow.bool_(): pd.BooleanDtype(), arrow.int64(): pd.Int64Dtype()}
    whole: pd.Series = column.to_pandas(types_mapper=kinds.get)
    return whole
