"""Tables in parquet whose pictures are in the table: rows at once, pixels only when asked for.

The hub stores an image column as a struct {bytes, path}: the file's bytes as they are, compressed, and its name, which
may be missing. Bytes alone are read too, and lists and structs of either. Whatever the files' size, what is held of
them is at most one row group, which has 100 rows as the hub writes it, and some pictures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from ..errors import InputError
from ..images import ImageFile, decode_image, inside
from ..tables import rows
from ..tables.columnar import BLOCK, BUFFER, located_rows
from ..tables.fields import PictureName


class Cell(NamedTuple):
    """Where a picture is: file, row from 0 within one of its row groups, column, then keys and places in its value."""

    file: Path
    group: int
    row: int
    column: str
    within: tuple[str | int, ...] = ()


class ParquetPictures:
    """The pictures of parquet files by name. `rows` finds them, `open` decodes one, in any thread.

    A picture is called by the path stored with it, or by its content when it has no relative path or when another
    picture has that path already: rows with the same picture share its name. `spell` gives a path's canonical spelling,
    or InputError for one that cannot be a name.
    """

    def __init__(self, spell: Callable[[Any], str] | None = None) -> None:
        self._spell = spell or relative_path
        self._cells: dict[str, Cell] = {}
        self._contents: dict[str, bytes] = {}
        self._block = lru_cache(maxsize=4)(_read_block)

    def rows(self, path: Path, member: str | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
        """Every row of a file with its number, names standing where the pictures are, as `tables.rows` gives them.

        A picture without bytes keeps its path, if it has one, as a plain name.
        """
        return rows(path, member, form=self._rows)

    def _rows(self, path: Path, member: str | None) -> Iterator[tuple[int, dict[str, Any]]]:
        del member
        for number, row in located_rows(path):
            for column, value in row.values.items():
                row.values[column] = self._named(value, Cell(path, row.group, row.place, column))
            yield number, row.values

    def _named(self, value: Any, cell: Cell) -> Any:
        """The name that stands for a picture, in whatever holds it; any other value as it is."""
        if isinstance(value, dict) and "bytes" in value and "path" in value:
            data, name = value["bytes"], value["path"]
        elif isinstance(value, bytes):
            data, name = value, None
        elif isinstance(value, list | dict):
            parts = value.items() if isinstance(value, dict) else enumerate(value)
            named = {key: self._named(part, cell._replace(within=(*cell.within, key))) for key, part in parts}
            return named if isinstance(value, dict) else list(named.values())
        else:
            return value
        if data is None:
            return name
        digest = hashlib.sha256(data).digest()
        try:
            name = self._spell(name)
            taken = self._contents.setdefault(name, digest) != digest
        except InputError:
            taken = True
        if taken:
            name = f"sha256-{digest.hex()[:16]}"
        self._cells.setdefault(name, cell)
        return PictureName(name)

    def __contains__(self, name: object) -> bool:
        return name in self._cells

    def open(self, name: str) -> Image.Image:
        """RGB pixels. Raises InputError for a name that no row has, or bytes that are no image."""
        return decode_image(self.file(name).read())

    def file(self, name: str) -> ImageFile:
        """Where a picture is stored. Raises InputError for a name that no row has."""
        if name not in self._cells:
            raise InputError("no such image in the table")
        cell = self._cells[name]

        def read() -> bytes:
            value = self._block(cell.file, cell.group, cell.row // BLOCK, cell.column)[cell.row % BLOCK]
            for key in cell.within:
                value = value[key]
            found: bytes = value["bytes"] if isinstance(value, dict) else value
            return found

        return ImageFile(cell.file, read, "/".join(map(str, (cell.group, cell.row, cell.column, *cell.within))))


def parquet_files(root: Path) -> list[Path]:
    """The parquet files of a dataset's folder, in the order of its rows: in `data/`, or in the folder itself."""
    return sorted((root / "data").glob("*.parquet")) or sorted(root.glob("*.parquet"))


def relative_path(name: Any) -> str:
    """A path that stays in its folder, as it is. Raises InputError for anything else."""
    if not isinstance(name, str):
        raise InputError("no path")
    inside(Path(), name)
    return name


def _read_block(path: Path, group: int, block: int, column: str) -> list[Any]:
    """The values of one column in BLOCK rows of a row group."""
    from pyarrow import parquet

    start, kept = 0, list[Any]()
    with parquet.ParquetFile(path, buffer_size=BUFFER) as file:
        for batch in file.iter_batches(batch_size=BLOCK, row_groups=[group], columns=[column]):
            kept += [
                value for row, value in enumerate(batch.column(0).to_pylist(), start=start) if row // BLOCK == block
            ]
            start += batch.num_rows
            if start >= (block + 1) * BLOCK:
                break
    return kept
