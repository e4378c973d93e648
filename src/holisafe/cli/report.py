"""`holisafe report`: one HTML page from one or several run folders."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ChangedError, InputError, Notice

if TYPE_CHECKING:
    from PIL import Image


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders; of one benchmark, before first.")],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="The page; report.html in the first run.")] = None,
    title: Annotated[list[str] | None, typer.Option(metavar="TEXT", help="What to call a run; one a run.")] = None,
    images: Annotated[bool, typer.Option(help="Embed the pictures, blurred until asked for.")] = True,
    root: Annotated[
        list[str] | None,
        typer.Option(metavar="DIR", help="The benchmark's folder, if moved; one, or one a run."),
    ] = None,
) -> None:
    """holisafe report runs/before runs/after --out report.html

    Make one self-contained HTML page: tables, figures, and a browser of the pairs.
    """
    from ..report import write_page
    from .progress import showing_progress

    if root and len(root) not in (1, len(runs)):
        raise InputError(f"{len(root)} roots for {len(runs)} run folders")
    places = dict(zip(runs, root * len(runs) if len(root) == 1 else root, strict=False)) if root else {}
    with showing_progress() as progress:
        opener = pictures(places) if images else None
        page = write_page(runs, out or runs[0] / "report.html", opener, title or None, tell=progress)
    print(f"The report is {page}")


def pictures(roots: Mapping[Path, str] | None = None) -> Callable[[Path, str], Image.Image]:
    """Opens a picture of a run, by the run's folder and the picture's name. `roots`: where benchmarks are now.

    The function raises InputError when the benchmark holds no such picture, or is not what the run asked about: then
    no picture of it is shown, and a warning says why, once a run.
    """
    from ..benchmarks import open_recorded
    from ..records import Sample
    from ..runs.folder import read_manifest, read_records

    opened: dict[Path, Callable[[str], Image.Image] | InputError] = {}
    once = Lock()

    def asked_about(run: Path) -> Callable[[str], Image.Image]:
        root = (roots or {}).get(run)
        benchmark = open_recorded(read_manifest(run).get("benchmark"), run / "manifest.json", root)
        known = {name for sample in benchmark.samples for name in sample.every_image}
        rows = {sample.id: (sample.query, sample.images, sample.turns) for sample in benchmark.samples}
        if any(rows.get(key) != (one.query, one.images, one.turns) for key, one in read_records(run, Sample).items()):
            raise ChangedError(f"{benchmark.name} is not what this run was asked about", where=run)

        def open_known(name: str) -> Image.Image:
            if name not in known:  # a run folder may name any file of the benchmark's folder
                raise InputError(f"{benchmark.name} has no picture {name!r}", where=run)
            return benchmark.open_image(name)

        return open_known

    def open_picture(run: Path, name: str) -> Image.Image:
        with once:
            if run not in opened:
                try:
                    opened[run] = asked_about(run)
                except InputError as error:
                    warnings.warn(f"{run}: shown without its pictures: {error}", Notice, stacklevel=2)
                    opened[run] = error
        found = opened[run]
        if isinstance(found, InputError):
            raise found
        return found(name)

    return open_picture
