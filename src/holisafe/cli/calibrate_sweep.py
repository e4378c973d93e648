"""`holisafe calibrate sweep`: methods and strengths against what they cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from .command import leave_if


def sweep(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="What to sweep: docs/calibration_sweep.md.")],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The sweep's folder; else the file's own out.")
    ] = None,
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="Ask a stratified part of each split.")] = None,
    report_all: Annotated[
        bool, typer.Option("--report-all", help="Report every setting, not the picked ones alone.")
    ] = False,
    trust_file: Annotated[
        bool, typer.Option("--trust-file", help="Let the .yaml file name keys, other machines and remote code.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell how many answers it takes; do nothing.")] = False,
) -> None:
    """holisafe calibrate sweep sweep.yaml --out sweeps/first

    Measure every setting on the split to choose on, pick within limits, and report on the other split.

    Killed or stopped at any moment, the same command goes on; a longer grid asks only what is new. DIR gets
    frontier.html, frontier.json, a run folder for each setting and what methods learnt. Leaves with 0 when done, 2 on
    bad input, 3 when stopped early or when calls failed: the same command tries again.
    """
    from ..calibration.sweep import Sweep, failed
    from ..calibration.sweep_config import read_sweep
    from ..report.frontier_page import write_frontier_page
    from ..report.frontier_rows import LATENCY_NOTE, chosen_on, picked_by, setting_table
    from .progress import showing_progress
    from .screen import screen

    told = {"out": out, "limit": limit, "report_all": report_all or None}
    chosen = read_sweep(config, {name: value for name, value in told.items() if value is not None}, trust_file)
    if chosen.out is None:
        raise InputError("no 'out' here, and no --out given", where=config)
    with showing_progress() as progress:
        ready = Sweep(chosen, chosen.out, lambda done, total, doing: progress("answers", done, total, doing))
        planned = ready.planned
        settings = sum(setting.kind == "setting" for setting in ready.settings)
        counted = f"{settings:,} setting{'s' * (settings != 1)}"
        print(f"{counted}: {planned['choose']:,} answers to choose, about {planned['report']:,} to report")
        if dry_run:
            return
        found = ready.run()
    page = write_frontier_page(found, chosen.out / "frontier.html")
    console = screen()
    for phase in ("choose", "report"):
        console.print(setting_table(found, phase))
    for line in (LATENCY_NOTE, chosen_on(found), picked_by(found)):
        if line:
            console.print(line)
    print(f"The page is {page}; all numbers are in {chosen.out / 'frontier.json'}")
    leave_if(failed(found["points"]), "calls failed; their settings are on no front. The same command tries them again")
