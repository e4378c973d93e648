"""`holisafe agreement`: how far the judges of a run agree, with each other and with people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def agreement(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders; several of one benchmark.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print everything, with the pairs in dispute.")] = False,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Draws the bootstrap.")] = 0,
    draws: Annotated[int, typer.Option(metavar="N", min=100, help="How many bootstrap draws.")] = 2000,
) -> None:
    """holisafe agreement runs/a

    Show how far judges agree: kappas, panels, and against people's labels each judge's errors and corrected rates.

    People's labels come in as a judge, human:FILE. A random part of the responses is enough: prediction-powered
    inference then gives the rates that people would find, with intervals that hold whatever the judge's errors are.
    Several runs also show whether the judges order the models alike.
    """
    from ..metrics.agreement_of_runs import agreements
    from ..report.agreement import rank_grids, run_grids
    from ..runs.run import side_by_side
    from .screen import screen

    read = side_by_side(runs)
    found = agreements({run.title: run.verdicts for run in read}, draws=draws, seed=seed)
    if as_json:
        print(json.dumps({"benchmark": dict(read[0].benchmark), **found}, indent=2, ensure_ascii=False))
        return
    console = screen()
    for title, one in found["runs"].items():
        console.print(title, style="bold underline")
        for grid in run_grids(one):
            console.print(grid)
    for grid in rank_grids(found["rank_correlation"], len(read)):
        console.print(grid)
