"""Ranked models as tables: for the terminal, as Markdown, as CSV."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from ..metrics.leaderboard import Ranked
from ..metrics.measures import MEASURES
from .grids import Grid
from .numbers import cell_text, percent

RANKED = ("rank", "rank_low", "rank_high", "p_best", "model", "source", "judge")
CELL = ("rate", "low", "high", "n", "n_invalid")


def leaderboard_grid(title: str, board: Sequence[Ranked], sort: str, *, whole: bool = False) -> Grid:
    """Models by one judge, best first, with the measure that ranks them and the others. `title`: such as `by JUDGE`.

    `whole`: the others with their intervals and n, and published rows with their judge.
    """
    names = _columns([board], sort)[1:]
    rows = []
    for one in board:
        row, cells = one.row, [one.row.cells.get(name) for name in names]
        rank = str(one.rank) if one.low is None else f"{one.rank} [{one.low}, {one.high}]"
        others = (
            cell_text(cell) if whole else percent(cell.rate if cell else None).removesuffix(" %") for cell in cells
        )
        model = f"{row.model} (published{f', {row.judge}' if whole else ''})" if row.published else row.model
        rows.append((model, rank, percent(one.best), cell_text(row.cells[sort]), *others))
    labels = (MEASURES[name].label.removeprefix("" if whole else "ASR ") for name in names)
    heads = ("Model", "Rank", "Best", MEASURES[sort].label, *labels)
    return Grid(f"{title}, ranked by {sort}", heads, tuple(rows))


def leaderboard_rows(boards: Mapping[str, Sequence[Ranked]], sort: str) -> Iterator[list[object]]:
    """One table of all boards, its head first; rates as fractions."""
    names = _columns(boards.values(), sort)
    yield ["table", *RANKED, *(f"{name}.{part}" for name in names for part in CELL)]
    for judge, board in boards.items():
        for found in (one.to_json() for one in board):
            cells = [found["rates"].get(name, {}) for name in names]
            yield [judge, *(found[key] for key in RANKED), *(cell.get(part) for cell in cells for part in CELL)]


def _columns(boards: Iterable[Sequence[Ranked]], sort: str) -> list[str]:
    """The measure that ranks, then all others that any row has."""
    return list(dict.fromkeys([sort, *(name for board in boards for one in board for name in one.row.cells)]))
