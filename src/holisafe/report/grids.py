"""Tables that are ready to be shown: every cell a text, for the terminal and for a page alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .tables import Pieces

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.table import Table
    from rich.text import Text


NOTES = ""
"""What a column of words, not of numbers, is called."""

EDGES, BETWEEN = 2, 2
"""Blanks around a table, and between two of its columns."""


@dataclass(frozen=True)
class Grid:
    """A title, what the columns are called, rows of as many cells, and which of the rows, from 0, are set in bold.

    A number is never cut: where a terminal is too narrow for the columns, every cell gets a line of its own.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    strong: frozenset[int] = frozenset()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        widths = self._widths(options.max_width - EDGES - BETWEEN * (len(self.columns) - 1))
        yield self._tall() if widths is None else self._wide(widths)

    def _widths(self, room: int) -> list[int] | None:
        """How wide each column is: what its longest word or number takes, and more while there is room; None where
        there is too little. rich itself narrows columns until numbers are cut."""
        from rich.cells import cell_len

        columns = list(zip(*(self._shown(row) for row in self.rows), strict=True)) or [()] * len(self.columns)
        least, most = [], []
        for name, cells in zip(self.columns, columns, strict=True):
            pieces = [p for cell in cells for p in (cell.pieces if isinstance(cell, Pieces) else cell.plain.split())]
            least.append(max(map(cell_len, [*name.split(), *pieces, ""])))
            most.append(max(map(cell_len, [name, *(c.text if isinstance(c, Pieces) else c.plain for c in cells)])))
        room -= sum(least)
        if room < 0:
            return None
        for number in sorted(range(len(least)), key=lambda n: n > 0 and self.columns[n] != NOTES):  # words first
            more = min(most[number] - least[number], room)
            least[number] += more
            room -= more
        return least

    def _wide(self, widths: Sequence[int]) -> Table:
        from rich.text import Text

        table = self._empty()
        for number, (name, width) in enumerate(zip(self.columns, widths, strict=True)):
            words = not number or name == NOTES
            table.add_column(Text(name), justify="left" if words else "right", overflow="fold", width=width)
        for number, cells in enumerate(self.rows):
            table.add_row(*self._shown(cells), style="bold" if number in self.strong else None)
        return table

    def _tall(self) -> Table:
        table = self._empty()
        table.show_header = False
        table.add_column(overflow="fold")
        table.add_column(justify="right", overflow="fold")
        for number, row in enumerate(self.rows):
            first, *others = self._shown(row)
            table.add_row(first, style="bold" if number in self.strong else None)
            for name, told, cell in zip(self.columns[1:], row[1:], others, strict=True):
                if told:
                    table.add_row(f"  {name}", cell)
            table.add_section()
        return table

    def _shown(self, cells: Sequence[str]) -> list[Pieces | Text]:
        from rich.text import Text

        words = [not number or name == NOTES for number, name in enumerate(self.columns)]
        return [Text(cell) if plain else Pieces(cell) for cell, plain in zip(cells, words, strict=True)]

    def _empty(self) -> Table:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        return Table(
            box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, title=Text(self.title), title_justify="left"
        )
