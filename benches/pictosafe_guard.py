"""Regenerate docs/guard_results.md: guards trained alone on the frozen PictoVLM, by what they pool, over three seeds.

    python benches/pictosafe_guard.py        about ten minutes on two cores; stopped and started again, it goes on

Head and settings are the demo recipe's; nothing is chosen by its outcome. Each guard is measured on every image of the
test split, in the seen styles and in the unseen one.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

SEEDS = (0, 1, 2)
POOLS = ("last_hidden", "projected", "token", "image_and_text", "last_hidden+projected")
SETTINGS = ["trainable.method=guard", "guard.loss_weight=1.0", "optimiser.epochs=3"]
BENCHMARKS = {"seen": "pictosafe", "unseen": "pictosafe-unseen"}
MEASURES = {
    "accuracy": "20 labels",
    "macro_f1": "macro F1",
    "binary_accuracy": "safe or not",
    "auroc": "AUROC, safe or not",
}


def one_run(out: Path, pool: str, seed: int) -> dict[str, Any]:
    """Train one guard and measure it in this process: {style: the guard's scores}."""
    from holisafe.benchmarks import open_benchmark
    from holisafe.evaluate import evaluate
    from holisafe.judges import open_judge
    from holisafe.records import GenerationSettings
    from holisafe.targets import open_target
    from holisafe.tuning.recipe import load_recipe
    from holisafe.tuning.train import tune

    if not (out / "model").exists():
        recipe = load_recipe("demo").with_settings([*SETTINGS, f"guard.pool={pool}"])
        tune("pictovlm", "pictosafe", recipe, out / "model", seed=seed)
    settings = GenerationSettings(max_new_tokens=1)  # the guard reads in the prefill
    target = open_target(f"hf/{out / 'model'},batch_size=64", settings)
    found = {}
    for style, name in BENCHMARKS.items():
        benchmark = open_benchmark(name, split="test")
        scores = evaluate(benchmark, target, [open_judge("string-match")], out / "runs" / style, settings=settings)
        found[style] = {measure: scores["guard"][measure] for measure in MEASURES}
    return found


def run_job(job: tuple[str, int], work: Path) -> tuple[str, dict[str, Any]]:
    """One guard in a single-threaded process of its own, or what an earlier call left of it."""
    pool, seed = job
    out = work / f"{pool}-{seed}"
    if not (out / "guard.json").exists():
        command = [sys.executable, __file__, "--job", pool, "--seed", str(seed), "--work", str(out)]
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"})
    print(f"{pool}, seed {seed}: done", flush=True)
    return pool, json.loads((out / "guard.json").read_text())


def spread(values: list[float]) -> str:
    """`99.2 (98.9 to 99.4)`: mean, least and most, in percent."""
    return f"{100 * statistics.mean(values):.1f} ({100 * min(values):.1f} to {100 * max(values):.1f})"


def page(results: dict[str, list[dict[str, Any]]]) -> str:
    """The docs page."""
    n = next(iter(results.values()))[0]["seen"]["accuracy"]["n"]
    lines = [
        "# Guards on PictoSafe, by what they pool",
        "",
        "A guard alone, trained for three epochs on the frozen PictoVLM with the demo recipe: mean over seeds 0, 1",
        f"and 2, in brackets the least and the most, percent. Every image of the test split in each style, n={n:,}.",
        "",
        "    python benches/pictosafe_guard.py",
    ]
    for style, title in (("seen", "Seen style (Noto, Fluent)"), ("unseen", "Unseen style (Twemoji)")):
        lines += [
            "",
            f"## {title}",
            "",
            f"| pool | {' | '.join(MEASURES.values())} |",
            "|---" * (len(MEASURES) + 1) + "|",
        ]
        for pool, runs in results.items():
            cells = [spread([run[style][measure]["rate"] for run in runs]) for measure in MEASURES]
            lines.append(f"| `{pool}` | {' | '.join(cells)} |")
    lines += [
        "",
        "`token` reads a Safety Meta Token whose own embedding stays untrained here: only the head learns. No label of",
        "an image says whether a pair is unsafe only together (SSU), whatever the guard pools.",
        "",
        "Guards trained together with the language model, full and with LoRA, stand in [results.md](results.md).",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run what is missing, then write the page and its numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("build/guard_results"))
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    parser.add_argument("--parallel", type=int, default=2)
    parser.add_argument("--job", choices=POOLS)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.job:
        found = one_run(options.work, options.job, options.seed)
        (options.work / "guard.json").write_text(json.dumps(found))
        shutil.rmtree(options.work / "model", ignore_errors=True)
        return
    results: dict[str, list[dict[str, Any]]] = {}
    with ThreadPoolExecutor(options.parallel) as threads:
        jobs = [(pool, seed) for seed in SEEDS for pool in POOLS]
        for pool, found in threads.map(lambda job: run_job(job, options.work), jobs):
            results.setdefault(pool, []).append(found)
    (options.docs / "guard_results.md").write_text(page(results), encoding="utf-8")
    (options.docs / "guard_results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(page(results))


if __name__ == "__main__":
    main()
