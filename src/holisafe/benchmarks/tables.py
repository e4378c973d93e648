"""From the rows of a release's tables to a benchmark: every faulty row is found, not only the first.

A reader says how one row becomes samples; this file reads the tables, gathers what is wrong, and opens the pictures:

    def load(root):
        root = release(root, "siuo")
        return read_tables("siuo", root, [Table("siuo_gen.json", _samples)])
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from ..errors import InputError
from ..image_files import SUFFIXES
from ..images import decode_image, inside, stored
from ..records import Sample
from ..tables import Row, rows, text
from .base import Benchmark

Place = tuple[Path, int]
"""A table file and a row's number, as the field getters of `tables` take them."""


class Table(NamedTuple):
    """A table by its path under the release's folder, and what makes samples of one row or raises InputError.

    `read` gives the numbered rows of a file that is no table in the sense of `tables.rows`. `split` is that of all its
    samples, where they are of one: another split can be had in spite of faults in this file.
    """

    path: str
    samples: Callable[[dict[str, Any], Place], Iterable[Sample]]
    member: str | None = None
    read: Callable[[Path, str | None], Iterable[tuple[int, dict[str, Any]]]] = rows
    split: str | None = None


def release(root: Path | None, name: str) -> Path:
    """The folder of a release. Raises InputError when none is named, or there is none."""
    if root is None:
        raise InputError(
            f"{name} is not part of this package: name its folder with --root (see: holisafe data list {name})"
        )
    if not root.is_dir():
        raise InputError("not a folder" if root.exists() else "no such folder", where=root)
    return root


def first_of(root: Path, *paths: str) -> str:
    """The first path that exists under `root`, or the first of all, for the message that it is missing."""
    return next((path for path in paths if (root / path).exists()), paths[0])


def by_stem(root: Path, *folders: str) -> dict[str, str]:
    """The pictures of folders under `root` by their files' names without an ending, as `FOLDER/NAME`; of copies the
    first. Raises InputError for two different ones of one name."""
    found: dict[str, str] = {}
    for folder in folders:
        for path in sorted((root / folder).glob("*")):
            if path.suffix.lower() in SUFFIXES:
                name = f"{folder}/{path.name}"
                first = found.setdefault(path.stem, name)
                if first != name and not _same(root, first, name):
                    raise InputError(f"another picture than {first}, and both go by {path.stem!r}", where=root / name)
    return found


def _same(root: Path, *images: str) -> bool:
    """Whether files hold the same bytes; one that cannot be read is said when it is opened."""
    try:
        first, *others = (stored(root, image).read() for image in images)
    except InputError:
        return True
    return all(other == first for other in others)


def picture(row: Row, field: str, where: Path, number: int, *, root: Path, folder: str) -> str:
    """The name of a row's picture: its path under `root`, in `folder`. Raises InputError when it leads out of that."""
    name = text(row, field, where, number).strip()
    try:
        inside(root / folder, name)
    except InputError as fault:
        raise InputError(fault.problem, where=where, row=number, field=field) from None
    return f"{folder}/{name}" if folder else name


def read_tables(
    name: str, root: Path, tables: Sequence[Table], *, distinct: bool = False, remarks: Sequence[str] = ()
) -> Benchmark:
    """Every sample of the tables, and as `faults` of the benchmark what is wrong in any row.

    A faulty row gives no samples. With `distinct`, for tables whose rows have no id of their own, a row that repeats
    an earlier one is a fault.
    """
    samples: dict[str, Sample] = {}
    shown: dict[str, Place] = {}
    faults: dict[InputError, str | None] = {}
    for table in tables:
        path = root / table.path
        seen: dict[str, int] = {}
        try:
            for number, row in table.read(path, table.member):
                try:
                    if distinct and (first := seen.setdefault(json.dumps(row, default=str), number)) != number:
                        raise InputError(f"the same as row {first}", where=path, row=number)
                    made = list(table.samples(row, (path, number)))
                except InputError as fault:
                    faults[fault] = table.split
                    continue
                repeated = [sample.id for sample in made if samples.setdefault(sample.id, sample) is not sample]
                if repeated:
                    faults[InputError(f"duplicate id {repeated[0]!r}", where=path, row=number)] = table.split
                for sample in made:
                    for image in sample.every_image:
                        shown.setdefault(image, (path, number))
        except InputError as fault:
            faults[fault] = table.split

    def open_named(image: str) -> Image.Image:
        try:
            return decode_image(stored(root, image).read())
        except InputError as fault:
            where, number = shown[image]
            problem = f"{image if image.isprintable() else ascii(image)}: {fault.problem}"
            raise InputError(problem, where=where, row=number) from None

    opening = open_named, partial(stored, root)
    return Benchmark(name, tuple(samples.values()), *opening, faults=faults, remarks=tuple(remarks))
