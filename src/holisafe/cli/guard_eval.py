"""`holisafe guard eval` and `holisafe guard pairs`: how good a guard is, on labelled images and on image-text pairs."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from ..errors import InputError
from .guard_model import Device, Pool, Processor, VisionTower
from .guard_tables import print_guard
from .progress import showing_progress

Split = Annotated[str | None, typer.Option(metavar="S", help="Such as test; for a benchmark or a table.")]
Threshold = Annotated[
    float | None, typer.Option(min=0, max=1, help="Unsafe above this 1 - P(safe), whatever the model's file says.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print everything as JSON.")]
Seed = Annotated[int, typer.Option(metavar="N", min=0, help="Draws the bootstrap.")]
Draws = Annotated[int, typer.Option(metavar="N", min=100, help="How many bootstrap draws.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Images read at once.")]


def evaluate(
    data: Annotated[
        str, typer.Option(metavar="SET", help="BENCH[:ROOT], a table (image, label[, source]), or a folder a label.")
    ],
    model: Annotated[
        str, typer.Option(metavar="MODEL", help="A guarded model, or shieldgemma2/ID, llavaguard/ID, llama-guard/ID.")
    ],
    split: Split = None,
    ood: Annotated[
        list[str] | None, typer.Option("--ood", metavar="NAME=SET", help="Out-of-distribution images, reported apart.")
    ] = None,
    threshold: Threshold = None,
    as_json: AsJson = False,
    published: Annotated[
        bool, typer.Option("--published", help="Add the published figures for HoliSafe-Bench.")
    ] = False,
    seed: Seed = 0,
    draws: Draws = 2000,
    batch_size: BatchSize = 8,
    processor: Processor = None,
    vision_tower: VisionTower = None,
    pool: Pool = None,
    device: Device = None,
) -> None:
    """holisafe guard eval --model tuned --data pictosafe --split test

    Measure a guard on labelled images: false alarms on benign ones first, then by label and by source.
    """
    from ..evaluation.guard_images import evaluate_guard
    from ..guards.visual_guard import Opening

    apart: dict[str, str] = {}
    for given in ood or []:
        name, equals, place = given.partition("=")
        if not equals or not name or not place:
            raise InputError(f"--ood {given!r} is not NAME=SET")
        if name in apart:
            raise InputError(f"two sets are called {name!r}")
        apart[name] = place
    with showing_progress() as progress:
        result = evaluate_guard(
            data, model, split=split, out_of_distribution=apart, published=published, seed=seed, draws=draws,
            progress=progress, threshold=threshold, batch_size=batch_size,
            how=Opening(device, processor, vision_tower, pool),
        )  # fmt: skip
    if as_json:
        print(json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        print_guard(result)


def pairs(
    data: Annotated[
        str, typer.Option(metavar="BENCH|RUN", help="BENCH[:ROOT], or a run folder, whose stored readings are used.")
    ],
    model: Annotated[str | None, typer.Option(metavar="MODEL", help="A guarded model; a run needs none.")] = None,
    split: Split = None,
    choose_on: Annotated[
        str | None, typer.Option(metavar="S", help="Choose the threshold on the SSS pairs of this split.")
    ] = None,
    false_alarms: Annotated[float, typer.Option(help="With --choose-on: the wanted share of SSS pairs above.")] = 0.05,
    threshold: Threshold = None,
    as_json: AsJson = False,
    seed: Seed = 0,
    draws: Draws = 2000,
    batch_size: BatchSize = 8,
    processor: Processor = None,
    pool: Pool = None,
    device: Device = None,
) -> None:
    """holisafe guard pairs --model reader --data pictosafe --split test

    Measure a guard on image-text pairs: unsafe is a pair to be refused. SSU against SSS, and false alarms.
    """
    from ..evaluation.guard_pairs import evaluate_pairs
    from ..guards.visual_guard import Opening

    with showing_progress() as progress:
        result = evaluate_pairs(
            data, model, split=split, choose_on=choose_on, false_alarms=false_alarms, threshold=threshold, seed=seed,
            draws=draws, progress=progress, batch_size=batch_size, how=Opening(device, processor, None, pool),
        )  # fmt: skip
    if as_json:
        print(json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        print_guard(result)
