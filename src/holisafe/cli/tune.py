"""`holisafe tune`: safety-tune a vision-language model, with a guard attached."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def tune(
    base: Annotated[str, typer.Option(metavar="BASE", help="A hub id, a model folder, or pictovlm, the shipped one.")],
    data: Annotated[
        list[str],
        typer.Option(metavar="DATA", help="pictosafe, BENCHMARK:FOLDER or FILE.jsonl; may be repeated."),
    ],
    recipe: Annotated[str, typer.Option(metavar="RECIPE", help="A .yaml file, or a shipped recipe: demo, lora.")],
    out: Annotated[Path, typer.Option(metavar="OUT", help="The folder to make; it must not hold anything yet.")],
    seed: Annotated[int | None, typer.Option(metavar="N", min=0, help="Instead of the recipe's seed.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change a setting, as in guard.loss_weight=0.5; repeatable."),
    ] = None,
) -> None:
    """Tune a model so that it refuses what is unsafe and goes on answering what is not, and save it with its guard.

    OUT gets the model, its processor, the full recipe, the loss curve (training_log.jsonl) and tuning.json. It appears
    when all is done, or not at all.
    """
    from ..tuning.recipe import load_recipe

    chosen = load_recipe(recipe).with_settings(settings or ())

    from ..tuning import train
    from .progress import showing_progress

    with showing_progress() as progress:

        def show(step: int, steps: int, losses: dict[str, float]) -> None:
            progress("tuning", step, steps, "  ".join(f"{name} {value:.3f}" for name, value in losses.items()))

        train.tune(base, data, chosen, out, seed=seed, progress=show)
    print(
        f"{out} holds the tuned model; measure it: holisafe run BENCH --target hf/{out} --judge string-match --out RUN"
    )
