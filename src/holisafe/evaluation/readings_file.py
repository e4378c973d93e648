"""Rows of `holisafe guard predict --out`: appended as they are read, so that nothing is read twice.

    readings.jsonl      one row an image, appended with one write each; a torn last line is cut off
    readings.parquet    made anew from its journal `readings.parquet.jsonl`, which stays for the next time

A row belongs to an image by its path and the SHA-256 of its file: a file that changed is read again, and its later row
is the one that counts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Required

from typing_extensions import TypedDict

from ..errors import InputError
from ..journal import Journal, typed_json, whole_file

KINDS = (".jsonl", ".parquet")
BLOCK = 1 << 20

Row = dict[str, Any]


class _Row(TypedDict, total=False):
    """What a row holds, and what nothing goes on without."""

    __pydantic_config__ = {"extra": "forbid"}  # type: ignore[misc]  # noqa: RUF012

    image: Required[str]
    sha256: Required[str | None]
    error: Required[str | None]
    made_by: Required[str]
    label: str
    unsafe: float
    verdict: str
    threshold: float | None
    raised: list[str]
    label_set: list[str]
    probabilities: dict[str, float]


def file_hash(path: Path) -> str | None:
    """SHA-256 of a file's bytes, 64 hexadecimal digits; None where it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
    except OSError:
        return None
    return digest.hexdigest()


class ReadingsFile:
    """An output opened for appending, held by one process at a time. `rows` are the latest of each path.

    Entering raises InputError when the name has another ending, another process writes it, it holds something else, or
    its rows were made in another way than `made_by` (another model, other thresholds).
    """

    def __init__(self, path: Path, made_by: str) -> None:
        self.path, self.made_by = path, made_by
        self.journal = Journal(path.with_name(path.name + ".jsonl") if path.suffix == ".parquet" else path)
        self.rows: dict[str, Row] = {}

    def __enter__(self) -> ReadingsFile:
        if self.path.suffix not in KINDS:
            raise InputError(f"the output ends in {' or '.join(KINDS)}", where=self.path)
        if self.path.is_dir():
            raise InputError("is a folder", where=self.path)
        with ExitStack() as opened:
            opened.enter_context(self.journal)
            self._read()
            self._opened = opened.pop_all()
        return self

    def _read(self) -> None:
        for number, line in self.journal.lines():
            row = typed_json(_Row, line)
            if row is None:
                raise InputError("no row of holisafe guard predict", where=self.journal.path, row=number)
            if row["made_by"] != self.made_by:
                raise InputError(
                    "made with another model, thresholds or settings: choose another --out", where=self.journal.path
                )
            self.rows[row["image"]] = row

    def has(self, image: str, sha256: str | None) -> bool:
        """Whether there is a reading for this path with this content. Errors do not count: they may have passed."""
        row = self.rows.get(image)
        return row is not None and row["error"] is None and row["sha256"] == sha256

    def append(self, row: Row) -> None:
        """Write a row, unless it says what the path's last one says."""
        whole = {**row, "made_by": self.made_by}
        if self.rows.get(whole["image"]) == whole:
            return
        self.journal.append(json.dumps(whole, ensure_ascii=False))
        self.rows[whole["image"]] = whole

    def finish(self) -> None:
        """Write the table where one was asked for, in one piece."""
        if self.journal.path != self.path:
            write_parquet(list(self.rows.values()), self.path)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.__exit__(kind, error, trace)


def write_parquet(rows: list[Row], path: Path) -> None:
    """One row an image; probabilities as columns `p_LABEL`, lists as lists."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = list(dict.fromkeys(name for row in rows for name in row if name != "probabilities"))
    labels = list(dict.fromkeys(label for row in rows for label in row.get("probabilities") or ()))
    columns: dict[str, Any] = {name: [row.get(name) for row in rows] for name in names}
    columns |= {f"p_{label}": [(row.get("probabilities") or {}).get(label) for row in rows] for label in labels}
    with whole_file(path) as unfinished:
        pq.write_table(pa.table(columns), unfinished)


def row_of(image: str, sha256: str | None, said: Mapping[str, Any]) -> Row:
    """A row: which image, what was said of it, and `error`, None where nothing was wrong."""
    return {"image": image, "sha256": sha256, "error": None, **said}
