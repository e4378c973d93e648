"""`holisafe mechanism`: what did safety tuning do inside a model?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError


def mechanism(
    base: Annotated[str, typer.Argument(metavar="BASE", help="The model before tuning: a folder or hub id.")],
    tuned: Annotated[str, typer.Argument(metavar="TUNED", help="The same, tuned; an adapter is merged first.")],
    data: Annotated[str, typer.Option(metavar="BENCH[:ROOT]", help="Safe and unsafe pairs, none tuned on.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder to make: tables, summary, page.")],
    split: Annotated[str | None, typer.Option(metavar="S", help="Which split; `test` where there is one.")] = None,
    part: Annotated[str, typer.Option(metavar="PART", help="text, vision or projector.")] = "text",
    at: Annotated[
        str,
        typer.Option(metavar="PLACE", help="Of an answer: first, its beginning; decision, where tuning moved it most."),
    ] = "first",
    run: Annotated[
        Path | None, typer.Option(metavar="RUN", help="A judged run of TUNED: which attacks succeed.")
    ] = None,
    positions: Annotated[int, typer.Option(metavar="N", min=1, help="How many first tokens of an answer.")] = 10,
    limit: Annotated[int, typer.Option(metavar="N", min=8, help="A stratified part of N pairs.")] = 400,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Draws the pairs, and which give the means.")] = 0,
    batch_size: Annotated[int, typer.Option(metavar="N", min=1, help="Conversations read together.")] = 8,
) -> None:
    """holisafe mechanism pictovlm tuned --data pictosafe --out inside

    Compare a model with the one that it was tuned from: which pairs lie together, layer by layer, where the update
    writes and on what it acts, and how deep it reaches. OUT/index.html draws it.
    """
    from ..benchmarks import open_tested
    from ..mechanism.blocks import PARTS, chosen
    from ..mechanism.study import PLACES, open_whole, study
    from ..report.mechanism_page import write_mechanism_page
    from ..runs.run import read_run
    from .progress import showing_progress
    from .screen import screen

    where, place = chosen("--part", part, PARTS), chosen("--at", at, PLACES)
    if out.exists():
        raise InputError("is there already", where=out)
    benchmark = open_tested(data, split=split)
    succeeded = frozenset(read_run(run).failed) if run else frozenset()
    first, second = (open_whole(one, batch_size) for one in (base, tuned))
    with showing_progress() as progress:
        found = study(
            first,
            second,
            benchmark,
            part=where,
            at=place,
            limit=limit,
            positions=positions,
            seed=seed,
            succeeded=succeeded,
            progress=progress,
        )
    found.save(out)
    page = write_mechanism_page(found.summary, out / "index.html")
    screen().print(f"{page} shows {found.summary['pairs']:,} pairs; the tables lie beside it.")
