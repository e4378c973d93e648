"""`holisafe leaderboard`: models ranked, with how sure the ranks are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError

if TYPE_CHECKING:
    from ..metrics.leaderboard import Ranked, Row
    from ..report.grids import Grid

KNOWN_TABLES = {
    "claude_judge": "Claude-3.5-Sonnet",
    "sm_judge": "string matching (HoliSafe's list)",
    "v5_claude": "Claude-3.5-Sonnet, v5",
    "v5_sm": "string matching (HoliSafe's list), v5",
}
"""Who judged the published tables, by the names of their files."""


PUBLISHED_ON = "holisafe-bench"


def leaderboard(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders of one benchmark.")],
    judge: Annotated[
        str | None, typer.Option(metavar="J", help="One judge, or the panel majority or unanimous.")
    ] = None,
    published: Annotated[
        str | None, typer.Option(metavar="[NAME=]FILE.csv", help="A published table, and who judged it.")
    ] = None,
    sort: Annotated[
        str | None, typer.Option(metavar="MEASURE", help="masr_pooled, masr_macro, rr, asr.SSU, utility ...")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown tables.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print one CSV table.")] = False,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Draws the bootstrap.")] = 0,
    draws: Annotated[int, typer.Option(metavar="N", min=100, help="How many bootstrap draws.")] = 2000,
) -> None:
    """holisafe leaderboard runs/a runs/b runs/c --judge string-match

    Rank models by a measure, one table a judge, with intervals of the rates and of the ranks.

    FILE.csv is a table as HoliSafe published them: Model, a column for each combination, mASR and RR, in percent. Its
    rows are marked "published" and stand beside the runs, so it needs one judge: the one that comes nearest to its own.
    Ranked by mASR, pooled or macro as the table has it, unless --sort names another measure.
    """
    from ..metrics.leaderboard import leaderboard as ranked
    from ..metrics.measures import COMPARED
    from ..metrics.published_table import published_rows
    from ..metrics.shared import judged_by, shared_judges
    from ..runs.run import side_by_side

    if as_json + markdown + as_csv > 1:
        raise InputError("--json, --markdown and --csv exclude each other")
    if sort is not None and sort not in COMPARED:
        raise InputError(f"--sort {sort!r} is none of {', '.join(COMPARED)}")
    read = side_by_side(runs)
    judges, left_out = shared_judges(read, judge)
    if published is not None and len(judges) != 1:
        raise InputError(f"--published needs one judge to stand beside: --judge with one of {', '.join(judges)}")
    rows, notes = published_rows(*_read_published(published)) if published else ([], [])
    if sort is None:  # like with like: HoliSafe's tables pool, or take the plain mean
        sort = "masr_macro" if any("masr_macro" in row.cells for row in rows) else "masr_pooled"
    frames = judged_by(read, judges)
    boards = {
        name: ranked(frames, name, sort, rows, draws=draws, seed=seed)
        for name in judges or map(str, read[0].verdicts["judge"].unique())
    }
    if not any(boards.values()):
        raise InputError(f"no run has a valid verdict for {sort}")
    notes = [*left_out, *_differences(frames, boards), *notes]
    if rows and (asked := read[0].benchmark["name"]) != PUBLISHED_ON:
        notes.insert(0, f"the runs are on {asked}, the published rows on {PUBLISHED_ON}: no ranking across them holds")

    if as_json:
        found = {
            "benchmark": dict(read[0].benchmark),
            "sort": sort,
            "judges": {name: [one.to_json() for one in board] for name, board in boards.items()},
            "notes": notes,
        }
        print(json.dumps(found, indent=2, ensure_ascii=False))
    elif as_csv:
        _print_csv(boards, sort)
    elif markdown:
        _print_markdown(boards, sort, notes)
    else:
        from .screen import screen

        console = screen()
        for name, board in boards.items():
            console.print(_table(name, board, sort))
        for note in notes:
            console.print(f"- {note}")


def _read_published(given: str) -> tuple[list[tuple[str, dict[str, float]]], str]:
    """The rows of a published table, and its judge. Raises InputError naming row and field of what cannot be read."""
    from ..metrics.published_table import measure_of
    from ..tables import text_columns

    name, equals, path = given.rpartition("=")
    where = Path(path if equals else given)
    read = text_columns(where)
    measured = {column: measure for column in read if (measure := measure_of(column))}
    if "Model" not in read or not measured:
        raise InputError(
            f"no published table: it needs Model and columns such as SSU, mASR, RR; it has: {', '.join(read)}",
            where=where,
        )
    rows: list[tuple[str, dict[str, float]]] = [(model, {}) for model in read["Model"]]
    for column, measure in measured.items():
        for row, value in enumerate(read[column], start=1):
            try:
                number = float(value)
            except ValueError:
                number = float("nan")
            if not 0 <= number <= 100:
                raise InputError(f"{value!r} is no percentage", where=where, row=row, field=column)
            rows[row - 1][1][measure] = number
    return rows, name if equals else KNOWN_TABLES.get(where.stem, where.stem)


def _differences(frames: Any, boards: dict[str, list[Ranked]]) -> list[str]:
    """What keeps the rows of a table from being wholly comparable."""
    notes = []
    asked = {title: frozenset(frame["sample_id"].unique()) for title, frame in frames.items()}
    if len(set(asked.values())) > 1:
        sizes = ", ".join(f"{title} {len(ids):,}" for title, ids in asked.items())
        notes.append(f"the runs were not judged on the same samples ({sizes})")
    for name, board in boards.items():
        others = {one.row.judge for one in board if one.row.published}
        if others:
            notes.append(f"the runs were judged by {name}, the published rows by {', '.join(others)}")
    return notes


def _cells(row: Row, sort: str) -> list[str]:
    """The other measures that a table shows beside the one it is sorted by."""
    return [name for name in row.cells if name != sort]


def _columns(board: Sequence[Ranked], sort: str) -> list[str]:
    return list(dict.fromkeys(name for one in board for name in _cells(one.row, sort)))


def _rank(one: Ranked) -> str:
    return str(one.rank) if one.low is None else f"{one.rank} [{one.low}, {one.high}]"


def _sorted_by(one: Ranked, sort: str) -> str:
    from ..report.numbers import cell_text

    return cell_text(one.row.cells[sort])


def _table(judge: str, board: Sequence[Ranked], sort: str) -> Grid:
    from ..metrics.measures import MEASURES
    from ..report.grids import Grid
    from ..report.numbers import percent

    columns = _columns(board, sort)
    named = [MEASURES[name].label.removeprefix("ASR ") for name in columns]
    rows = []
    for one in board:
        others = [one.row.cells[name].rate if name in one.row.cells else None for name in columns]
        model = f"{one.row.model} (published)" if one.row.published else one.row.model
        rates = [percent(rate).removesuffix(" %") for rate in others]
        rows.append((model, _rank(one), percent(one.best), _sorted_by(one, sort), *rates))
    heads = ("Model", "Rank", "Best", MEASURES[sort].label, *named)
    return Grid(f"by {judge}, ranked by {sort}", heads, tuple(rows))


def _print_markdown(boards: dict[str, list[Ranked]], sort: str, notes: Sequence[str]) -> None:
    from ..metrics.measures import MEASURES
    from ..report.numbers import cell_text, percent

    for judge, board in boards.items():
        columns = _columns(board, sort)
        print(f"By {judge}, ranked by {sort}.\n")
        header = ["Rank", "Model", "Source", "Best", MEASURES[sort].label, *(MEASURES[name].label for name in columns)]
        lines = [header, ["---"] * len(header)]
        for one in board:
            cells = [one.row.cells.get(name) for name in columns]
            lines.append(
                [
                    _rank(one),
                    one.row.model,
                    f"published, {one.row.judge}" if one.row.published else "run",
                    percent(one.best),
                    _sorted_by(one, sort),
                    *map(cell_text, cells),
                ]
            )
        for line in lines:
            print("| " + " | ".join(value.replace("|", "\\|").replace("\n", " ") for value in line) + " |")
        print()
    for note in notes:
        print(f"- {note}")


def _print_csv(boards: dict[str, list[Ranked]], sort: str) -> None:
    from ..tables import csv_text

    columns = [sort, *dict.fromkeys(name for board in boards.values() for name in _columns(board, sort))]
    parts = ("rate", "low", "high", "n", "n_invalid")
    header = ["table", "rank", "rank_low", "rank_high", "p_best", "model", "source", "judge"] + [
        f"{name}.{part}" for name in columns for part in parts
    ]
    print(csv_text(header))
    for judge, board in boards.items():
        for one in board:
            found = one.to_json()
            cells = [found["rates"].get(name, {}) for name in columns]
            told = [
                judge,
                *(found[key] for key in ("rank", "rank_low", "rank_high", "p_best", "model", "source", "judge")),
            ]
            print(csv_text(told + [cell.get(part) for cell in cells for part in parts]))
