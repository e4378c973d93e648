"""Tables in parquet whose pictures are in the table: rows at once, pixels only when asked for.

The hub stores an image column as a struct {bytes, path}: the file's bytes as they are, compressed, and its name, which
may be missing. A column of bytes alone is read too. Whatever the files' size, what is held of them is at most one row
group, which has 100 rows as the hub writes it, and some pictures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from ..errors import InputError
from ..images import decode_image, inside

BLOCK = 16
"""How many rows are read together."""

BUFFER = 1 << 16
"""Bytes read at once; without a buffer, whole columns of a row group are."""


class Cell(NamedTuple):
    """Where a picture is: file, row from 0 within one of its row groups, column."""

    file: Path
    group: int
    row: int
    column: str


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

    def rows(self, path: Path) -> Iterator[dict[str, Any]]:
        """Every row of a file, names standing where the pictures are. Raises InputError for an unreadable file.

        A cell without bytes keeps its path, if it has one, as a plain name.
        """
        import pyarrow as arrow
        from pyarrow import parquet

        if not path.is_file():
            raise InputError("not a file" if path.exists() else "no such file", where=path)
        try:
            with parquet.ParquetFile(path, buffer_size=BUFFER) as file:
                for group in range(file.num_row_groups):
                    start = 0
                    for batch in file.iter_batches(batch_size=BLOCK, row_groups=[group]):
                        for row, values in enumerate(batch.to_pylist(), start=start):
                            for column, value in values.items():
                                values[column] = self._named(value, Cell(path, group, row, column))
                            yield values
                        start += batch.num_rows
        except (arrow.ArrowException, OSError, ValueError) as error:
            raise InputError(f"not a readable parquet file ({error})", where=path) from None

    def _named(self, value: Any, cell: Cell) -> Any:
        """The name that stands for a picture; any other value as it is."""
        if isinstance(value, dict) and value.keys() == {"bytes", "path"}:
            data, name = value["bytes"], value["path"]
        elif isinstance(value, bytes):
            data, name = value, None
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
        return name

    def __contains__(self, name: str) -> bool:
        return name in self._cells

    def open(self, name: str) -> Image.Image:
        """RGB pixels. Raises InputError for a name that no row has, or bytes that are no image."""
        if name not in self._cells:
            raise InputError("no such image in the table")
        cell = self._cells[name]
        data = self._block(cell.file, cell.group, cell.row // BLOCK, cell.column)[cell.row % BLOCK]
        return decode_image(data)


def parquet_files(root: Path) -> list[Path]:
    """The parquet files of a dataset's folder, in the order of its rows: in `data/`, or in the folder itself."""
    return sorted((root / "data").glob("*.parquet")) or sorted(root.glob("*.parquet"))


def relative_path(name: Any) -> str:
    """A path that stays in its folder, as it is. Raises InputError for anything else."""
    if not isinstance(name, str):
        raise InputError("no path")
    inside(Path(), name)
    return name


def _read_block(path: Path, group: int, block: int, column: str) -> list[bytes]:
    """The bytes of one column in BLOCK rows of a row group."""
    from pyarrow import parquet

    start, kept = 0, list[bytes]()
    with parquet.ParquetFile(path, buffer_size=BUFFER) as file:
        for batch in file.iter_batches(batch_size=BLOCK, row_groups=[group], columns=[column]):
            for row, value in enumerate(batch.column(0).to_pylist(), start=start):
                if row // BLOCK == block:
                    kept.append(value["bytes"] if isinstance(value, dict) else value)
            start += batch.num_rows
            if start >= (block + 1) * BLOCK:
                break
    return kept
