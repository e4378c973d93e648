"""`holisafe compare`: are models different, on the same samples?"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..runs.scores import FILE

if TYPE_CHECKING:
    from ..runs.run import Run


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="Run folders of one benchmark.")],
    judge: Annotated[
        str | None, typer.Option(metavar="J", help="One judge, or the panel majority or unanimous.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """holisafe compare runs/before runs/after

    Compare models sample by sample: differences with intervals, tests, and the smallest difference that would show.

    Only samples that both models answered and the judge has valid verdicts on count. Every pair of runs is compared on
    every measure; p values are corrected for all of them (Holm). Of runs under attacks (`holisafe run --attack`) beside
    one of the same model without, a table says what each attack costs; --json has all the rest.
    """
    from ..api.measure import compare as compared

    found = compared(runs, judge=judge)
    if as_json:
        import json

        told = {
            "benchmark": dict(found.runs[0].benchmark),
            "runs": {run.title: str(run.folder) for run in found.runs},
            "comparisons": found.rows,
            "reasoning_taxes": [asdict(tax) for tax in found.reasoning_taxes],
            "notes": found.notes,
        }
        print(json.dumps(told, indent=2, ensure_ascii=False))
        return
    from ..report.comparisons import comparison_grids, explained
    from .screen import screen

    console = screen()
    robustness = found.robustness()
    alone = bool(robustness) and len(found.runs) > 2  # the other pairs are not what was asked for
    for grid in [*robustness, *(() if alone else comparison_grids(found.rows))]:
        console.print(grid)
    notes = [*found.reasoning_taxes, *found.notes]
    for line in [*(() if alone else explained(found.rows)), *(f"- {note}" for note in notes)]:
        console.print(line)
    if len(found.runs) == 2 and not judge:
        _side_by_side(*found.runs)


def _side_by_side(first: Run, second: Run) -> None:
    """VSCBench's own scores of two finished runs, whole and by condition, slot and category; nothing for others."""
    from ..metrics.changes import changes
    from ..metrics.measured import everything, slices
    from ..report.tables import rates_grid
    from .screen import screen

    if not all((run.folder / FILE).is_file() for run in (first, second)):
        return
    if any(slices(first.scores, judge) for judge in first.scores.judges):
        measures = [measure for run in (first, second) for rows in everything(run.scores) for measure in rows]
        changed = changes(first, second, measures)
        screen().print(rates_grid([first.scores, second.scores], [first.title, second.title], changed))
