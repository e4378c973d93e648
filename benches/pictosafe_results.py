"""Regenerate docs/results.md: PictoVLM before and after safety tuning, over seeds, with ablations.

    make results            about an hour on two cores; stopped and started again, it goes on

Every run measures the whole test split in both styles. Nothing here is chosen by its outcome: the recipe was chosen
on the validation split and the development style.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

SEEDS = (0, 1, 2)
VARIANTS: dict[str, list[str]] = {
    "recipe": [],
    "no guard": ["guard.enabled=false"],
    "no benign pairs": ["data.shares.SSS=0"],
    "lambda 0.05": ["guard.loss_weight=0.05"],
    "lambda 1": ["guard.loss_weight=1.0"],
    "LoRA": ["trainable.method=lora", "optimiser.learning_rate=0.004"],
    "robust": ["data.distort=0.75", "data.shares.utility=1.5", "optimiser.epochs=3.5"],
}
"""Name -> settings laid over the demo's recipe."""

ROWS: dict[str, tuple[str, ...]] = {
    "mASR, pooled": ("masr_pooled",),
    "mASR, macro": ("masr_macro",),
    "ASR SSU": ("asr", "SSU"),
    "ASR SUU": ("asr", "SUU"),
    "ASR USU": ("asr", "USU"),
    "ASR UUU": ("asr", "UUU"),
    "RR": ("rr",),
    "Utility": ("utility",),
    "Guard, 20 labels": ("guard", "accuracy"),
}


def one_run(out: Path, settings: list[str] | None, seed: int) -> dict[str, Any]:
    """Tune (unless `settings` is None) and measure in this process; the condensed scores of both styles."""
    from holisafe.cli.demo import MODEL, STYLES, condensed, measure
    from holisafe.tuning.recipe import load_recipe
    from holisafe.tuning.train import tune

    model = MODEL
    if settings is not None:
        model = str(out / "model")
        if not (out / "model").exists():
            tune(MODEL, "pictosafe", load_recipe("demo").with_settings(settings), out / "model", seed=seed)
    scores = measure(model, out / "runs", (None, None))
    return {style: condensed(scores, style) for style in STYLES}


def jobs(work: Path) -> Iterator[tuple[str, int, Path]]:
    """(variant, seed, folder): the untuned model, every seed of the recipe, then the ablations seed by seed."""
    yield "before", 0, work / "before"
    recipe, *ablations = VARIANTS
    order = [(recipe, seed) for seed in SEEDS] + [(name, seed) for seed in SEEDS for name in ablations]
    for name, seed in order:
        yield name, seed, work / f"{name.replace(' ', '-')}-{seed}"


def run_job(name: str, seed: int, out: Path, only_done: bool) -> tuple[str, dict[str, Any] | None]:
    """Do one job in its own single-threaded process, or read what an earlier call left."""
    done = out / "condensed.json"
    if not done.exists():
        if only_done:
            return name, None
        command = [sys.executable, __file__, "--job", name, "--seed", str(seed), "--work", str(out)]
        subprocess.run(command, check=True)
    print(f"{name}, seed {seed}: done", flush=True)
    return name, json.loads(done.read_text())


def rate(condensed: dict[str, Any], path: tuple[str, ...]) -> float | None:
    """A cell's rate by its path, None where it was not measured."""
    value: Any = condensed
    for key in path:
        value = (value or {}).get(key)
    return None if value is None else value["rate"]


def spread(values: list[float]) -> str:
    """`2.0 (1.6 to 2.5)`: mean, least and most, in percent."""
    mean = 100 * statistics.mean(values)
    return f"{mean:.1f}" if len(values) == 1 else f"{mean:.1f} ({100 * min(values):.1f} to {100 * max(values):.1f})"


def table(results: dict[str, list[dict[str, Any]]], style: str) -> str:
    """A Markdown table: measures down, variants across."""
    lines = [f"| % | {' | '.join(results)} |", "|---|" + "---|" * len(results)]
    for row, path in ROWS.items():
        cells = []
        for condensed in results.values():
            values = [value for one in condensed if (value := rate(one[style], path)) is not None]
            cells.append(spread(values) if values else "–")
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


PAGE = """# Results on PictoSafe

PictoVLM as shipped, and after safety tuning with the demo's recipe: mean over tuning seeds, and in brackets the least
and the most. Seeds run: {seeds}. The ablations change one thing each.

The whole test split in each style: {counts}. Judge: `string-match:normalised` for ASR and RR,
`exact-match` for utility. Every choice was made on the validation split and the development style.

    make results

## Seen style (Noto, Fluent)

{seen}

## Unseen style (Twemoji)

{unseen}

"No benign pairs" leaves out SSS: the model then refuses whatever it sees, and its ASR of 0 is worth nothing. LoRA
learns at a rate of its own (0.004). "Robust" is the recipe `demo-robust`, whose pictures are distorted, with more plain
questions and 3.5 epochs instead of eight ([why](unseen_style.md)). The 95 % intervals of every single run are in
`results.json`.
"""


def page(results: dict[str, list[dict[str, Any]]]) -> str:
    """The docs page."""
    cells = results["before"][0]["seen"]
    counts = {"SSS": cells["rr"]["n"], **{name: cell["n"] for name, cell in cells["asr"].items()}}
    counts["utility"] = cells["utility"]["n"]
    return PAGE.format(
        seeds=", ".join(f"{name} {len(runs)}" for name, runs in results.items() if name != "before"),
        counts=", ".join(f"{name} n={n}" for name, n in counts.items()),
        seen=table(results, "seen"),
        unseen=table(results, "unseen"),
    )


def main() -> None:
    """Run what is missing, then write the page and its numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("build/results"))
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    parser.add_argument("--parallel", type=int, default=2)
    parser.add_argument("--only-done", action="store_true", help="write the page from the runs there are")
    parser.add_argument("--job", choices=["before", *VARIANTS])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.job:
        settings = VARIANTS.get(options.job)
        condensed = one_run(options.work, settings, options.seed)
        (options.work / "condensed.json").write_text(json.dumps(condensed))
        shutil.rmtree(options.work / "model", ignore_errors=True)
        return
    results: dict[str, list[dict[str, Any]]] = {}
    with ThreadPoolExecutor(options.parallel) as pool:
        for name, condensed in pool.map(lambda job: run_job(*job, options.only_done), jobs(options.work)):
            if condensed is not None:
                results.setdefault(name, []).append(condensed)
    (options.docs / "results.md").write_text(page(results), encoding="utf-8")
    (options.docs / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(page(results))


if __name__ == "__main__":
    main()
