"""A scan's folder: what was scanned with what, and its rows, which survive kill -9 at any moment.

    scan.json                   source, guard and options: a scan goes on only with the same ones
    parts/part-000001.parquet   rows, `PART_ROWS` a part, each whole or not there
    parts/.part-000002.jsonl    rows that are in no part yet, a line each as it comes
    seen.sqlite                 which units have a row, made anew from the parts where it is behind
    summary.json, index.html    what all rows come to

A row is a line at once, and a part once there are enough. After a kill the lines are taken up again, so what was read,
and perhaps paid for, is not read twice; no unit has two rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import InputError
from ..journal import Journal, clean, locked, make_private, read_json, read_lines, whole_file, write_json, write_text
from ..runs.manifest import check_plain
from .rows import Row, as_table, from_line, schema, to_be_tried_again, to_line
from .seen import AT_ONCE, NO_PART, Seen
from .units import Unit

PART_ROWS = 10_000
MANIFEST, SUMMARY, PAGE = "scan.json", "summary.json", "index.html"
PART = re.compile(r"part-(\d{6,})\.parquet")
INDEXED = ["id", "content", "copy_of", "fault"]
"""The columns that the index is made from."""


class ScanFolder:
    """The folder, open for one process at a time.

    Entering raises InputError where it holds something else, another source's, guard's or options' scan, or another
    process has it. Rows whose fault may pass are taken out then: their units are read again.
    """

    def __init__(self, path: Path, manifest: Mapping[str, Any]) -> None:
        self.path, self.manifest = path, manifest
        self.parts = path / "parts"
        self.rows: list[Row] = []
        self.number = 0

    def __enter__(self) -> ScanFolder:
        with ExitStack() as opened:
            make_private(self.path)
            for place in filter(Path.is_dir, (self.path, self.parts)):
                check_plain(place)
            opened.enter_context(locked(self.path / ".lock", self.path))
            check_manifest(self.path, self.manifest)
            self.parts.mkdir(exist_ok=True)
            clean(self.parts)
            self.seen = Seen(self.path / "seen.sqlite")
            opened.callback(self.seen.close)
            self._catch_up()
            self.journal = self._take_up_lines()
            opened.callback(self._leave_lines)
            self._opened = opened.pop_all()
        return self

    def without_row(self, units: Iterable[Unit]) -> Iterator[Unit]:
        """Those of the units that have no row yet, in their order."""
        remaining = iter(units)
        while some := list(islice(remaining, AT_ONCE)):
            missing = self.seen.missing(unit.id for unit in some)
            yield from (unit for unit in some if unit.id in missing)

    def add(self, row: Row) -> None:
        """Keep a row; once this returns, killing the process does not lose it."""
        self.journal.append(to_line(row))
        self.seen.add_fresh(row)
        self.rows.append(row)
        if len(self.rows) >= PART_ROWS:
            self.close_part()

    def close_part(self) -> None:
        """Make the rows that are in no part yet a part."""
        if not self.rows:
            return
        self._write(self.number, as_table(self.rows))
        self.seen.add_part(self.number, self.rows)
        lines, self.journal = self.journal, Journal(self._lines(self.number + 1)).__enter__()
        self.rows, self.number = [], self.number + 1
        lines.__exit__(None, None, None)
        lines.path.unlink()

    def count(self) -> int:
        """How many units have a row."""
        return self.seen.count() + len(self.rows)

    def _catch_up(self) -> None:
        """Bring the index to what the parts hold, and take out the rows that are to be tried again."""
        there = {int(found[1]): path for path in self.parts.iterdir() if (found := PART.fullmatch(path.name))}
        for path in there.values():
            _check_part(path)
        known = self.seen.parts()
        self.seen.forget_part(NO_PART)
        for number in known.keys() - there.keys():
            self.seen.forget_part(number)
        for number in sorted(there.keys() - known.keys()):
            self.seen.add_part(number, _indexed(there[number]))
        for number, again in sorted(self.seen.parts().items()):
            if again:
                self._take_out(number, there[number])
        self.number = max(there, default=0) + 1

    def _take_out(self, number: int, path: Path) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        kept = [not to_be_tried_again(row) for row in _indexed(path)]
        table = parquet.read_table(path).filter(pa.array(kept))
        self.seen.forget_part(number)
        if table.num_rows:
            self._write(number, table)
            self.seen.add_part(number, _indexed(path))
        else:
            path.unlink()

    def _take_up_lines(self) -> Journal:
        """The lines of parts that were not finished, as rows of the one that is begun now."""
        left = sorted(self.parts.glob(".part-*.jsonl"))
        for path in left:
            for number, line in read_lines(path):
                row = from_line(line)
                if row is None:
                    raise InputError("no row of a scan", where=path, row=number)
                if not to_be_tried_again(row) and self.seen.missing([row["id"]]):
                    self.rows.append(row)
                    self.seen.add_fresh(row)
        here = self._lines(self.number)
        write_text(here, "".join(f"{to_line(row)}\n" for row in self.rows))
        for path in left:
            if path != here:
                path.unlink()
        return Journal(here).__enter__()

    def _leave_lines(self) -> None:
        """Close the lines; none are left where every row is in a part."""
        self.journal.__exit__(None, None, None)
        if not self.rows:
            self.journal.path.unlink(missing_ok=True)

    def _lines(self, number: int) -> Path:
        return self.parts / f".part-{number:06}.jsonl"

    def _write(self, number: int, table: Any) -> None:
        from pyarrow import parquet

        with whole_file(self.parts / f"part-{number:06}.parquet") as unfinished:
            parquet.write_table(table, unfinished, compression="zstd")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.__exit__(kind, error, trace)


def check_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest of a new scan, or raise InputError where the folder has another one's, or something else."""
    path = folder / MANIFEST
    if not path.exists():
        if any(entry.name != ".lock" for entry in folder.iterdir()):
            raise InputError("holds something, and no scan: choose another --out", where=folder)
        write_json(path, manifest)
        return
    before = read_json(path)
    for part in ("schema", "source", "guard"):
        if not isinstance(before, dict) or before.get(part) != manifest[part]:
            said = before.get(part) if isinstance(before, dict) else None
            differs = _difference(said, manifest[part])
            raise InputError(f"holds a scan of another {part} ({differs}): choose another --out", where=folder)


def _difference(before: Any, now: Any) -> str:
    """What differs first between two parts of a manifest."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        name = next((name for name in now if before.get(name) != now[name]), None)
        if name is not None:
            return f"{name} was {before.get(name)!r:.80}, is {now[name]!r:.80}"
    return f"was {before!r:.80}"


def part_files(folder: Path) -> list[Path]:
    """The parts of a scan, in their order."""
    return sorted(path for path in (folder / "parts").glob("part-*.parquet"))


def _check_part(path: Path) -> None:
    """Raise InputError for a file that is no part, or another version's."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        if parquet.read_schema(path).equals(schema()):
            return
        said = "other columns"
    except (pa.ArrowException, OSError, ValueError) as error:
        said = next(iter(str(error).splitlines()), type(error).__name__)
    problem = f"no part of a scan ({said}); take it away, and its pictures are read again"
    raise InputError(problem, where=path)


def _indexed(path: Path) -> list[Row]:
    """What the index needs of a part's rows."""
    from pyarrow import parquet

    rows: list[Row] = parquet.read_table(path, columns=INDEXED).to_pylist()
    return rows
