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

from ..errors import InputError
from ..journal import whole_file
from ..records import Response, Sample, Verdict, VerdictKey, response_key, verdict_key
from ..runs.folder import read_manifest, read_records
from ..tables import as_text, write_csv
from ..taxonomy import SAFE, adheres

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

OF_A_JUDGE = ("label", "choice", "adheres", "invalid")
OF_A_RUN = ("sample_id", "combination", "expected", "category", "subcategory", "cluster")
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


def run_columns(run: Path) -> Columns:
    """The table as columns of Python values, None where there is nothing; rows in the order in which a run asks."""
    manifest = read_manifest(run)
    samples, verdicts = read_records(run, Sample), read_records(run, Verdict)
    responses = read_records(run, Response)
    judges: Mapping[str, str] = manifest.get("judges", {})
    rows = [
        {**_facts(sample, response), **_judged(sample, response, judges, verdicts)}
        for repeat in range(1 + max((response.repeat for response in responses.values()), default=0))
        for sample in samples.values()
        if (response := responses.get(response_key(sample.id, repeat))) is not None
    ]
    if not rows:
        raise InputError("the run holds no responses", where=run)
    return {name: [row[name] for row in rows] for name in rows[0]}


def _facts(sample: Sample, response: Response) -> dict[str, Any]:
    guard = response.guard if response.guard and response.guard.finite else None
    return {
        "sample_id": sample.id,
        "repeat": response.repeat,
        "benchmark": sample.benchmark,
        "split": sample.split,
        "combination": sample.combination,
        "expected": sample.expected,
        "category": sample.category,
        "subcategory": sample.subcategory,
        "image_label": sample.image_label,
        "cluster": sample.cluster,
        "images": json.dumps(sample.images, ensure_ascii=False),
        "query": sample.query,
        "reference": sample.reference,
        "meta": json.dumps(sample.meta, ensure_ascii=False) if sample.meta else None,
        "target": response.target,
        "response": response.text,
        "reasoning": response.reasoning,
        "finish": response.finish,
        "error": response.error,
        "guard_label": guard and guard.label,
        "guard_unsafe": guard.unsafe if guard and SAFE in guard.probabilities else None,
        **{name: response.usage.get(name) for name in TYPES if name.endswith("_tokens")},
        "cost": response.cost,
        "latency_seconds": response.latency_seconds,
    }


def _judged(
    sample: Sample, response: Response, judges: Mapping[str, str], verdicts: Mapping[VerdictKey, Verdict]
) -> dict[str, Any]:
    """What every judge says of the response, by its present rules; a verdict on an earlier response does not count."""
    said: dict[str, Any] = {}
    for judge, version in judges.items():
        verdict = verdicts.get(verdict_key(judge, response.key))
        if verdict and not verdict.counts(response, version):
            verdict = None
        valid = verdict if verdict and not verdict.invalid else None
        right = adheres(valid.label, sample.expected) if valid and valid.label else None
        values = (valid and valid.label, valid and valid.choice, right, verdict and verdict.invalid)
        said |= {f"{judge}.{name}": value for name, value in zip(OF_A_JUDGE, values, strict=True)}
    return said


def _write_parquet(columns: Columns, out: Path) -> None:
    import pyarrow as arrow
    from pyarrow import parquet

    kinds = {name: "bool" if name.endswith(".adheres") else TYPES.get(name, "string") for name in columns}
    arrays = {name: arrow.array(values, type=kinds[name]) for name, values in columns.items()}
    with whole_file(out) as unfinished:
        parquet.write_table(arrow.table(arrays), unfinished)


def verdict_columns(columns: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The cells of a table that `write_run_table` wrote as a table of verdicts, a row a verdict; others unchanged.

    Left out are rows that a judge did not judge, and questions with an answer key, which are no safety pairs. Where a
    sample was asked several times, its answers share a cluster and each has an id of its own.
    """
    judges = [name.removesuffix(".adheres") for name in columns if name.endswith(".adheres")]
    if "adheres" in columns or not judges or not {*OF_A_RUN, "reference", "repeat"} <= columns.keys():
        return {name: list(values) for name, values in columns.items()}
    several = any(repeat != "0" for repeat in columns["repeat"])
    table: dict[str, list[str]] = {name: [] for name in ("judge", "adheres", *OF_A_RUN)}
    for judge in judges:
        for at, adhered in enumerate(columns[f"{judge}.adheres"]):
            row = {name: as_text(columns[name][at]) for name in OF_A_RUN}
            keyed = not row["combination"] and columns["reference"][at]
            if keyed or not (adhered or columns[f"{judge}.invalid"][at]):
                continue
            if several:
                row["cluster"] = row["cluster"] or row["sample_id"]
                row["sample_id"] += f"\n{columns['repeat'][at]}" if columns["repeat"][at] != "0" else ""
            for name, value in {"judge": judge, "adheres": adhered, **row}.items():
                table[name].append(value)
    return table
