"""Releases that are parquet tables with the pictures in them, as the hub stores them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from ..errors import InputError
from ..images import ImageFile
from ..records import Sample
from ..tables import Row, text
from ..tables.fields import PictureName
from .base import Benchmark
from .parquet_pictures import ParquetPictures
from .tables import Place, Table, read_tables

SHARD = re.compile(r"(?:-\d{5}-of-\d{5})?\.parquet$")
"""What the hub writes behind a split's name."""


def shards(root: Path, *folders: str) -> dict[Path, str]:
    """{parquet file under root: what it is called without its shard's number}, of the folders given, in their order."""
    found = [path for folder in folders for path in sorted((root / folder).glob("*.parquet"))]
    return {path: SHARD.sub("", path.name) for path in found}


def held_picture(row: Row, field: str, place: Place) -> str:
    """The name of a row's picture. Raises InputError where there is none."""
    value = row.get(field)
    return str(value) if isinstance(value, PictureName) else text(row, field, *place)


def read_parquet(
    name: str,
    root: Path,
    files: Mapping[Path, str],
    samples: Callable[[str, dict[str, Any], Place], Iterable[Sample]],
    remarks: Sequence[str] = (),
) -> Benchmark:
    """As `read_tables`; `samples` is told which split or part a file is. Raises InputError where there is no file."""
    if not files:
        raise InputError("holds no parquet file of this benchmark", where=root)
    pictures = ParquetPictures()

    def of(part: str) -> Callable[[dict[str, Any], Place], Iterable[Sample]]:
        return lambda row, place: samples(part, row, place)

    tables = [Table(str(path.relative_to(root)), of(part), read=pictures.rows) for path, part in files.items()]
    benchmark = read_tables(name, root, tables, remarks=remarks)

    def open_image(image: str) -> Image.Image:
        return pictures.open(image) if image in pictures else benchmark.open_image(image)

    def image_file(image: str) -> ImageFile | None:
        return pictures.file(image) if image in pictures else benchmark.image_file(image)

    return replace(benchmark, open_image=open_image, image_file=image_file)
