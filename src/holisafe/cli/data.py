"""`holisafe data`: list the benchmarks, write one out as files, find every fault of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import ExitCode

app = typer.Typer(no_args_is_help=True, add_completion=False, help="List, export and check benchmarks.")

Root = Annotated[Path | None, typer.Option("--root", help="The folder of the benchmark's release.")]


@app.command("list")
def list_benchmarks() -> None:
    """What can be measured on: size, combinations, licence, and how to get it. Nothing is loaded."""
    from rich.console import Console
    from rich.table import Table

    from ..registry import benchmarks

    table = Table("benchmark", "size", "combinations", "licence", "how to get it", show_lines=True)
    for column in table.columns:
        column.no_wrap, column.overflow = column.header == "benchmark", "fold"
    for name, entry in benchmarks.entries().items():
        table.add_row(name, *(entry.facts.get(fact, "") for fact in ("size", "combinations", "licence", "access")))
    console = Console()
    console.width = console.width if console.is_terminal else 150
    console.print(table)


@app.command("export")
def export_benchmark(
    benchmark: Annotated[str, typer.Argument(help="A name from `holisafe data list`.")],
    out: Annotated[Path, typer.Option("--out", help="The folder to make; it must not exist or be empty.")],
    root: Root = None,
    split: Annotated[str | None, typer.Option("--split", help="Only this split.")] = None,
) -> None:
    """Write a benchmark as a folder in HoliSafe-Bench's form, with a sidecar for what its eight fields cannot hold."""
    from ..benchmarks import open_benchmark
    from ..benchmarks.export import export

    records, apart, pictures = export(open_benchmark(benchmark, root, split), out)
    print(f"{out}: {records:,} records, {pictures:,} images" + (f", {apart:,} in the sidecar only" if apart else ""))


@app.command("check")
def check_benchmark(
    benchmark: Annotated[str, typer.Argument(help="A name, or a folder in HoliSafe-Bench's form.")],
    root: Root = None,
) -> None:
    """Report every fault of a benchmark's files, a line each: file, row, field, problem. Exits 2 when there is any."""
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
