"""Columns of a table that look as if they named pictures, but are not read: a model would be asked without them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

from .written_pictures import WRITTEN

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
