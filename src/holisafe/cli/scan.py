"""`holisafe scan`: everything in a folder, in shards, in a table or in an object store, read by a guard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from .command import RARE, known, leave_if

if TYPE_CHECKING:
    from ..metrics.prevalence import ErrorRates


def scan(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A folder, 'shards/*.tar', a table with images, s3://BUCKET/FOLDER.")
    ],
    guard: Annotated[
        str, typer.Option(metavar="SPEC", help="A guarded model, llama-guard/hf/ID ...", autocompletion=known("guards"))
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Rows in parquet, numbers and a page; goes on.")],
    engine: Annotated[str, typer.Option(metavar="local|ray", help="This machine, or a Ray cluster.")] = "local",
    rates: Annotated[
        Path | None, typer.Option(metavar="DIR", help="What guard eval --out wrote: corrects the prevalence.")
    ] = None,
    sensitivity: Annotated[str | None, typer.Option(metavar="K/N", help="Or: found of so many unsafe,")] = None,
    specificity: Annotated[str | None, typer.Option(metavar="K/N", help="and let pass of so many safe.")] = None,
    image_column: Annotated[str | None, typer.Option(metavar="NAME", help="Of a table.")] = None,
    text_column: Annotated[str | None, typer.Option(metavar="NAME", help="For a guard that reads pairs.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
    policy: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A policy of your own, in YAML.", rich_help_panel=RARE)
    ] = None,
    sample: Annotated[
        int, typer.Option(metavar="N", min=0, help="Pictures of each kind to check by hand.", rich_help_panel=RARE)
    ] = 12,
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Decoding threads, or Ray's actors.", rich_help_panel=RARE)
    ] = None,
) -> None:
    """holisafe scan photos/ --guard tuned --out scans/photos

    Read every picture with a guard: a row each, also for what cannot be read. Copies are read once; killed, the same
    command goes on. At the end how many by label and threshold, what looks alike, and a blurred sample to check.
    """
    from ..guards import open_policy
    from ..report.scan_page import write_scan_page
    from ..report.scans import scan_grids, scan_notes
    from ..scanning.folder import PAGE
    from ..scanning.scan import scan as scanned
    from .progress import showing_progress
    from .screen import screen

    measured = _rates(guard, rates, sensitivity, specificity)
    with showing_progress() as progress:
        found = scanned(
            source, guard, out, engine=engine, image_column=image_column, text_column=text_column,
            policy=open_policy(policy), workers=workers, sample=sample, rates=measured, progress=progress,
        )  # fmt: skip
    page = write_scan_page(found, out / PAGE)
    if as_json:
        print(json.dumps({**found, "sample": None}, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        console = screen()
        for grid in scan_grids(found):
            console.print(grid)
        for note in scan_notes(found):
            console.print(f"note: {note}", soft_wrap=True)
        console.print(f"{page} shows it, with a blurred sample to check by hand.", soft_wrap=True)
    leave_if(found["again"], "could not be read; the same command tries them again")


def _rates(guard: str, board: Path | None, sensitivity: str | None, specificity: str | None) -> ErrorRates | None:
    """The guard's error rates, as far as they are given."""
    from ..journal import read_json
    from ..metrics.prevalence import ErrorRates, measured_rates, typed_share

    if board is not None:
        if sensitivity is not None or specificity is not None:
            raise InputError("--rates brings both, --sensitivity and --specificity: give one or the other")
        path = board / "board.json" if board.is_dir() else board
        return measured_rates(read_json(path), guard, str(path))
    if (sensitivity is None) != (specificity is None):
        raise InputError("--sensitivity and --specificity go together")
    if sensitivity is None or specificity is None:
        return None
    found = typed_share(sensitivity, "--sensitivity"), typed_share(specificity, "--specificity")
    return ErrorRates(*found, where="the command line")
