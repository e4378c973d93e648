"""Regenerate docs/attacks_results.md: PictoVLM, untuned and tuned, under every attack that applies to pictograms.

    python benches/pictosafe_attacks.py       an hour on one core; stopped and started again, it goes on

A stratified part of the test split in both styles, the same for every model and layer, so that each change is paired.
Seed 0 of everything comes first; the page counts what there is. Runs and models lie in build/attacks_results.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from inside_models import BASE, JUDGE

PAIRS, QUESTIONS = 240, 90
SAMPLES_DRAWN_BY = 0
AS_IT_IS = "as it is"
REWORDED = "translation"

LAYERS = {
    AS_IT_IS: "",
    "role-play": "role-play,wording=plain",
    "prefix": "prefix,wording=plain",
    "turns": "turns,wording=plain",
    "noise": "noise",
    "blur": "blur",
    "contrast": "contrast",
    "rotation": "rotation",
    "jpeg": "jpeg",
    "decoy, joined": "decoy,place=joined",
    "decoy, before": "decoy,place=before",
    REWORDED: "translation,table={table}",
}
"""Layer -> attack, with its default strength; the first is no attack. Every one that `holisafe calibrate list` says
applies to PictoSafe."""


class Model(NamedTuple):
    """A tuned model, or the untuned one, which has one seed and no guard."""

    recipe: str
    seed: int

    @property
    def name(self) -> str:
        return self.recipe if self.recipe == BASE else f"{self.recipe}-{self.seed}"


MODELS = (Model(BASE, 0), *(Model("full", seed) for seed in (0, 1, 2)), Model("robust", 0))


def benchmarks() -> dict[str, tuple[str, str, int]]:
    """{benchmark: (style, judge, how many samples)}."""
    from holisafe.cli.demo import STYLES, UTILITY_JUDGE

    return {
        name: (style, judge, size)
        for style, names in STYLES.items()
        for name, judge, size in zip(names, (JUDGE, UTILITY_JUDGE), (PAIRS, QUESTIONS), strict=True)
    }


def reworded(work: Path) -> Path:
    """The table of `translation`: each deed of the test split in a frame of the validation split, which PictoVLM knows
    and no tuning saw."""
    from holisafe.benchmarks import open_benchmark
    from holisafe.benchmarks.pictosafe.questions import frames
    from holisafe.journal import write_text
    from holisafe.records import digest

    file = work / "reworded.csv"
    if not file.exists():
        text = io.StringIO()
        table = csv.writer(text)
        table.writerow(["id", "text"])
        choices = frames("validation")
        for sample in open_benchmark("pictosafe", split="test").samples:
            frame = choices[int(digest(sample.id), 16) % len(choices)]
            table.writerow([sample.id, frame.format(sample.meta["deed"])])
        write_text(file, text.getvalue())
    return file


def run_folder(work: Path, model: Model, layer: str, benchmark: str) -> Path:
    return work / "runs" / model.name / layer.replace(", ", "-").replace(" ", "-") / benchmark


def measure(work: Path, model: Model) -> None:
    """Ask one model everything that it was not asked yet."""
    from holisafe.benchmarks import open_benchmark
    from holisafe.calibration import attacked
    from holisafe.cli.demo import LONGEST_ANSWER
    from holisafe.evaluation import evaluate
    from holisafe.judges import open_judge
    from holisafe.records import GenerationSettings
    from holisafe.targets import open_target

    waiting = [one for one in asked() if not (run_folder(work, model, *one) / "scores.json").exists()]
    if not waiting:
        return
    settings = GenerationSettings(max_new_tokens=LONGEST_ANSWER)
    target = open_target(f"hf/{path(work, model)},batch_size=64", settings)
    for layer, name in waiting:
        began = time.monotonic()
        attack = LAYERS[layer].format(table=reworded(work))
        under = attacked(target, [attack] if attack else [])
        _, judge, size = benchmarks()[name]
        opened, out = open_benchmark(name, split="test"), run_folder(work, model, layer, name)
        evaluate(opened, under, [open_judge(judge)], out, limit=size, seed=SAMPLES_DRAWN_BY, settings=settings)
        print(f"{model.name}, {layer}, {name}: {time.monotonic() - began:.0f} s", flush=True)


def asked() -> Iterator[tuple[str, str]]:
    """(layer, benchmark) of a model's runs. The questions of the utility set are reworded by no table."""
    for layer in LAYERS:
        yield from ((layer, name) for name in benchmarks() if layer != REWORDED or "utility" not in name)


def path(work: Path, model: Model) -> Path | str:
    """Where the model is; tuned now unless it is there."""
    from inside_models import folder

    return BASE if model.recipe == BASE else folder(work, model.recipe, model.seed)


def measured(work: Path) -> dict[str, Any]:
    """{recipe: {layer: {seed: {benchmark: run folder}}}} of every layer that a model was asked wholly under."""
    found: dict[str, Any] = {}
    for model in MODELS:
        for layer in LAYERS:
            runs = {name: run_folder(work, model, layer, name) for one, name in asked() if one == layer}
            if all((run / "scores.json").exists() for run in runs.values()):
                found.setdefault(model.recipe, {}).setdefault(layer, {})[model.seed] = runs
    return {recipe: layers for recipe, layers in found.items() if len(layers) > 1}


def main() -> None:
    """Make what is missing, then write the page and its numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("build/attacks_results"))
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    parser.add_argument("--only-done", action="store_true", help="write the page from what there is")
    options = parser.parse_args()
    if not options.only_done:
        for model in MODELS:
            measure(options.work, model)
    from attacks_page import attacks_page, draw, numbers
    from pictosafe_calibration import rounded

    found: dict[str, Any] = numbers(measured(options.work))
    draw(found, options.docs / "images" / "attacks_results.svg")
    (options.docs / "attacks_results.md").write_text(
        attacks_page(found, {name: attack.format(table="TABLE.csv") for name, attack in LAYERS.items()}),
        encoding="utf-8",
    )
    (options.docs / "attacks_results.json").write_text(json.dumps(rounded(found)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
