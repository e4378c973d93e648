"""Rows of `holisafe guard predict --out`: appended as they are read, so that nothing is read twice.

    readings.jsonl      one row an image, appended with one write each; a torn last line is cut off
    readings.parquet    made anew from its journal `readings.parquet.jsonl`, which stays for the next time

A row belongs to an image by its path and the SHA-256 of its file: a file that changed is read again, and its later row
is the one that counts.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import InputError

KINDS = (".jsonl", ".parquet")
BLOCK = 1 << 20

Row = dict[str, Any]


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
        self.journal = path.with_name(path.name + ".jsonl") if path.suffix == ".parquet" else path
        self.rows: dict[str, Row] = {}

    def __enter__(self) -> ReadingsFile:
        if self.path.suffix not in KINDS:
            raise InputError(f"the output ends in {' or '.join(KINDS)}", where=self.path)
        if self.path.is_dir():
            raise InputError("is a folder", where=self.path)
        self.journal.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(self.journal, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._read()
        except BlockingIOError:
            os.close(self._descriptor)
            raise InputError("another process writes it", where=self.journal) from None
        except InputError:
            os.close(self._descriptor)
            raise
        return self

    def _read(self) -> None:
        content = self.journal.read_bytes()
        *lines, torn = content.split(b"\n")
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict) or not {"image", "sha256", "error", "made_by"} <= row.keys():
                raise InputError("no row of holisafe guard predict", where=self.journal, row=number)
            if row["made_by"] != self.made_by:
                raise InputError(
                    "made with another model, thresholds or settings: choose another --out", where=self.journal
                )
            self.rows[row["image"]] = row
        if torn:
            os.ftruncate(self._descriptor, len(content) - len(torn))

    def has(self, image: str, sha256: str | None) -> bool:
        """Whether there is a reading for this path with this content. Errors do not count: they may have passed."""
        row = self.rows.get(image)
        return row is not None and row["error"] is None and row["sha256"] == sha256

    def append(self, row: Row) -> None:
        """Write a row, unless it says what the path's last one says."""
        whole = {**row, "made_by": self.made_by}
        if self.rows.get(whole["image"]) == whole:
            return
        line = (json.dumps(whole, ensure_ascii=False) + "\n").encode("utf-8", "surrogateescape")
        while line:
            line = line[os.write(self._descriptor, line) :]
        self.rows[whole["image"]] = whole

    def finish(self) -> None:
        """Write the table where one was asked for, in one piece."""
        if self.journal != self.path:
            write_parquet(list(self.rows.values()), self.path)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)


def write_parquet(rows: list[Row], path: Path) -> None:
    """One row an image; probabilities as columns `p_LABEL`, lists as lists."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = list(dict.fromkeys(name for row in rows for name in row if name != "probabilities"))
    labels = list(dict.fromkeys(label for row in rows for label in row.get("probabilities") or ()))
    columns: dict[str, Any] = {name: [row.get(name) for row in rows] for name in names}
    columns |= {f"p_{label}": [(row.get("probabilities") or {}).get(label) for row in rows] for label in labels}
    temporary = path.with_name(path.name + ".tmp")
    pq.write_table(pa.table(columns), temporary)
    temporary.replace(path)


def row_of(image: str, sha256: str | None, said: Mapping[str, Any]) -> Row:
    """A row: which image, what was said of it, and `error`, None where nothing was wrong."""
    return {"image": image, "sha256": sha256, "error": None, **said}
