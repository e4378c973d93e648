"""Parquet: rows in small batches, whatever the file's size, text where a column holds text, however it is stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import InputError
from ..limits import RATIO, beyond, counted, limits

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

BLOCK = 16
"""How many rows with pictures are read together."""

PLAIN_BLOCK = 1024
"""How many rows without."""

BUFFER = 1 << 16
"""Bytes read at once; without a buffer, whole columns of a row group are."""

HELD = 256 << 20
"""Bytes that a block's largest column may come to, where each row may repeat the column's whole dictionary."""


class Located(NamedTuple):
    """A row's values, its row group, and its place from 0 in that."""

    values: dict[str, Any]
    group: int
    place: int


def parquet_rows(path: Path, member: str | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows with their numbers; what is still bytes, alone or as {"bytes", "path"}, is a picture."""
    del member
    for number, row in located_rows(path):
        yield number, row.values


def located_rows(path: Path) -> Iterator[tuple[int, Located]]:
    """The rows with their numbers, and with where they are to be found again.

    A column of bytes is text if its first value is, in UTF-8; else it holds pictures, none of which may be empty.
    Raises InputError for a broken file or one beyond the limits.
    """
    import pyarrow as arrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path, buffer_size=BUFFER) as file:
            if file.metadata.num_rows > limits().rows:
                raise beyond("rows", "rows", path)
            for name, times in Counter(file.schema_arrow.names).items():
                if times > 1:
                    raise InputError(f"two columns called {name!r}", where=path)
            texts: dict[str, bool] = {}
            blanks: dict[str, int] = {}
            for number, row in counted(_located(file, path), path, lambda row: len(row.values)):
                for name, value in row.values.items():
                    if isinstance(value, bytes | list | dict):
                        fault = partial(InputError, where=path, row=number, field=name)
                        row.values[name] = _read(value, name, number, texts, blanks, fault)
                yield number, row
    except MemoryError:
        raise
    except (arrow.ArrowException, OSError, ValueError, TypeError, KeyError, OverflowError) as error:
        said = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"not a readable parquet file ({said})", where=path) from None


def _located(file: ParquetFile, path: Path) -> Iterator[Located]:
    most, unpacked = max(limits().unpacked, RATIO * path.stat().st_size), 0
    block = BLOCK if any("binary" in str(kind) for kind in file.schema_arrow.types) else PLAIN_BLOCK
    for group in range(file.num_row_groups):
        about = file.metadata.row_group(group)
        parts = [about.column(number) for number in range(about.num_columns)]
        repeated = max((part.total_uncompressed_size for part in parts if part.has_dictionary_page), default=0)
        if any(part.total_uncompressed_size > most for part in parts):
            raise beyond("unpacked", "bytes unpacked", path)
        place = 0
        for batch in file.iter_batches(max(1, min(block, HELD // max(1, repeated))), row_groups=[group]):
            unpacked += batch.nbytes
            if unpacked > most:
                raise beyond("unpacked", "bytes unpacked", path)
            for values in batch.to_pylist():
                yield Located(values, group, place)
                place += 1


def _read(
    value: Any, name: str, number: int, texts: dict[str, bool], blanks: dict[str, int], fault: Callable[..., InputError]
) -> Any:
    """A value with its bytes as text, where the column called `name` holds text. `texts` tells which columns do so
    far, `blanks` the first row of an empty value in those of which it is not known."""
    if isinstance(value, dict) and isinstance(value.get("bytes"), bytes):
        if not value["bytes"]:
            raise fault("a picture without a byte")
        told = value.get("path")
        return {**value, "path": told.decode("utf-8", "replace") if isinstance(told, bytes) else told}
    if isinstance(value, dict):
        return {key: _read(held, name, number, texts, blanks, fault) for key, held in value.items()}
    if isinstance(value, list):
        return [_read(held, name, number, texts, blanks, fault) for held in value]
    if not isinstance(value, bytes):
        return value
    if not value and not texts.get(name):
        blanks.setdefault(name, number)
    said = _text(value)
    is_text = texts.setdefault(name, said is not None) if value else texts.get(name, True)
    if not is_text and name in blanks:
        raise fault("a picture without a byte", row=blanks[name])
    if is_text and said is None:
        raise fault("not UTF-8 text, as the values before it in its column")
    return said if is_text else value


def _text(value: bytes) -> str | None:
    """The text that bytes hold; None where they hold something else."""
    try:
        said = value.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in said else said
