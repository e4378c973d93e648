"""The run folder: what was asked, answered and judged, so that nothing paid for is lost or done twice.

    RUN/manifest.json    what the run measures; a run resumes only when this is the same
    RUN/samples.jsonl    the samples it asks about, without their pixels
    RUN/responses.jsonl  one response a line, appended as calls finish
    RUN/verdicts.jsonl   one verdict a line, every judge's
    RUN/scores.json      the numbers, written anew whenever they are computed

Lines are appended with one write each, so kill -9 loses at most the calls in flight; a torn last line is cut off on
the next open. A lock keeps a second writer out. The last line of a key wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from functools import cached_property
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import InputError
from ..journal import Journal, clean, locked, make_private, read_lines, said_of, write_json
from ..records import Record, Response, Sample, Verdict, from_line, to_line
from .index import Index
from .manifest import FILE, continued
from .manifest import provenance as provenance
from .manifest import read_manifest as read_manifest

LOCK = ".lock"
LEFT_OVER = (".manifest.json.unfinished", "manifest.json.tmp", "scores.json.tmp")
"""What killed writers leave, today's and those before."""

FILES: dict[type, str] = {Sample: "samples.jsonl", Response: "responses.jsonl", Verdict: "verdicts.jsonl"}


def read_records(folder: Path, kind: type[Record]) -> dict[Any, Record]:
    """Every record of one kind by key; of several lines with one key the last wins; a torn last line is left out."""
    path = folder / FILES[kind]
    records: dict[Any, Record] = {}
    for row, line in read_lines(path):
        record = from_line(kind, line, where=str(path), row=row)
        records.pop(record.key, None)
        records[record.key] = record
    return records


def read_index(folder: Path) -> Index:
    """What a run folder holds, without its texts; each file is read once. Raises InputError as `read_records`."""
    index = Index(folder / FILES[Response])
    for kind, name in FILES.items():
        at = 0
        for row, line in read_lines(folder / name):
            index.take(from_line(kind, line, where=folder / name, row=row), at)
            at += 1 + (len(line) if line.isascii() else len(line.encode()))
    return index


class RunFolder:
    """A run folder opened for reading and appending, held by one process at a time.

        with RunFolder(path, manifest) as run:
            run.append(response)

    Entering creates the folder or checks that `manifest` continues it. Raises InputError when another process holds
    it, when it is some other folder, or when the manifest differs in what it measures, naming each difference.
    """

    def __init__(self, path: Path, manifest: Mapping[str, Any]) -> None:
        self.path, self.manifest = path, dict(manifest)
        self._files: dict[type, Journal] = {}

    def __enter__(self) -> RunFolder:
        with ExitStack() as opened, said_of(self.path):
            self._claim(opened)
            earlier = read_manifest(self.path) if self._known.exists() else None
            if earlier is not None:
                self.manifest = self._continued(earlier)
            if self.manifest != earlier:
                write_json(self._known, self.manifest)
            for kind, name in FILES.items():
                self._files[kind] = opened.enter_context(Journal(self.path / name))
            self._opened = opened.pop_all()
        return self

    def _continued(self, earlier: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return continued(earlier, self.manifest, self.path)
        except InputError as error:
            if any(response.usable for response in read_records(self.path, Response).values()):
                raise
            way_out = f"; nothing was answered in it, so rm -r {self.path} loses nothing"
            raise InputError(error.problem + way_out, where=self.path) from None

    @property
    def _known(self) -> Path:
        return self.path / FILE

    def _claim(self, opened: ExitStack) -> None:
        """Make the folder and lock it, unless it is something else or somebody else's."""
        if self.path.exists() and not self.path.is_dir():
            raise InputError("is a file, not a run folder", where=self.path)
        found = {entry.name for entry in self.path.iterdir()} if self.path.is_dir() else set()
        if found - {LOCK, *LEFT_OVER} and not self._known.exists():
            raise InputError("the folder is not empty and holds no run", where=self.path)
        make_private(self.path)
        opened.enter_context(locked(self.path / LOCK, self.path))
        clean(self.path, *LEFT_OVER)

    def note(self, **entries: Any) -> None:
        """Write more into the manifest, which a run that goes on keeps."""
        self.manifest |= entries
        write_json(self._known, self.manifest)

    def append(self, *records: Sample | Response | Verdict) -> None:
        """Write records down, as `Journal.append` does."""
        for kind, alike in groupby(records, type):
            batch = list(alike)
            lines = [to_line(record) for record in batch]
            at = self._files[kind].append(*lines)
            for record, line in zip(batch, lines, strict=True) if "index" in vars(self) else ():
                self.index.take(record, at)
                at += 1 + len(line.encode())

    def sync(self) -> None:
        """Wait until the disk has everything that was written down."""
        for file in self._files.values():
            file.sync()

    @cached_property
    def index(self) -> Index:
        """What the run holds, without its texts; it knows of what is appended."""
        return read_index(self.path)

    def read(self, kind: type[Record]) -> dict[Any, Record]:
        """What the folder holds of one kind, by key."""
        return read_records(self.path, kind)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.__exit__(kind, error, trace)
