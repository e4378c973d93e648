"""`holisafe compare`: are models different, on the same samples?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError

if TYPE_CHECKING:
    from rich.table import Table


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="Run folders of one benchmark.")],
    judge: Annotated[
        str | None, typer.Option(metavar="J", help="One judge, or the panel majority or unanimous.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Draws the bootstrap.")] = 0,
    draws: Annotated[int, typer.Option(metavar="N", min=100, help="How many bootstrap draws.")] = 2000,
) -> None:
    """Compare models sample by sample: differences with intervals, tests, and the smallest difference that would show.

    Only samples that both models answered and the judge has valid verdicts on count. Every pair of runs is compared on
    every measure; p values are corrected for all of them (Holm).
    """
    from ..metrics.comparison import compare as compared
    from .run_tables import judged_by, read_tables, shared_judges

    if len(runs) < 2:
        raise InputError("a comparison needs at least two run folders")
    tables = read_tables(runs)
    judges = shared_judges(tables, judge)
    rows = compared({table.title: judged_by(table, judges) for table in tables}, draws=draws, seed=seed)
    if not any(row["n"] for row in rows):
        raise InputError("the runs have no sample in common that both have a valid verdict on")
    if as_json:
        import json

        found = {
            "benchmark": dict(tables[0].benchmark),
            "runs": {table.title: str(table.folder) for table in tables},
            "comparisons": rows,
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
    if len(tables) == 2 and not judge:
        _side_by_side(runs)


def _side_by_side(runs: list[Path]) -> None:
    """VSCBench's own scores of two finished runs, whole and by condition, slot and category; nothing for others."""
    from ..journal import read_json
    from ..report.measures import calibration_slices
    from ..report.tables import before_after_table
    from .screen import screen

    if not all((run / "scores.json").is_file() for run in runs):
        return
    first, second = (read_json(run / "scores.json") for run in runs)
    if any(calibration_slices(first, judge) for judge in first.get("judges") or {}):
        screen().print(before_after_table(first, second))
        print("Change: its interval takes the two runs as independent, so it is rather too wide (docs/report.md).")


def _table(rows: list[dict[str, Any]], title: str) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from ..report.numbers import ABSENT, bracket, percent
    from ..report.tables import Pieces
    from .show import measure_name

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
            measure_name(row["measure"]),
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
