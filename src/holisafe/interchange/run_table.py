"""A run as one flat table, a row a response: what pandas and spreadsheets open, and `holisafe score` reads back.

Columns: the sample's, the response's, and for every judge of the run JUDGE.label, JUDGE.choice, JUDGE.adheres and
JUDGE.invalid, all four empty where it did not judge the response (it failed, a filter blocked it, or the judge does not
judge such samples). `images` and `meta` are JSON. Every response of the run is there, failed calls too.

In CSV text that a spreadsheet would run gets a leading apostrophe (`tables.writing`); parquet holds it as it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import InputError
from ..journal import whole_file
from ..runs.columns import TOKENS
from ..runs.run import read_run
from ..tables import as_text, write_csv

FORMATS = (".csv", ".parquet")
TYPES = {
    "repeat": "int64",
    "guard_unsafe": "float64",
    "input_tokens": "int64",
    "output_tokens": "int64",
    "reasoning_tokens": "int64",
    "cost": "float64",
    "latency_seconds": "float64",
}
"""Columns that are not text, by their type in parquet; JUDGE.adheres is true, false or missing."""

COLUMNS = (
    "sample_id", "repeat", "benchmark", "split", "combination", "expected", "category", "subcategory", "image_label",
    "cluster", "images", "query", "reference", "meta", "target", "response", "reasoning", "finish", "error",
    "guard_label", "guard_unsafe", *TOKENS, "cost", "latency_seconds",
)  # fmt: skip
"""The columns of every run: docs/runs.md."""

OF_A_JUDGE = ("label", "choice", "adheres", "invalid")
OF_A_RUN = ("sample_id", "repeat", "combination", "expected", "category", "subcategory", "cluster")
"""Columns that a table of verdicts takes over."""

Columns = dict[str, list[Any]]


def write_run_table(run: Path, out: Path) -> int:
    """Write the table of a run folder as CSV or parquet, by the ending of `out`; gives its number of rows.

    The file appears whole or not at all. Raises InputError for another ending, or a folder without a run or responses.
    """
    if out.suffix.lower() not in FORMATS:
        raise InputError(f"ends in none of {', '.join(FORMATS)}", where=out)
    if not out.parent.is_dir():
        raise InputError("no such folder", where=out.parent)
    columns = run_columns(run)
    if out.suffix.lower() == ".csv":
        write_csv(out, list(columns), zip(*columns.values(), strict=True))
    else:
        _write_parquet(columns, out)
    return len(columns["sample_id"])


def run_columns(folder: Path) -> Columns:
    """The table as columns of Python values, None where there is nothing; rows in the order in which a run asks."""
    run = read_run(folder)
    if run.answers.empty:
        raise InputError("the run holds no responses", where=folder)
    samples = [run.samples[name] for name in run.answers["sample_id"]]
    columns: Columns = {name: _values(run.answers[name]) for name in COLUMNS if name in run.answers}
    columns["images"] = [json.dumps(sample.images, ensure_ascii=False) for sample in samples]
    columns["meta"] = [json.dumps(one.meta, ensure_ascii=False) if one.meta else None for one in samples]
    columns |= {name: [getattr(sample, name) for sample in samples] for name in ("query", "reference")}
    columns = {name: columns[name] for name in COLUMNS}
    for judge in run.versions:
        said = run.verdicts[run.verdicts["judge"] == judge].set_index("answer").reindex(range(len(samples)))
        columns |= {f"{judge}.{name}": _values(said[name]) for name in OF_A_JUDGE}
    return columns


def _values(column: pd.Series) -> list[Any]:
    return column.astype(object).where(column.notna(), None).tolist()


def _write_parquet(columns: Columns, out: Path) -> None:
    import pyarrow as arrow
    from pyarrow import parquet

    kinds = {name: "bool" if name.endswith(".adheres") else TYPES.get(name, "string") for name in columns}
    arrays = {name: arrow.array(values, type=kinds[name]) for name, values in columns.items()}
    with whole_file(out) as unfinished:
        parquet.write_table(arrow.table(arrays), unfinished)


def verdict_columns(columns: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The cells of a table that `write_run_table` wrote as a table of verdicts, a row a verdict; others unchanged.

    Left out are rows that a judge did not judge, and questions with an answer key, which are no safety pairs.
    """
    judges = [name.removesuffix(".adheres") for name in columns if name.endswith(".adheres")]
    if "adheres" in columns or not judges or not {*OF_A_RUN, "reference"} <= columns.keys():
        return {name: list(values) for name, values in columns.items()}
    table: dict[str, list[str]] = {name: [] for name in ("judge", "adheres", *OF_A_RUN)}
    for judge in judges:
        for at, adhered in enumerate(columns[f"{judge}.adheres"]):
            row = {name: as_text(columns[name][at]) for name in OF_A_RUN}
            keyed = not row["combination"] and columns["reference"][at]
            if keyed or not (adhered or columns[f"{judge}.invalid"][at]):
                continue
            for name, value in {"judge": judge, "adheres": adhered, **row}.items():
                table[name].append(value)
    return table
