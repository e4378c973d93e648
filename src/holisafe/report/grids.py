"""Tables that are ready to be shown: every cell a text, for the terminal and for a page alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Grid:
    """A title, what the columns are called, rows of as many cells, and which of the rows, from 0, are set in bold."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    strong: frozenset[int] = frozenset()

    def __rich__(self) -> Table:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        from .tables import Pieces

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=Text(self.title), title_justify="left")
        for number, name in enumerate(self.columns):
            table.add_column(Text(name), justify="right" if number else "left", overflow="fold")
        for number, (first, *others) in enumerate(self.rows):
            style = "bold" if number in self.strong else None
            table.add_row(Text(first), *(Pieces(cell) for cell in others), style=style)
        return table
