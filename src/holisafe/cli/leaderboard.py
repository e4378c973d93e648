"""`holisafe leaderboard`: models ranked, with how sure the ranks are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError


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
    from ..metrics.boards import boards
    from ..report.leaderboards import leaderboard_grid, leaderboard_grids, leaderboard_rows
    from ..runs.run import side_by_side
    from ..tables import csv_text
    from .screen import screen

    if as_json + markdown + as_csv > 1:
        raise InputError("--json, --markdown and --csv exclude each other")
    read = side_by_side(runs)
    found = boards(read, judge, published, sort, draws=draws, seed=seed)
    if as_json:
        told = {
            "benchmark": dict(read[0].benchmark),
            "sort": found.sort,
            "judges": {name: [one.to_json() for one in board] for name, board in found.judges.items()},
            "notes": found.notes,
        }
        print(json.dumps(told, indent=2, ensure_ascii=False))
    elif as_csv:
        for line in leaderboard_rows(found.judges, found.sort):
            print(csv_text(line))
    else:
        console = screen()
        for name, board in found.judges.items():
            if markdown:
                grid = leaderboard_grid(f"by {name}", board, found.sort)
                print(f"By {name}, ranked by {found.sort}.\n\n{grid.markdown()}\n")
            else:
                console.print(*leaderboard_grids(f"by {name}", board, found.sort))
        for note in found.notes:
            console.print(f"- {note}", soft_wrap=markdown)
