"""`holisafe export`: a run as one table, or as a log of Inspect AI or lmms-eval."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="A .csv, .parquet, .eval or .jsonl file.")] = None,
    training: Annotated[
        Path | None, typer.Option(metavar="FILE.jsonl", help="Instead: its failures, for `holisafe tune --data`.")
    ] = None,
    root: Annotated[
        str | None, typer.Option(metavar="DIR", help="For .eval: the benchmark's folder, if moved.")
    ] = None,
    images: Annotated[bool, typer.Option("--images/--without-images", help="Pictures in an .eval log.")] = True,
) -> None:
    """holisafe export runs/before --out before.csv

    Write a run as one table, CSV or parquet: a row a response, with its sample and what every judge says of it.

    It holds the texts of queries and responses. In CSV, text that a spreadsheet would take for a formula gets a leading
    apostrophe. `holisafe score FILE.csv` computes the run's scores from it.

    An .eval file is a log that Inspect AI's viewer opens: a sample a response, the verdicts as scores. A .jsonl file is
    a sample log as lmms-eval writes them. `holisafe import` reads both back as they were.
    """
    if (out is None) == (training is None):
        raise InputError("one of --out and --training is needed", where=run)
    if training is not None:
        from ..interchange.training_data import write_training_data

        examples, left_out = write_training_data(run, training, root)
        print(f"{training}: {examples:,} examples; measure what is tuned on them on other samples")
        if left_out:
            print(f"{left_out:,} requests that were wrongly refused have no reference answer and are left out")
        return
    assert out is not None
    if out.suffix.lower() == ".eval":
        from ..interchange.inspect_logs import write_eval_log

        rows = write_eval_log(run, out, images, root)
    elif out.suffix.lower() == ".jsonl":
        from ..interchange.lmms_eval_log import write_log

        rows = write_log(run, out)
    else:
        from ..interchange.run_table import write_run_table

        rows = write_run_table(run, out)
    print(f"{out}: {rows:,} responses")
