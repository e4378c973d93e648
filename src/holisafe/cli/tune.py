"""`holisafe tune`: safety-tune a vision-language model, with a guard attached."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError

if TYPE_CHECKING:
    from ..tuning.overlap import Overlap
    from ..tuning.recipe import Recipe


def tune(
    recipe: Annotated[
        str, typer.Option(metavar="RECIPE", help="A .yaml file, or a shipped recipe: demo, lora, qwen2.5-vl-7b ...")
    ],
    base: Annotated[
        str | None,
        typer.Option(metavar="BASE", help="A hub id, a model folder, or pictovlm, the shipped one; else the recipe's."),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DATA",
            help="pictosafe, BENCHMARK:FOLDER, FILE.jsonl, or FORM:FILE with the form llava, holisafe, preferences or "
            "think-in-safety; repeatable. Else the recipe's mix.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="OUT", help="The folder to make; it must not hold anything yet.")
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", min=0, help="Instead of the recipe's seed.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change a setting, as in guard.loss_weight=0.5; repeatable."),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print parameters, memory, steps and overlaps with benchmarks; train nothing."),
    ] = False,
) -> None:
    """holisafe tune --base ID --data train.jsonl --recipe lora --out tuned

    Tune a model so that it refuses what is unsafe and goes on answering what is not, and save it with its guard.

    OUT gets the model, its processor, the full recipe, the loss curve (training_log.jsonl) and tuning.json. It appears
    when all is done, or not at all; until then checkpoints lie in OUT.unfinished, from which the same command goes on.
    """
    from ..tuning.recipe import load_recipe

    chosen = load_recipe(recipe).with_settings(settings or ())
    if dry_run:
        show_plan(base, data, chosen)
        return
    if out is None:
        raise InputError("--out is missing: the folder to make")

    from ..tuning import train
    from .progress import in_words, showing_progress

    with showing_progress() as progress:

        def show(step: int, steps: int, losses: dict[str, float]) -> None:
            progress("tuning", step, steps, in_words(losses))

        train.tune(base, data, chosen, out, seed=seed, progress=show)
    for kind, number in train.parts_missed(out).items():
        print(f"left out of SafeKey's losses: {number:,} {kind}")
    print(
        f"{out} holds the tuned model; measure it: holisafe run BENCH --target hf/{out} --judge string-match --out RUN"
    )


def show_plan(base: str | None, data: Sequence[str] | None, recipe: Recipe) -> None:
    """Print what a run would take; data are read only where they are named."""
    from ..guard.quiet import quiet
    from ..report.grids import Grid
    from ..tuning.dry_run import plan
    from ..tuning.train import base_of, gather, parts_found
    from .screen import screen

    gathered = gather(data, recipe) if data or recipe.data.mix else None
    with quiet():
        planned = plan(base_of(base, recipe), recipe, gathered.examples if gathered else ())
    console = screen()
    together = [sum(column) for column in zip(*planned.parts.values(), strict=True)]
    parts = {**planned.parts, "together": together}
    rows = tuple((part, *(f"{number:,}" for number in numbers)) for part, numbers in parts.items())
    console.print(Grid("", ("Part", "Trainable", "All"), rows))
    memory = {**planned.memory, "together": sum(planned.memory.values())}
    rows = tuple((kind, f"{size / 2**20:,.0f}") for kind, size in memory.items())
    console.print(Grid("", ("Memory on one device, about", "MiB"), rows))
    how = "counted" if planned.counted else "assumed"
    console.print(f"longest example: {planned.tokens:,} tokens ({how})")
    if gathered is None:
        console.print("steps: no data named")
        return
    for part_drawn in gathered.mix:
        console.print("{name}: {drawn:,} of {available:,} examples".format(**part_drawn))
    for kind, number in gathered.left_out.items():
        console.print(f"left out, as they teach nothing: {number:,} {kind}")
    for kind, number in gathered.repaired.items():
        console.print(f"mended: {number:,} {kind}")
    if thoughts := sum(example.thought is not None for example in gathered.examples):
        console.print(f"thoughts: {thoughts:,} of {planned.examples:,} examples")
    if recipe.safekey.enabled:
        for kind, number in parts_found(gathered.examples, recipe).items():
            console.print(f"SafeKey's losses: {number:,} {kind}")
    examples = f"{planned.examples:,} examples"
    console.print(f"steps: {planned.steps_per_epoch:,} an epoch of {examples}, {planned.steps:,} in all")
    if recipe.data.check_against:
        show_overlaps(gathered.overlaps, recipe.data.check_against)


def show_overlaps(overlaps: Sequence[Overlap], benchmarks: Sequence[str]) -> None:
    """Every near-duplicate, by ids alone."""
    from ..tuning.overlap import parts_of_images
    from .screen import screen

    if parts := next(filter(None, map(parts_of_images, benchmarks)), None):
        screen().print(f"images of benchmarks that draw them from {parts} are not compared: alike by design")
    screen().print(f"near-duplicates with {', '.join(benchmarks)}: {len(overlaps):,}")
    for overlap in overlaps:
        print(f"{overlap.half}\t{overlap.source}:{overlap.example}\t{overlap.benchmark}:{overlap.sample}")
