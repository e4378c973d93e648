"""What a scan is given, taken apart into units in an order that is the same every time.

    photos/                    every image in the folder and below, and those in tar shards there
    'shards/*.tar'             shards, tables or images whose names fit
    pairs.csv, data.parquet    a table with a column of images, as paths beside it or as bytes, and perhaps one of texts
    s3://bucket/photos/        the same in an object store

Tables in a folder are not taken unasked: they usually list the images beside them. Whatever is broken is a unit with a
fault; nothing stops the scan.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import InputError
from ..image_files import shown_name
from ..specs import typed_path
from ..tables import FORMS, column_of, is_blank, optional_text, rows
from ..tables.columnar import BUFFER
from .shards import PICTURES, SHARDS, shard_units
from .stores import LocalFolder, Store, remote_folder
from .units import Place, Unit

IMAGE_COLUMNS = ("image", "image_path", "img", "path", "file", "file_name", "filename", "picture", "jpg", "png", "webp")
TEXT_COLUMNS = ("text", "query", "question", "caption", "prompt")
NAME_COLUMNS = ("id", "key", "uid")

WILD = "*?["


@dataclass(frozen=True)
class Source:
    """A source that is open. `names` are the files that it takes, a pattern for some below the store's place, or None
    for all images and shards. It can be sent to another process."""

    given: str
    store: Store
    names: str | None
    image_column: str | None = None
    text_column: str | None = None

    def files(self, left_out: Counter[str] | None = None) -> Iterator[str]:
        """The files that are taken; `left_out` counts the others by their ending."""
        if self.names is not None and not any(mark in self.names for mark in WILD):
            yield self.names
            return
        endings = (*PICTURES, *SHARDS, *(FORMS if self.names is not None else ()))
        for name in self.store.walk():
            if self.names is not None and not fnmatchcase(name, self.names):
                continue
            if name.lower().endswith((*endings, "/")):
                yield name
            elif left_out is not None:
                left_out[PurePosixPath(name).suffix.lower() or "without an ending"] += 1

    def units(self, *, data: bool = True, left_out: Counter[str] | None = None) -> Iterator[Unit]:
        """Every unit. Without `data` none brings its bytes along, as when they are only counted."""
        for name in self.files(left_out):
            if name.lower().endswith(PICTURES):
                yield Unit(shown_name(name), Place(name))
            elif name.endswith("/"):
                yield Unit(shown_name(name), Place(name), fault="a folder that cannot be listed")
            elif name.lower().endswith(SHARDS):
                yield from shard_units(self.store, name, data=data)
            else:
                yield from self._table(name, data)

    def counts(self) -> Iterator[int]:
        """How many units there are, file by file; ends early, with -1, where only reading far-away files would tell."""
        for name in self.files():
            if name.lower().endswith((*PICTURES, "/")):
                yield 1
            elif not isinstance(self.store, LocalFolder):
                yield -1
                return
            elif name.lower().endswith(".parquet"):
                try:
                    yield _group_ends(self.store, name)[-1]
                except Exception:  # noqa: BLE001  (a file that is none is one unit with a fault)
                    yield 1
            else:
                units = shard_units(self.store, name, data=False) if name.endswith(SHARDS) else self._table(name, False)
                yield sum(1 for _ in units)

    def read(self, unit: Unit) -> bytes:
        """A unit's bytes. Raises InputError when there are none."""
        if unit.fault is not None:
            raise InputError(unit.fault)
        try:
            return unit.data if unit.data is not None else self._read(unit.place)
        except InputError:
            raise
        except Exception as error:  # noqa: BLE001  (a disk, a store's library or a broken table raise nearly anything)
            said = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
            raise InputError(f"cannot be read ({said})") from None

    def _read(self, place: Place) -> bytes:
        if place.named is not None:
            return self.store.named(str(PurePosixPath(place.file).parent), place.named)
        if place.column is not None and place.start is not None:
            return _cell(self.store, place.file, place.start, place.column)
        if place.start is None and place.size is not None:
            raise InputError("a compressed shard is read from its beginning only: unpack it")
        return self.store.read(place.file, place.start or 0, place.size)

    def _table(self, name: str, data: bool) -> Iterator[Unit]:
        done = 0
        try:
            with self.store.here(name) as path:
                columns: tuple[str, str | None] | None = None
                for number, row in rows(path):
                    columns = columns or self._columns(row, name, number)
                    yield self._row(name, number, row, *columns, data=data)
                    done = number
        except InputError as fault:
            at = f":{done + 1}" if done else ""
            where = f" (row {fault.row}, field {fault.field!r})" if fault.row is not None and fault.field else ""
            yield Unit(f"{shown_name(name)}{at}", Place(name), fault=f"{fault.problem}{where}")

    def _columns(self, row: Mapping[str, Any], name: str, number: int) -> tuple[str, str | None]:
        """The columns of images and of texts: those named, else the first of the usual ones."""
        image = column_of(row, (self.image_column,) if self.image_column else IMAGE_COLUMNS, name, number)
        if self.text_column:
            return image, column_of(row, (self.text_column,), name, number)
        return image, next((one for one in TEXT_COLUMNS if one in row and one != image), None)

    def _row(self, name: str, number: int, row: Mapping[str, Any], image: str, text: str | None, *, data: bool) -> Unit:
        called = next((str(row[one]) for one in NAME_COLUMNS if not is_blank(row.get(one)) and one != image), None)
        unit = Unit(f"{shown_name(name)}:{number}", Place(name), name=called)
        try:
            said = optional_text(row, text, name, number) if text is not None else None
        except InputError as fault:
            return unit._replace(fault=f"text: {fault.problem}")
        unit, value = unit._replace(text=(said or "").strip()), row.get(image)
        if isinstance(value, Mapping):
            value = value.get("bytes") or value.get("path")
        if isinstance(value, bytes):
            place = Place(name, start=number, column=image)
            return unit._replace(place=place, data=value if data else None)
        if is_blank(value):
            return unit._replace(fault="the row names no picture")
        if not isinstance(value, str):
            return unit._replace(fault="neither a picture nor its name")
        if "://" in value:
            return unit._replace(fault="a URL: none that stands in data is fetched")
        return unit._replace(place=Place(name, named=value))


def open_source(given: str, image_column: str | None = None, text_column: str | None = None) -> Source:
    """A source by its name. Raises InputError for one that is not there, or holds nothing to read."""
    if "://" in given and not given.startswith("file://"):
        parent, names = _parted(given)
        store: Store = remote_folder(parent)
    else:
        path = typed_path(given.removeprefix("file://"))
        parent, names = ("", None) if path.is_dir() else _parted(str(path)) if not path.is_file() else ("", path.name)
        store = LocalFolder(path if path.is_dir() else path.parent if path.is_file() else Path(parent or "."))
        if not store.root.is_dir() or (names is not None and not path.is_file() and not any(m in names for m in WILD)):
            raise InputError("no such file or folder", where=given)
    source = Source(given, store, names, image_column, text_column)
    _check(source)
    return source


def _parted(given: str) -> tuple[str, str | None]:
    """The place that a name with wildcards, or of a single file, is below, and the name within it."""
    parts = given.split("/")
    first = next((at for at, part in enumerate(parts) if any(mark in part for mark in WILD)), None)
    if first is None and not given.lower().endswith((*PICTURES, *SHARDS, *FORMS)):
        return given, None
    at = len(parts) - 1 if first is None else first
    return "/".join(parts[:at]) or ("/" if given.startswith("/") else ""), "/".join(parts[at:])


def _check(source: Source) -> None:
    """Raise InputError where there is nothing to read, or a single file is of no use at all."""
    left_out: Counter[str] = Counter()
    try:
        first = next(source.units(left_out=left_out), None)
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001  (a store's library raises nearly anything)
        said = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        raise InputError(f"cannot be listed ({said})", where=source.given) from None
    if first is None:
        others = ", ".join(f"{count:,} {kind}" for kind, count in left_out.most_common(5))
        hint = "; name tables as 'FOLDER/*.parquet'" if any(kind in left_out for kind in FORMS) else ""
        raise InputError(
            "holds no images or tar shards" + (f", but {others}{hint}" if others else ""), where=source.given
        )
    alone = source.names is not None and not any(mark in source.names for mark in WILD)
    if alone and first.fault is not None and first.id == shown_name(source.names or ""):
        raise InputError(first.fault, where=source.given)


@lru_cache(maxsize=64)
def _group_ends(store: Any, file: str) -> tuple[int, ...]:
    """The number of the last row of each row group."""
    from pyarrow import parquet

    with store.open(file) as opened, parquet.ParquetFile(opened, buffer_size=BUFFER) as table:
        counts: Sequence[int] = [table.metadata.row_group(at).num_rows for at in range(table.num_row_groups)]
    return tuple(sum(counts[: at + 1]) for at in range(len(counts)))


@lru_cache(maxsize=2)
def _group(store: Any, file: str, group: int, column: str) -> list[Any]:
    """One column's values of a row group: who reads a table's rows in turn reads each group once."""
    from pyarrow import parquet

    with store.open(file) as opened, parquet.ParquetFile(opened, buffer_size=BUFFER) as table:
        values: list[Any] = table.read_row_group(group, columns=[column]).column(0).to_pylist()
        return values


def _cell(store: Any, file: str, row: int, column: str) -> bytes:
    """The picture in a table's row, counted from 1."""
    ends = _group_ends(store, file)
    group = next(at for at, end in enumerate(ends) if row <= end)
    value = _group(store, file, group, column)[row - 1 - (ends[group - 1] if group else 0)]
    found = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(found, bytes):
        raise InputError("the table changed: no picture in the row")
    return found
