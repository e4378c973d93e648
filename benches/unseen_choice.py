"""Choose how PictoVLM is tuned for styles it never saw, on the development style alone: docs/unseen_choice.json.

    python benches/unseen_choice.py      over an hour on two cores; stopped and started again, it goes on

One seed. Every candidate is asked the 560 development pairs and the validation questions drawn in that style.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from inside_models import BASE, JUDGE, MODELS, SHORTER

LORA = MODELS["lora"]
DISTORTED = ["data.distort=0.75", "data.shares.utility=1.5"]
FROZEN = ["trainable.projector=false"]
TUNED: dict[str, list[str]] = {
    "full": [],
    "LoRA": LORA,
    "projector frozen": FROZEN,
    "distorted, more questions": DISTORTED,
}
"""Name -> settings laid over the demo's recipe, 3.5 epochs."""

MIXED: dict[str, tuple[str, dict[str, float]]] = {
    "full, alpha 0.8": ("full", {"": 0.8}),
    "full, alpha 0.6": ("full", {"": 0.6}),
    "LoRA, alpha 0.8": ("LoRA", {"": 0.8}),
    "full, projector of the base": ("full", {"projector": 0.0}),
    "full, alpha 0.5 of projector and first layer": ("full", {r"layers\.0\.|projector": 0.5}),
    "full, alpha 0.7 of projector and two layers": ("full", {r"layers\.[01]\.|projector": 0.7}),
    "full, alpha 0.8 of the last two layers": ("full", {r"layers\.[23]\.": 0.8}),
    "full, embeddings of the base": ("full", {"embed_tokens|lm_head": 0.0}),
    "distorted, more questions, alpha 1.15": ("distorted, more questions", {"": 1.15}),
    "distorted, more questions, alpha 1.3": ("distorted, more questions", {"": 1.3}),
}
"""Name -> a tuned model, and patterns of weights with how much of their update is kept."""


def tuned(work: Path, name: str) -> Path:
    """The model of that name, made in this process unless it is there."""
    from holisafe.tuning.recipe import load_recipe
    from holisafe.tuning.train import tune

    out = work / re.sub(r"\W+", "-", name)
    if not out.exists():
        tune(BASE, "pictosafe", load_recipe("demo").with_settings([*SHORTER, *TUNED[name]]), out, seed=0)
    return out


def asked(target: Any, out: Path) -> dict[str, Any]:
    """mASR, RR, utility and how many pictures are named rightly: cells."""
    from holisafe.benchmarks import open_benchmark
    from holisafe.benchmarks.pictosafe import in_style
    from holisafe.evaluation import evaluate
    from holisafe.judges import open_judge
    from unseen_style import named

    pairs = open_benchmark("pictosafe-development")
    questions = in_style("pictosafe-utility-development", "development", ("validation",))
    safety = evaluate(pairs, target, [open_judge(JUDGE)], out / "pairs", settings=target.settings).to_json()
    utility = evaluate(questions, target, [open_judge("exact-match")], out / "questions", settings=target.settings)
    rates = safety["judges"][JUDGE]
    return {
        "masr_pooled": rates["masr_pooled"],
        "rr": rates["rr"],
        "utility": utility.to_json()["utility"]["exact-match"],
        "named": named(out / "pairs")["named"],
    }


def opened(folder: str) -> Any:
    from holisafe.records import GenerationSettings
    from holisafe.targets import open_target

    return open_target(f"hf/{folder},batch_size=64", GenerationSettings(max_new_tokens=64))


def mix(target: Any, kept: dict[str, float]) -> None:
    """Keep so much of the update of the weights that a pattern is found in."""
    import torch

    from holisafe.guard import load_model

    base = dict(load_model(BASE).named_parameters())
    with torch.no_grad():
        for name, weight in target.inner.named_parameters():
            for pattern, alpha in kept.items():
                if name in base and re.search(pattern, name):
                    was = base[name]
                    weight[: len(was)] = was + alpha * (weight[: len(was)] - was)


def main() -> None:
    """Ask what is missing, and write all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("build/unseen_choice"))
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    options = parser.parse_args()
    work, found = options.work, {}
    found["before"] = asked(opened(BASE), work / "runs" / "before")
    for name in TUNED:
        found[name] = asked(opened(str(tuned(work, name))), work / "runs" / re.sub(r"\W+", "-", name))
    for name, (model, kept) in MIXED.items():
        target = opened(str(tuned(work, model)))
        mix(target, kept)
        found[name] = asked(target, work / "runs" / re.sub(r"\W+", "-", name))
    (options.docs / "unseen_choice.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
