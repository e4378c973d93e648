"""The likelihoods that `holisafe safeground` keeps beside its output, so that nothing is computed twice.

    OUT.json.scores.jsonl    {"sample_id", "log_likelihood", "error", "made_by"}, one line a pair, appended as computed

A torn last line is cut off on opening; the last line of a pair counts; an error is no score and is tried again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from typing_extensions import TypedDict

from ..errors import InputError
from ..journal import Journal, typed_json


class _Line(TypedDict):
    sample_id: str
    log_likelihood: float | None
    error: str | None
    made_by: str


@dataclass
class Scores:
    """Log-likelihoods by sample id, and what went wrong with the others; `add` writes one line each."""

    journal: Journal
    made_by: str
    known: dict[str, float] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    def add(self, ids: Iterable[str], values: Iterable[float | InputError]) -> None:
        """Once this returns, a killed process does not lose them."""
        lines = []
        for sample_id, value in zip(ids, values, strict=True):
            error = str(value) if isinstance(value, InputError) else None
            self._take(sample_id, None if isinstance(value, InputError) else value, error)
            row = {"sample_id": sample_id, "log_likelihood": self.known.get(sample_id), "error": error}
            lines.append(json.dumps({**row, "made_by": self.made_by}, ensure_ascii=False))
        self.journal.append(*lines)

    def _take(self, sample_id: str, value: float | None, error: str | None) -> None:
        self.known.pop(sample_id, None)
        self.errors.pop(sample_id, None)
        if value is not None:
            self.known[sample_id] = value
        elif error is not None:
            self.errors[sample_id] = error

    def read(self) -> None:
        path = self.journal.path
        for number, line in self.journal.lines():
            row = typed_json(_Line, line)
            if row is None:
                raise InputError("no line of holisafe safeground", where=path, row=number)
            if row["made_by"] != self.made_by:
                raise InputError("scores of another benchmark, model or calibration: choose another --out", where=path)
            self._take(row["sample_id"], row["log_likelihood"], row["error"])


@contextmanager
def kept_scores(out: Path, made_by: str) -> Iterator[Scores]:
    """The scores beside the output `out`, held by one process at a time. `made_by` tells what they are scores of.

    Raises InputError when another process holds them, or they are something else's.
    """
    with Journal(out.with_name(out.name + ".scores.jsonl")) as journal:
        scores = Scores(journal, made_by)
        scores.read()
        yield scores
