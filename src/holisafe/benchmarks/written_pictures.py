"""Pictures in the cells of a table: those written out as base64, alone or as `data:image/png;base64,...`, and columns
that look as if they named some, but are not read: a model would be asked without them.

The former are kept in one temporary file, not in memory, under the name of their content.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import tempfile
from collections import Counter
from collections.abc import Container, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..images import ImageFile

WRITTEN = re.compile(r"\s*(data:image/[^,]*;base64,|(?=iVBORw0KGgo|/9j/[\w+/]{60}|R0lGOD[dl]h|UklGR[\w+/]{60}))")
"""How a picture begins in base64: with its kind, or as PNG, JPEG, GIF or WebP do."""


class WrittenPictures:
    """The pictures of a table by name; `keep` takes one out of a cell.

    `of_row` tells whose picture a row of that `index` has: VLMEvalKit's tables spell a picture out once, and name that
    row where it comes again.
    """

    def __init__(self, table: Path) -> None:
        self.table = table
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  (open as long as the benchmark is)
        self._places: dict[str, tuple[int, int]] = {}
        self.of_row: dict[str, str] = {}

    def keep(self, cell: str) -> str | None:
        """The name of the picture that a cell spells out, None where it spells none. Raises InputError for base64 that
        is none."""
        found = WRITTEN.match(cell)
        if found is None:
            return None
        try:
            data = base64.b64decode("".join(cell[found.end() :].split()), validate=True)
        except (binascii.Error, ValueError):
            raise InputError("broken base64") from None
        name = f"sha256-{hashlib.sha256(data).hexdigest()[:16]}"
        if name not in self._places:
            self._places[name] = (self._file.seek(0, os.SEEK_END), len(data))
            self._file.write(data)
            self._file.flush()
        return name

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def file(self, name: str) -> ImageFile:
        start, size = self._places[name]
        return ImageFile(self.table, partial(os.pread, self._file.fileno(), size, start), name)


FILE = re.compile(r"(data:image/.*|\S+\.(png|jpe?g|jfif|webp|gif|bmp|tiff?|avif|heic))", re.IGNORECASE | re.DOTALL)
"""What a cell holds that names a picture, or is one."""

BEGINNING = 4096
"""Characters of a cell that are looked at."""


class UnreadPictures:
    """Looks at the cells that are left over, row by row. `known` are the names of pictures in the table itself."""

    def __init__(self, known: Container[object]) -> None:
        self.known = known
        self.filled, self.alike = Counter[str](), Counter[str]()

    def look(self, cells: Mapping[str, Any]) -> None:
        """Count the cells of a row that are not read."""
        for column, value in cells.items():
            self.filled[column] += 1
            self.alike[column] += self._is_picture(value)

    def problem(self, path: Path) -> str | None:
        """What is to be said of the columns of which at least half name pictures, None where there are none."""
        found = [column for column, alike in self.alike.items() if alike * 2 >= max(self.filled[column], 1)]
        if not found:
            return None
        names = ",".join(found)
        return (
            f"not read, though they look like pictures: {', '.join(found)}; '{path.name}?image={names}' reads them, "
            f"'{path.name}?image==' asks without"
        )

    def _is_picture(self, value: Any) -> bool:
        if isinstance(value, list | dict):
            return any(map(self._is_picture, value.values() if isinstance(value, dict) else value))
        return isinstance(value, str) and (
            value in self.known or any(form(value[:BEGINNING]) for form in (FILE.fullmatch, WRITTEN.match))
        )
