"""Result tables for the terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..metrics.changes import Change
from ..metrics.measured import everything
from ..metrics.measures import Measure
from ..runs.scores import Scores
from .numbers import bracket, cell_text, difference, fragile, percent

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text


@dataclass(frozen=True)
class Pieces:
    """`58.1 % [50.4, 65.5] n=160`, which a narrow terminal may part between rate, interval and n, but nowhere else."""

    text: str

    @property
    def pieces(self) -> list[str]:
        return re.split(r" (?=\[|n=|\()", self.text)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        from rich.measure import Measurement

        return Measurement(max(map(len, self.pieces)), len(self.text))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        from rich.text import Text

        lines = [""]
        for piece in self.pieces:
            longer = f"{lines[-1]} {piece}".strip()
            if len(longer) <= options.max_width:
                lines[-1] = longer
            else:
                lines.append(piece)
        yield Text("\n".join(lines), justify="right", no_wrap=True)


def run_table(scores: Scores) -> Table:
    """What one run measured: a row a rate, as `12.3 % [10.1, 14.9] n=480`, with the number of invalid verdicts."""
    from rich.text import Text

    table = _table(_answers(scores))
    table.add_column("Judge", style="dim", overflow="fold")
    table.add_column("Rate, 95 % interval", justify="right")
    for section in everything(scores):
        for measure, cell in section.items():
            style = "yellow" if fragile(cell) else None
            table.add_row(Text(measure.label), Text(measure.judge), Pieces(cell_text(cell)), style=style)
        table.add_section()
    return table


def before_after_table(
    before: Scores,
    after: Scores,
    changed: Mapping[Measure, Change | None],
    titles: tuple[str, str] = ("Before", "After"),
) -> Table:
    """Two runs of the same benchmark side by side, with the change in points and its interval, a block a judge.

    `changed` holds what `metrics.changes` finds; of other measures the change comes from the two cells.

    A row is yellow where the invalid verdicts alone could move a rate out of its interval.
    """
    from rich.text import Text

    table = _table(_answers(before, after))
    for title in titles:
        table.add_column(Text(title, overflow="fold"), justify="right")
    table.add_column("Change, points", justify="right")
    for earlier, later in zip(everything(before), everything(after), strict=True):
        judge = None
        for measure in dict.fromkeys([*earlier, *later]):
            if measure.judge != judge:
                judge = measure.judge
                table.add_row(Text("by " + judge.replace(":", ":\n", 1), style="dim"))
            one, other = earlier.get(measure), later.get(measure)
            style = "yellow" if fragile(one) or fragile(other) else None
            told = changed[measure] if measure in changed else difference(one, other)
            cells = (Pieces(text) for text in (cell_text(one), cell_text(other), _change(told)))
            table.add_row(Text(measure.label), *cells, style=style)
        table.add_section()
    return table


def _table(caption: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption=caption, caption_justify="left")
    table.add_column("Measure", no_wrap=True)
    return table


def _change(found: tuple[float, float, float] | None) -> str:
    if found is None:
        return "–"
    points, low, high = found
    return f"{percent(points, signed=True).removesuffix(' %')} {bracket(low, high, signed=True)}"


def _answers(*runs: Scores) -> str:
    """How many answers the numbers rest on, and what went wrong with them, when anything did."""
    counts = [scores.responses for scores in runs]
    parts = [
        f"{words} {' / '.join(f'{getattr(found, name):,}' for found in counts)}"
        for name, words in (
            ("errors", "failed"),
            ("truncated", "cut"),
            ("filtered", "filtered"),
            ("empty", "empty"),
            ("unknown", "with an unknown ending"),
        )
        if any(getattr(found, name) for found in counts)
    ]
    total = " / ".join(f"{found.n:,}" for found in counts)
    return f"Answers: {total}" + (f" ({', '.join(parts)})" if parts else "")
