"""`holisafe compare`: are models different, on the same samples?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError
from ..runs.scores import FILE

if TYPE_CHECKING:
    from rich.table import Table

    from ..runs.run import Run


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="Run folders of one benchmark.")],
    judge: Annotated[
        str | None, typer.Option(metavar="J", help="One judge, or the panel majority or unanimous.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Compare models sample by sample: differences with intervals, tests, and the smallest difference that would show.

    Only samples that both models answered and the judge has valid verdicts on count. Every pair of runs is compared on
    every measure; p values are corrected for all of them (Holm).
    """
    from ..metrics.comparison import compare as compared
    from ..metrics.shared import judged_by, shared_judges
    from ..runs.run import side_by_side

    if len(runs) < 2:
        raise InputError("a comparison needs at least two run folders")
    read = side_by_side(runs)
    judges, notes = shared_judges(read, judge)
    rows = compared(judged_by(read, judges))
    if not any(row["n"] for row in rows):
        raise InputError("the runs have no sample in common that both have a valid verdict on")
    if as_json:
        import json

        found = {
            "benchmark": dict(read[0].benchmark),
            "runs": {run.title: str(run.folder) for run in read},
            "comparisons": rows,
            "notes": notes,
        }
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    from .screen import screen

    console = screen()
    blocks: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in rows:
        blocks.setdefault((row["first"], row["second"], row["judge"]), []).append(row)
    for (first, second, by), block in blocks.items():
        console.print(_table(block, f"{first} → {second}, by {by}"))
    tested = sum(row["p"] is not None for row in rows)
    print(
        "p: McNemar's exact test; where samples share a cluster, the larger of it and a clustered one.\n"
        f"Holm: corrected for all {tested} comparisons; bold below 0.05.\n"
        "Shows: the smallest difference, in points, that would be found four times in five.\n"
        "Out: samples without two valid verdicts, which are left out."
    )
    for note in notes:
        print(f"- {note}")
    if len(read) == 2 and not judge:
        _side_by_side(*read)


def _side_by_side(first: Run, second: Run) -> None:
    """VSCBench's own scores of two finished runs, whole and by condition, slot and category; nothing for others."""
    from ..metrics.changes import changes
    from ..metrics.measured import everything, slices
    from ..report.tables import before_after_table
    from .screen import screen

    if not all((run.folder / FILE).is_file() for run in (first, second)):
        return
    if any(slices(first.scores, judge) for judge in first.scores.judges):
        measures = [measure for run in (first, second) for rows in everything(run.scores) for measure in rows]
        screen().print(before_after_table(first.scores, second.scores, changes(first, second, measures)))


def _table(rows: list[dict[str, Any]], title: str) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from ..metrics.measures import MEASURES
    from ..report.numbers import ABSENT, bracket, percent
    from ..report.tables import Pieces

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=Text(title), title_justify="left")
    table.add_column("Measure", no_wrap=True)
    for name in ("First", "Second", "Change, points", "p", "Holm", "Shows", "n", "Out"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        change = ABSENT
        if row["difference"] is not None:
            points = percent(row["difference"], signed=True).removesuffix(" %")
            change = f"{points} {bracket(row['low'], row['high'], signed=True)}"
        shows = ABSENT if row["detectable"] is None else f"{100 * row['detectable']:.1f}"
        table.add_row(
            MEASURES[row["measure"]].label,
            percent(row["rate_first"]),
            percent(row["rate_second"]),
            Pieces(change),
            _probability(row["p"]),
            _probability(row["p_holm"]),
            shows,
            str(row["n"]),
            str(sum(row["left_out"].values())),
            style="bold" if row["p_holm"] is not None and row["p_holm"] < 0.05 else None,
        )
    return table


def _probability(p: float | None) -> str:
    return "–" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"
