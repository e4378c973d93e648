"""`holisafe guard eval`: how good a guard is, on any labelled images, and on pairs."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from ..errors import InputError
from .guard_model import Device, Opening, Pool, Processor, VisionTower


def evaluate(
    data: Annotated[
        str,
        typer.Option(metavar="SET", help="A benchmark, a table (image, label[, source]), a folder a label, or a run."),
    ],
    model: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="A guarded model, or shieldgemma2/ID, llavaguard/ID, llama-guard/ID."),
    ] = None,
    root: Annotated[str | None, typer.Option(metavar="DIR", help="The folder of the benchmark's release.")] = None,
    split: Annotated[str | None, typer.Option(help="Such as test; for a benchmark or a table.")] = None,
    ood: Annotated[
        list[str] | None, typer.Option("--ood", metavar="NAME=SET", help="Out-of-distribution images, reported apart.")
    ] = None,
    pairs: Annotated[bool, typer.Option("--pairs", help="The target is the pair: unsafe when to be refused.")] = False,
    choose_on: Annotated[
        str | None, typer.Option(metavar="SPLIT", help="With --pairs: choose the threshold on this split's SSS pairs.")
    ] = None,
    false_alarms: Annotated[float, typer.Option(help="With --choose-on: the wanted share of SSS pairs above.")] = 0.05,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Unsafe above this 1 - P(safe), whatever the model's file says.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    published: Annotated[
        bool, typer.Option("--published", help="Add the published figures for HoliSafe-Bench.")
    ] = False,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Draws the bootstrap.")] = 0,
    draws: Annotated[int, typer.Option(metavar="N", min=100, help="How many bootstrap draws.")] = 2000,
    batch_size: Annotated[int, typer.Option(min=1, help="Images read at once.")] = 8,
    processor: Processor = None,
    vision_tower: VisionTower = None,
    pool: Pool = None,
    device: Device = None,
) -> None:
    """Measure a guard: false alarms on benign images first, then by label and by source, each set apart.

    With --pairs it reads image and question and is measured on the pairs: SSU against SSS, and false alarms at a
    threshold. SET may then be a run folder, whose stored readings are used, and needs no --model.
    """
    how = Opening(device, processor, vision_tower, pool)
    if pairs:
        from .guard_pairs import evaluate_pairs

        if ood or published:
            raise InputError("--ood and --published are about images, not --pairs")
        result = evaluate_pairs(
            data, model, root=root, split=split, choose_on=choose_on, false_alarms=false_alarms,
            threshold=threshold, seed=seed, draws=draws, batch_size=batch_size, how=how,
        )  # fmt: skip
    else:
        if model is None:
            raise InputError("--model is needed, except with --pairs on a run folder")
        if choose_on is not None:
            raise InputError("--choose-on goes with --pairs; for images see holisafe guard thresholds")
        result = _evaluate_images(
            data, model, root, split, ood or [], threshold, seed, draws, batch_size, how, published
        )
    if as_json:
        print(json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False))
        return
    from .guard_tables import print_images, print_pairs

    (print_pairs if pairs else print_images)(result)


def _evaluate_images(
    data: str,
    model: str,
    root: str | None,
    split: str | None,
    ood: list[str],
    threshold: float | None,
    seed: int,
    draws: int,
    batch_size: int,
    how: Opening,
    published: bool,
) -> dict[str, Any]:
    from ..metrics.guard_images import image_scores
    from .guard_readers import open_guard, read_images
    from .guard_sets import check_labels, open_set
    from .progress import showing_progress

    sets = {data: open_set(data, root, split)}
    for given in ood:
        name, equals, place = given.partition("=")
        if not equals or not name or not place:
            raise InputError(f"--ood {given!r} is not NAME=SET")
        if name in sets:
            raise InputError(f"two sets are called {name!r}")
        sets[name] = open_set(place)
    guard = open_guard(model, threshold=threshold, batch_size=batch_size, how=how)
    for name, images in sets.items():
        check_labels(images, guard.labels, name)
    stored = guard.stored
    scores: dict[str, Any] = {}
    with showing_progress() as show:
        for number, (name, images) in enumerate(sets.items()):
            readings = read_images(guard, images, name, show, batch_size)
            quantile = stored.set_quantile if stored else None
            scores[name] = {
                "out_of_distribution": number > 0,
                **image_scores(readings, set_quantile=quantile, seed=seed, draws=draws),
            }
    result: dict[str, Any] = {"model": guard.name, "decides": guard.decides, "note": guard.note, "sets": scores}
    if stored is not None:
        result["thresholds"] = {
            "temperature": stored.temperature,
            "false_alarm_rate": stored.false_alarm_rate,
            "coverage": stored.coverage,
        }
    if published:
        from ..guard.baselines.published import FIGURES, PUBLISHED

        result["published"] = {name: dict(zip(FIGURES, row, strict=True)) for name, row in PUBLISHED.items()}
    return result
