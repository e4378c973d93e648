"""Scan what a folder, shards, a table or an object store hold with a guard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import InputError
from ..guards.base import Guard
from ..metrics.prevalence import ErrorRates, share_of
from .bars import watched
from .measure import Folder, expect
from .shown import ShownNumbers

if TYPE_CHECKING:
    import pandas as pd

    from ..evaluation.progress import Progress


class Scan(ShownNumbers):
    """What a scan found: its numbers by name, as summary.json has them (docs/scan.md), and its rows."""

    def __init__(self, found: Mapping[str, Any], folder: Path) -> None:
        super().__init__(found)
        self.folder = folder

    def frame(self) -> pd.DataFrame:
        """A row a picture, in memory: the columns of docs/scan.md but pictures and their hashes, and `p_CATEGORY` for
        each number of the guard's. A copy has what was found of its first."""
        from ..scanning.summary import frame_of

        return frame_of(self.folder)

    def _html(self) -> str:
        from ..report.fragment import fragment
        from ..report.scans import scan_grids, scan_notes

        return fragment(grids=scan_grids(self), notes=scan_notes(self))

    def _texts(self) -> Iterable[Any]:
        from ..report.scans import scan_grids, scan_notes

        return [*scan_grids(self), *scan_notes(self)]


def scan(
    source: Folder,
    guard: str | Path | Guard,
    out: Folder,
    *,
    engine: Literal["local", "ray"] = "local",
    image_column: str | None = None,
    text_column: str | None = None,
    sensitivity: tuple[int, int] | None = None,
    specificity: tuple[int, int] | None = None,
    workers: int | None = None,
    sample: int = 12,
    progress: Progress | None = None,
) -> Scan:
    """Read every picture in a source with a guard: a row each, also for what cannot be read; copies are read once.

    Every row is kept as it comes. Interrupted or killed at any moment, the same call goes on where it was, and so does
    `holisafe scan`.

    Args:
        source: a folder; 'shards/*.tar'; a table with a column of images; `s3://BUCKET/FOLDER` and what else fsspec
            reads.
        guard: a guarded model's folder or hub id; another's, such as `llama-guard/hf/ID`; or a guard that is open.
        out: the folder of the scan to make, or to carry on.
        engine: this machine, or a Ray cluster, which needs the guard by its name.
        image_column: a table's column of images; None: the first of the usual names. `text_column` likewise.
        sensitivity: (found, all) of unsafe pictures that people labelled, which with `specificity`, (let pass, all) of
            safe ones, corrects the prevalence.
        workers: threads that read and decode, or Ray's actors.
        sample: pictures of each kind that are kept to be checked by hand.
        progress: called with (stage, done, total); None: a bar in a notebook, nothing elsewhere.

    Returns:
        The scan: its numbers, `frame()` and `folder`. The page with the blurred sample is in `out`, as index.html.

    Raises InputError for a source or guard that cannot be used, and an `out` that holds another scan.

    Example:
        pictures = holisafe.open_benchmark("pictosafe", split="test")
        names = {name for sample in pictures.samples[:30] for name in sample.images}
        for number, name in enumerate(sorted(names)):
            pictures.open_image(name).save(f"{number}.png")
        found = holisafe.scan(".", "tuned", "scans/first", sensitivity=(93, 100), specificity=(880, 892))
        print(found.frame()[["id", "copy_of", "unsafe", "score"]])
    """
    from ..report.scan_page import write_scan_page
    from ..scanning.folder import PAGE
    from ..scanning.scan import scan as scanned

    expect("source", source, Folder)
    expect("guard", guard, Folder | Guard)
    expect("out", out, Folder)
    if (sensitivity is None) != (specificity is None):
        raise InputError("sensitivity and specificity go together")
    rates = None
    if sensitivity is not None and specificity is not None:
        found, passed = share_of(*sensitivity), share_of(*specificity)
        if found is None or passed is None:
            raise InputError("sensitivity and specificity are (found, all) and (let pass, all), such as (93, 100)")
        rates = ErrorRates(found, passed, where="what was given")
    opened: Any = str(guard) if isinstance(guard, Path) else guard
    with watched(progress) as told:
        numbers = scanned(
            str(source), opened, Path(out), engine=engine, image_column=image_column, text_column=text_column,
            workers=workers, sample=sample, rates=rates,
            progress=lambda stage, done, total, note="": told(stage, done, total),
        )  # fmt: skip
    write_scan_page(numbers, Path(out) / PAGE)
    return Scan(numbers, Path(out))
