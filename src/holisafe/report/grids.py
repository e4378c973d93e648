"""Tables that are ready to be shown: every cell a text, for the terminal and for a page alike. There is no other way
here to print a table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.table import Table
    from rich.text import Text

BETWEEN = 2
"""Blanks between two columns."""

LONGEST, SHORTEST = 28, 8
"""Words of more letters may be broken; where there is little room, of more than the second."""

NUMBER = re.compile(r"–?|[<+−-]?\d[\d.,]*( ?[%s×])?( [\[(n].*)?")
"""A cell that is no word: `58.1 % [50.4, 65.5] n=160`, `0.025 s (1.3×)`, a dash, or nothing."""


@dataclass(frozen=True)
class Grid:
    """A title, what the columns are called, and rows of as many cells; a row of one cell alone heads those below it.

    `strong` and `doubtful` say which rows, from 0, are set in bold and in yellow; `note` stands below. No number is
    cut: it may be parted between rate, interval and n, and where a terminal is too narrow for the columns, every cell
    gets a line of its own.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    strong: frozenset[int] = frozenset()
    doubtful: frozenset[int] = frozenset()
    note: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table | Text]:
        from rich.text import Text

        if self.title:
            yield Text(self.title, style="italic")
        widths = self._widths(options.max_width)
        if widths is None and len(self.columns) > 2:
            tall = self._tall()
            yield from tall._blocks(tall._widths(options.max_width) or [SHORTEST, options.max_width])
        else:
            widths = widths or [SHORTEST, options.max_width]
            if any(self.columns):
                yield self._lines(widths, [self.columns], ["bold"])
                yield Text("─" * (sum(widths) + BETWEEN * (len(widths) - 1)), style="dim", overflow="crop")
            yield from self._blocks(widths)
        if self.note:
            yield Text(self.note, style="dim")
        yield Text()

    def markdown(self) -> str:
        """The table alone, without its title."""
        lines = (self.columns, ["---"] * len(self.columns), *self.rows)
        safe = ([cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines)
        return "\n".join(f"| {' | '.join(line)} |" for line in safe)

    @property
    def _numeric(self) -> list[bool]:
        """Whether each column is one of numbers: these stand to the right."""
        rows = [row for row in self.rows if len(row) > 1]
        return [
            bool(number and rows) and all(NUMBER.fullmatch(row[number]) for row in rows)
            for number in range(len(self.columns))
        ]

    def _widths(self, room: int) -> list[int] | None:
        """How wide each column is: what its longest word or number takes, and more while there is room; None where
        there is too little. rich itself narrows columns until numbers are cut."""
        from rich.cells import cell_len

        rows, numeric = [row for row in self.rows if len(row) > 1], self._numeric
        least, most = [], []
        for number, name in enumerate(self.columns):
            cells = [row[number] for row in rows]
            pieces = [piece for cell in cells if NUMBER.fullmatch(cell) for piece in _pieces(cell)]
            words = [word for cell in [name, *cells] if not NUMBER.fullmatch(cell) for word in cell.split()]
            least.append(max([min(max(map(cell_len, [*words, ""])), LONGEST), *map(cell_len, pieces)]))
            most.append(max(map(cell_len, [name, *cells])))
        room -= sum(least) + BETWEEN * (len(least) - 1)
        if room < 0 and len(least) == 2 and least[0] + room >= SHORTEST:
            least[0] += room
            room = 0
        if room < 0:
            return None

        def order(n: int) -> tuple[float, ...]:
            """Words grow first, and evenly; then the numbers with most lines, of these the nearest to be whole."""
            if not numeric[n]:
                return (0, least[n] / most[n])
            return (1, -max(_parted(row[n], least[n]).count("\n") for row in rows), most[n] - least[n])

        while room and (growing := [n for n in range(len(least)) if least[n] < most[n]]):
            least[min(growing, key=order)] += 1
            room -= 1
        return least

    def _blocks(self, widths: Sequence[int]) -> Iterator[Table | Text]:
        """Headings, each with the rows below it."""
        from rich.text import Text

        block: list[int] = []
        for number, row in enumerate(self.rows):
            if len(row) > 1:
                block.append(number)
                continue
            if number:
                yield self._lines(widths, [self.rows[n] for n in block], map(self._style, block))
                yield Text()
            yield Text(row[0], style=self._style(number) or "dim", overflow="fold")
            block = []
        yield self._lines(widths, [self.rows[n] for n in block], map(self._style, block))

    def _style(self, number: int) -> str:
        return "bold" if number in self.strong else "yellow" if number in self.doubtful else ""

    def _lines(self, widths: Sequence[int], rows: Sequence[Sequence[str]], styles: Iterable[str]) -> Table:
        from rich.table import Table
        from rich.text import Text

        lines = Table(box=None, show_header=False, padding=(0, BETWEEN, 0, 0), pad_edge=False)
        for width, right in zip(widths, self._numeric, strict=True):
            lines.add_column(justify="right" if right else "left", overflow="fold", width=width)
        for row, style in zip(rows, styles, strict=True):
            cells = [_parted(c, w) if NUMBER.fullmatch(c) else c for c, w in zip(row, widths, strict=True)]
            lines.add_row(*map(Text, cells), style=style)
        return lines

    def _tall(self) -> Grid:
        """The same with a line for every cell, below the first one of its row."""
        rows: list[tuple[str, ...]] = []
        strong: list[int] = []
        doubtful: list[int] = []
        for number, (first, *others) in enumerate(self.rows):
            begun = len(rows)
            rows.append((first,))
            rows += [(f"  {name}", cell) for name, cell in zip(self.columns[1:], others, strict=bool(others)) if cell]
            for marked, told in ((strong, self.strong), (doubtful, self.doubtful)):
                marked += range(begun, len(rows)) if number in told else ()
        return replace(self, columns=("", ""), rows=tuple(rows), strong=frozenset(strong), doubtful=frozenset(doubtful))


def _pieces(cell: str) -> list[str]:
    """`58.1 %`, `[50.4, 65.5]`, `n=160`: what may stand on lines of their own."""
    return re.split(r" (?=\[|n=|\()", cell)


def _parted(cell: str, width: int) -> str:
    """A number's pieces, as many on a line as there is room for."""
    lines, *rest = [""], *_pieces(cell)
    for piece in rest:
        longer = f"{lines[-1]} {piece}".strip()
        lines = [*lines[:-1], longer] if len(longer) <= width or not lines[-1] else [*lines, piece]
    return "\n".join(lines)
