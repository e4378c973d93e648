"""Ranked models as tables: for the terminal, as Markdown, as CSV."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from ..metrics.leaderboard import Ranked
from ..metrics.measures import MEASURES
from .grids import Grid
from .numbers import cell_text, percent

RANKED = ("rank", "rank_low", "rank_high", "p_best", "model", "source", "judge")
CELL = ("rate", "low", "high", "n", "n_invalid")


def leaderboard_grid(title: str, board: Sequence[Ranked], sort: str) -> Grid:
    """Models by one judge, best first, with the measure that ranks them and all others. `title`: such as `by JUDGE`."""
    ranks, rates = leaderboard_grids(title, board, sort)
    rows = tuple((*ranked, *others[1:]) for ranked, others in zip(ranks.rows, rates.rows, strict=True))
    return Grid(ranks.title, (*ranks.columns, *rates.columns[1:]), rows)


def leaderboard_grids(title: str, board: Sequence[Ranked], sort: str) -> tuple[Grid, Grid]:
    """The same as two tables, for a terminal: who stands where, and below it the other measures."""
    names = _columns([board], sort)[1:]
    ranks, rates = [], []
    for one in board:
        row, rank = one.row, str(one.rank) if one.low is None else f"{one.rank} [{one.low}, {one.high}]"
        model = f"{row.model} (published, {row.judge})" if row.published else row.model
        ranks.append((model, rank, percent(one.best), cell_text(row.cells[sort])))
        rates.append((model, *(cell_text(row.cells.get(name)) for name in names)))
    return (
        Grid(f"{title}, ranked by {sort}", ("Model", "Rank", "Best", MEASURES[sort].label), tuple(ranks)),
        Grid("The other rates", ("Model", *(MEASURES[name].label for name in names)), tuple(rates)),
    )


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
