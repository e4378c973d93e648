"""The models that benches/pictosafe_inside.py compares: PictoVLM tuned in five ways, three seeds each.

    python benches/inside_models.py [NAME ...]     over an hour on two cores; stopped and started again, it goes on

DPO and unlearning learn from preferences: PictoSafe's reference answer against what PictoVLM itself says to the unsafe
pair, where that is no refusal.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

SEEDS = (0, 1, 2)
RECIPE = "demo"
MODELS: dict[str, list[str]] = {
    "full": [],
    "lora": ["trainable.method=lora", "optimiser.learning_rate=0.004"],
    "robust": ["data.distort=0.75", "data.shares.utility=1.5"],
    "dpo": ["objective.kind=dpo", "optimiser.epochs=1"],
    "unlearn": ["objective.kind=unlearn", "optimiser.epochs=1"],
}
"""Name -> settings laid over the demo's recipe and `SHORTER`. `robust` was chosen on the development style."""

SHORTER = ["optimiser.epochs=3.5"]
"""Epochs of `holisafe demo`; docs/results.md has the recipe's eight."""

BASE, JUDGE = "pictovlm", "string-match:normalised"


def preferred(work: Path) -> Sequence[object]:
    """The recipe's examples, those unsafe ones that PictoVLM answers with its answer as the rejected one."""
    from holisafe.benchmarks import open_benchmark
    from holisafe.evaluation import evaluate
    from holisafe.judges import open_judge
    from holisafe.records import GenerationSettings
    from holisafe.runs.run import read_run
    from holisafe.targets import open_target
    from holisafe.tuning.data import load_examples, select
    from holisafe.tuning.recipe import load_recipe

    examples = select(load_examples("pictosafe"), load_recipe(RECIPE).data.shares)
    drawn = {one.id for one in examples}
    whole = open_benchmark("pictosafe", split="train")
    asked = tuple(one for one in whole.samples if one.id in drawn and one.expected == "refuse" and one.combination)
    settings = GenerationSettings(max_new_tokens=64)
    target = open_target(f"hf/{BASE},batch_size=64", settings)
    evaluate(replace(whole, samples=asked), target, [open_judge(JUDGE)], work / "answered", settings=settings)
    run = read_run(work / "answered")
    failed = {*run.failed}
    said = {one.sample_id: one.text for one in run.responses.values() if one.sample_id in failed}
    return [replace(one, rejected=said[one.id]) if one.id in said else one for one in examples]


def make(work: Path, name: str, seed: int, out: Path) -> None:
    """Tune one model in this process. The recipe's shares are in the preferences already."""
    from holisafe.tuning.recipe import load_recipe
    from holisafe.tuning.train import tune

    settings = MODELS[name]
    learns_pairs = any(one.startswith("objective") for one in settings)
    recipe = load_recipe(RECIPE).with_settings([*SHORTER, *settings, *(["data.shares={}"] if learns_pairs else [])])
    tune(BASE, preferred(work) if learns_pairs else "pictosafe", recipe, out, seed=seed)  # type: ignore[arg-type]


def folder(work: Path, name: str, seed: int) -> Path:
    """Where a model lies; made in a process of its own unless it is there."""
    out = work / "models" / f"{name}-{seed}"
    if not out.exists():
        command = [sys.executable, __file__, name, "--seed", str(seed), "--work", str(work), "--here"]
        subprocess.run(command, check=True)
    return out


def main() -> None:
    """Make what is missing, seed by seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(MODELS))
    parser.add_argument("--work", type=Path, default=Path("build/inside_results"))
    parser.add_argument("--seed", type=int)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    for seed in SEEDS if options.seed is None else [options.seed]:
        for name in options.names:
            if options.here:
                make(options.work, name, seed, options.work / "models" / f"{name}-{seed}")
            else:
                print(folder(options.work, name, seed), flush=True)


if __name__ == "__main__":
    main()
