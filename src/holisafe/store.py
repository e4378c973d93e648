"""The run folder: what was asked, answered and judged, so that nothing paid for is lost or done twice.

    RUN/manifest.json    what the run measures; a run resumes only when this is the same
    RUN/samples.jsonl    the samples it asks about
    RUN/responses.jsonl  one response a line, appended as calls finish
    RUN/verdicts.jsonl   one verdict a line, every judge's
    RUN/scores.json      the numbers, written anew whenever they are computed

Lines are appended with one write each, so kill -9 loses at most the calls in flight; a torn last line is cut off on
the next open. A lock keeps a second writer out. The last line of a key wins.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from .errors import InputError
from .records import Record, Response, Sample, Verdict, from_line, to_line

IDENTITY = ("schema", "benchmark", "target", "seed")
"""Manifest entries that a resumed run must share; limit, judges, packages and git commit may change."""

FILES: dict[type, str] = {Sample: "samples.jsonl", Response: "responses.jsonl", Verdict: "verdicts.jsonl"}


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file whole: a reader sees the old one or the new one, never half."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=2, ensure_ascii=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def read_json(path: Path) -> Any:
    """A JSON file's value. Raises InputError when it is missing or no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("no such file", where=path) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"not JSON ({error})", where=path) from None


def read_records(folder: Path, kind: type[Record]) -> dict[str, Record]:
    """Every record of one kind by key; of several lines with one key the last wins; a torn last line is left out."""
    path = folder / FILES[kind]
    if not path.exists():
        return {}
    *lines, rest = path.read_bytes().split(b"\n")
    del rest  # empty, or the torn line of a killed writer
    records: dict[str, Record] = {}
    for row, line in enumerate(lines, start=1):
        try:
            record = from_line(kind, line.decode("utf-8"), where=str(path), row=row)
        except UnicodeDecodeError:
            raise InputError("not UTF-8", where=path, row=row) from None
        records.pop(record.key, None)
        records[record.key] = record
    return records


class RunFolder:
    """A run folder opened for reading and appending, held by one process at a time.

        with RunFolder(path, manifest) as run:
            run.append(response)

    Entering creates the folder or checks that `manifest` continues it. Raises InputError when another process holds
    it, when it is some other folder, or when the manifest differs in what it measures, naming each difference.
    """

    def __init__(self, path: Path, manifest: Mapping[str, Any]) -> None:
        self.path, self.manifest = path, dict(manifest)
        self._files: dict[type, int] = {}
        self._lock: int | None = None

    def __enter__(self) -> RunFolder:
        if self.path.exists() and not self.path.is_dir():
            raise InputError("is a file, not a run folder", where=self.path)
        known = self.path / "manifest.json"
        foreign = [entry.name for entry in self.path.iterdir()] if self.path.is_dir() else []
        if foreign and not known.exists() and set(foreign) - {".lock", "manifest.json.tmp"}:
            raise InputError("the folder is not empty and holds no run", where=self.path)
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.path / ".lock", os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            self._lock = None
            raise InputError("another process is writing to this run folder", where=self.path) from None
        try:
            if known.exists():
                self._continue(read_json(known))
            write_json(known, self.manifest)
            for kind, name in FILES.items():
                self._files[kind] = _open_for_append(self.path / name)
        except BaseException:
            self.close()
            raise
        return self

    def _continue(self, earlier: Mapping[str, Any]) -> None:
        differences = [
            line for name in IDENTITY for line in _differences(name, earlier.get(name), self.manifest.get(name))
        ]
        if differences:
            raise InputError("this run measured something else: " + "; ".join(differences), where=self.path)
        judges = {**earlier.get("judges", {}), **self.manifest.get("judges", {})}
        self.manifest = {**self.manifest, "judges": judges, "created": earlier.get("created")}

    def append(self, *records: Sample | Response | Verdict) -> None:
        """Write records down; once this returns, killing the process does not lose them."""
        for record in records:
            data = (to_line(record) + "\n").encode()
            written = os.write(self._files[type(record)], data)
            if written != len(data):
                raise OSError(f"{self.path}: the disk took {written} of {len(data)} bytes")

    def read(self, kind: type[Record]) -> dict[str, Record]:
        """What the folder holds of one kind, by key."""
        return read_records(self.path, kind)

    def close(self) -> None:
        for descriptor in self._files.values():
            os.close(descriptor)
        self._files.clear()
        if self._lock is not None:
            os.close(self._lock)  # gives the lock back
            self._lock = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _open_for_append(path: Path) -> int:
    """Open for appending and cut off a torn last line."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o644)
    with path.open("rb") as file:
        content = file.read()
    whole = content.rfind(b"\n") + 1
    if whole != len(content):
        os.ftruncate(descriptor, whole)
    return descriptor


def _differences(name: str, earlier: Any, now: Any) -> Iterable[str]:
    """One line for every value that changed, named by its path."""
    if isinstance(earlier, Mapping) and isinstance(now, Mapping):
        for key in sorted({*earlier, *now}):
            yield from _differences(f"{name}.{key}", earlier.get(key), now.get(key))
    elif earlier != now:
        yield f"{name} was {earlier!r}, is now {now!r}"
