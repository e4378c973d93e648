"""`holisafe report`: one HTML page from one or several run folders."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from PIL import Image

    from ..benchmarks.base import Benchmark


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders; of one benchmark, before first.")],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="The page; report.html in the first run.")] = None,
    title: Annotated[list[str] | None, typer.Option(metavar="TEXT", help="What to call a run; one a run.")] = None,
    images: Annotated[bool, typer.Option(help="Embed the pictures, blurred until asked for.")] = True,
) -> None:
    """Make one self-contained HTML page: tables, figures, and a browser of the pairs."""
    from ..report import write_page

    page = write_page(runs, out or runs[0] / "report.html", picture_of if images else None, title or None)
    print(f"The report is {page}")


def picture_of(run: Path, name: str) -> Image.Image:
    """A picture of a run's benchmark. Raises InputError when the benchmark or the picture is no longer there."""
    return _benchmark_of(run).open_image(name)


@cache
def _benchmark_of(run: Path) -> Benchmark:
    from ..benchmarks import open_recorded
    from ..runs.folder import read_manifest

    return open_recorded(read_manifest(run)["benchmark"])
