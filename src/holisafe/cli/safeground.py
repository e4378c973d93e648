"""`holisafe safeground`: does a model find safe texts and images likelier together than unsafe ones?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .command import leave_if


def safeground(
    bench: Annotated[str, typer.Argument(metavar="BENCH[:ROOT]", help="With quadruples, such as pictosafe.")],
    target: Annotated[str, typer.Option(metavar="SPEC", help="A model on this machine: hf/ID or hf/FOLDER.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The result, NAME.json; its scores are kept beside it.")],
    calibrate: Annotated[
        list[str] | None, typer.Option(metavar="METHOD", help="A calibration around the model; repeatable.")
    ] = None,
    split: Annotated[str | None, typer.Option(metavar="S", help="Which split; `test` where there is one.")] = None,
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="A stratified part of N quadruples.")] = None,
    system: Annotated[str | None, typer.Option(metavar="TEXT", help="A system prompt for every request.")] = None,
) -> None:
    """holisafe safeground pictosafe --target hf/ID --out safeground.json

    Print the SafeGround metrics of a model over a benchmark's quadruples of two texts and two images.

    The score of a pair is the mean log-likelihood of its text's tokens after its image. Killed or stopped, the same
    command goes on where it was. Leaves with 3 when a pair could not be scored: the same command tries it again.
    """
    from ..benchmarks import open_tested
    from ..calibration import calibrated
    from ..evaluation.likelihoods import safeground as measure
    from ..records import GenerationSettings
    from ..targets import open_target
    from .progress import showing_progress

    benchmark = open_tested(bench, split=split)
    settings = GenerationSettings(system=system)
    model = calibrated(open_target(target, settings), calibrate or [])
    with showing_progress() as progress:
        result = measure(benchmark, model, out, limit=limit, settings=settings, progress=progress)
    _print(result)
    leave_if(len(result["errors"]), "pairs could not be scored; the same command tries them again")


def _print(result: dict[str, Any]) -> None:
    from ..metrics.safeground import CHANCE
    from ..report.grids import Grid
    from ..report.numbers import as_cell, cell_text, percent
    from .screen import screen

    rows = []
    for name, cell in result["metrics"].items():
        query, _, kind = name.partition("_")
        label = f"preference of {kind} {query}s" if kind else name
        rows.append((label, cell_text(as_cell(cell)), percent(CHANCE[name])))
    screen().print(Grid(result["name"], ("Metric", "Rate, 95 % interval", "By chance"), tuple(rows)))
