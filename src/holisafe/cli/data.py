"""`holisafe data`: list the benchmarks, write one out as files, find every fault of a folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from ..errors import ExitCode
from .command import Commands, known

app = Commands("List, export and check benchmarks.")

Root = Annotated[
    Path | None,
    typer.Option("--root", metavar="DIR", help="The folder of the release, or hub: or hub:OWNER/NAME[@REVISION]."),
]

WIDTH = 100
"""Listings are no wider, however wide the terminal."""

SHORT = re.compile(r"[, :(]( .*|\(.*)|(test|validation) | with .*")
"""What the short form of a fact leaves out."""

FACTS = {
    "size": "size",
    "combinations": "combinations",
    "licence": "licence",
    "citation": "citation",
    "access": "how to get it",
    "published": "published counts",
}
"""Facts that a reader registers -> what a listing calls them."""


@app.command("list")
def list_benchmarks(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Only these, with their counts.")
    ] = None,
) -> None:
    """holisafe data list vlguard

    What can be measured on, a line each; with names all that is known of them. Nothing is loaded.
    """
    from rich.padding import Padding
    from rich.text import Text

    from ..registry import benchmarks
    from ..report.grids import Grid
    from .screen import screen

    console = screen()
    console.width = min(console.width if console.is_terminal else WIDTH, WIDTH)
    if not names:
        rows = tuple(
            (
                name,
                *(SHORT.sub("", entry.facts.get(fact, "")) for fact in ("size", "combinations")),
                _files(entry.facts),
            )
            for name, entry in benchmarks.entries().items()
        )
        console.print(Grid("", ("Name", "Size", "Combinations", "Files"), rows))
        console.print("hub: with --root hub:   --root: name the folder   more: holisafe data list NAME")
        return
    for name, entry in {name: benchmarks.get(name) for name in names}.items():
        facts = entry.facts
        console.print(Text.assemble((name, "bold"), f"  {facts['summary']}" if "summary" in facts else ""))
        for fact, called in FACTS.items():
            if fact in facts:
                console.print(Padding(Text(f"{called}: {facts[fact]}"), (0, 0, 0, 4), expand=False))


def _files(facts: Mapping[str, str]) -> str:
    """Where a benchmark's files come from, in a word or two."""
    if facts.get("access") == "embedded":
        return "built in"
    gated = ", gated" if "gated" in facts.get("access", "") else ""
    return f"hub{gated}" if "hub" in facts else "--root"


@app.command("export")
def export_benchmark(
    benchmark: Annotated[
        str,
        typer.Argument(
            metavar="BENCH[:ROOT]", help="A name from `holisafe data list`.", autocompletion=known("benchmarks")
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="The folder to make; it must not exist or be empty.")],
    root: Root = None,
    split: Annotated[str | None, typer.Option("--split", help="Only this split.")] = None,
) -> None:
    """holisafe data export pictosafe --out FOLDER

    Write a benchmark as a folder in HoliSafe-Bench's form, with a sidecar for what its eight fields cannot hold.
    """
    from ..benchmarks import open_benchmark
    from ..benchmarks.export import export

    records, apart, pictures = export(open_benchmark(benchmark, root, split), out)
    print(f"{out}: {records:,} records, {pictures:,} images" + (f", {apart:,} in the sidecar only" if apart else ""))


@app.command("check")
def check_benchmark(
    benchmark: Annotated[
        str,
        typer.Argument(
            metavar="BENCH[:ROOT]", help="Or a folder in HoliSafe-Bench's form.", autocompletion=known("benchmarks")
        ),
    ],
    root: Root = None,
) -> None:
    """holisafe data check figstep:FOLDER

    Report every fault of a benchmark's files, a line each: file, row, field, problem. Exits 2 when there is any.
    """
    from ..benchmarks.check import check
    from ..registry import benchmarks

    name = benchmark
    if root is None and benchmark not in benchmarks.entries() and Path(benchmark).is_dir():
        name, root = "holisafe-bench", Path(benchmark)
    faults, remarks = check(name, root)
    for fault in faults:
        print(fault)
    for remark in remarks:
        print(f"note: {remark}")
    print(f"{len(faults):,} fault{'' if len(faults) == 1 else 's'}" if faults else "no faults")
    if faults:
        raise typer.Exit(ExitCode.BAD_INPUT)
