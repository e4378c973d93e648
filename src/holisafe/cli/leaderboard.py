"""`holisafe leaderboard`: models ranked, with how sure the ranks are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError

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
    from ..metrics.leaderboard import differences
    from ..metrics.leaderboard import leaderboard as ranked
    from ..metrics.measures import COMPARED
    from ..metrics.published_table import published_rows, read_published
    from ..metrics.shared import judged_by, shared_judges
    from ..report.leaderboards import leaderboard_grid, leaderboard_rows
    from ..runs.run import side_by_side
    from ..tables import csv_text
    from .screen import screen

    if as_json + markdown + as_csv > 1:
        raise InputError("--json, --markdown and --csv exclude each other")
    if sort is not None and sort not in COMPARED:
        raise InputError(f"--sort {sort!r} is none of {', '.join(COMPARED)}")
    read = side_by_side(runs)
    judges, left_out = shared_judges(read, judge)
    if published is not None and len(judges) != 1:
        raise InputError(f"--published needs one judge to stand beside: --judge with one of {', '.join(judges)}")
    rows, notes = published_rows(*read_published(published)) if published else ([], [])
    if sort is None:  # like with like: HoliSafe's tables pool, or take the plain mean
        sort = "masr_macro" if any("masr_macro" in row.cells for row in rows) else "masr_pooled"
    frames = judged_by(read, judges)
    boards = {
        name: ranked(frames, name, sort, rows, draws=draws, seed=seed)
        for name in judges or map(str, read[0].verdicts["judge"].unique())
    }
    if not any(boards.values()):
        raise InputError(f"no run has a valid verdict for {sort}")
    notes = [*left_out, *differences(frames, boards), *notes]
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
        for line in leaderboard_rows(boards, sort):
            print(csv_text(line))
    else:
        console = screen()
        for name, board in boards.items():
            grid = leaderboard_grid(name, board, sort, whole=markdown)
            if markdown:
                print(f"By {name}, ranked by {sort}.\n\n{grid.markdown()}\n")
            else:
                console.print(grid)
        for note in notes:
            console.print(f"- {note}", soft_wrap=markdown)
