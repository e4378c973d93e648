"""`holisafe export`: a run as one table, or as a log of Inspect AI."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="What to write: .csv, .parquet, or .eval.")],
    root: Annotated[
        str | None, typer.Option(metavar="DIR", help="For .eval: the benchmark's folder, if moved.")
    ] = None,
    images: Annotated[bool, typer.Option("--images/--without-images", help="Pictures in an .eval log.")] = True,
) -> None:
    """Write a run as one table, CSV or parquet: a row a response, with its sample and what every judge says of it.

    It holds the texts of queries and responses. In CSV, text that a spreadsheet would take for a formula gets a leading
    apostrophe. `holisafe score FILE.csv` computes the run's scores from it.

    An .eval file is a log that Inspect AI's viewer opens: a sample a response, the verdicts as scores.
    """
    if out.suffix.lower() == ".eval":
        from ..interchange.inspect_logs import write_eval_log

        rows = write_eval_log(run, out, images, root)
    else:
        from ..interchange.run_table import write_run_table

        rows = write_run_table(run, out)
    print(f"{out}: {rows:,} responses")
