"""Regenerate docs/guard_results.md: guards on PictoSafe, by labels, pooling and what else trains, over three seeds.

    python benches/pictosafe_guard.py        about two hours on two cores; stopped and started again, it goes on

Every guard reads each test pair once, in the seen styles and in the unseen one. Image guards name 20 labels; pair
guards say whether image and text together are safe. Thresholds are chosen on the validation split, and the frozen pair
guard's head and epochs were: no other setting is chosen by its outcome.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

SEEDS = (0, 1, 2)
DRAWS = 500
ALARMS = (0.05, 0.01)
STYLES = {"seen": "pictosafe", "unseen": "pictosafe-unseen"}
TITLES = {"seen": "seen style (Noto, Fluent)", "unseen": "unseen style (Twemoji)"}

HEAD_ALONE = ["trainable.method=guard", "guard.loss_weight=1.0"]
FROZEN = [*HEAD_ALONE, "optimiser.epochs=3", "guard.cache=true"]
LORA = ["trainable.method=lora", "optimiser.learning_rate=0.004"]
PAIR = ["guard.labels=pair"]
FROZEN_PAIR = [*PAIR, *HEAD_ALONE, "guard.cache=true", "data.shares={}", "optimiser.epochs=15"]
FROZEN_PAIR += ["guard.hidden_layers=2", "guard.hidden_scale=1"]

VARIANTS: dict[str, list[str]] = {
    "pair, frozen": FROZEN_PAIR,
    "pair, full": PAIR,
    "pair, LoRA": [*PAIR, *LORA],
    "frozen, projected": [*FROZEN, "guard.pool=projected"],
    "frozen, token": [*HEAD_ALONE, "optimiser.epochs=3", "guard.pool=token"],
    "frozen, last_hidden": [*FROZEN, "guard.pool=last_hidden"],
    "frozen, last_hidden+projected": [*FROZEN, "guard.pool=last_hidden+projected"],
    "frozen, image_and_text": [*FROZEN, "guard.pool=image_and_text"],
    "pair, frozen, image_and_text": [*FROZEN_PAIR, "guard.pool=image_and_text"],
    "full, token": ["guard.pool=token"],
    "full, projected": ["guard.pool=projected"],
    "full, last_hidden": [],
    "LoRA, last_hidden": LORA,
}
"""Name -> settings laid over the demo's recipe, in the order in which they run: all seeds of one before the next."""

MEASURES = {
    "accuracy": "20 labels",
    "macro_f1": "macro F1",
    "binary_accuracy": "safe or not",
    "auroc": "AUROC, safe or not",
}
TABLE = "SSU against its table"
CURVES = {TABLE: "SSU, its tables", "SSU": "SSU", "SUU": "SUU", "USU": "USU", "UUU": "UUU"}


def one_run(out: Path, name: str, seed: int) -> dict[str, Any]:
    """Train one guard and measure it in this process: {"images": by style, "pairs": by style}."""
    from holisafe.guard import load_guarded, load_processor
    from holisafe.guard.quiet import quiet
    from holisafe.tuning.recipe import load_recipe
    from holisafe.tuning.train import tune

    if not (out / "model").exists():
        tune("pictovlm", "pictosafe", load_recipe("demo").with_settings(VARIANTS[name]), out / "model", seed=seed)
    with quiet():
        model, processor = load_guarded(out / "model"), load_processor(out / "model")
    thresholds = chosen(model, processor)
    found: dict[str, Any] = {"images": {}, "pairs": {"thresholds": thresholds}}
    for style, benchmark in STYLES.items():
        samples, readings = read(model, processor, benchmark, "test")
        if not name.startswith("pair"):
            found["images"][style] = image_figures(samples, readings)
        found["pairs"][style] = pair_figures(samples, readings, thresholds)
    return found


def read(model: Any, processor: Any, benchmark: str, split: str) -> tuple[list[Any], list[Any]]:
    """The split's pairs, and the guard's reading of each with its own question."""
    from holisafe.benchmarks import open_benchmark
    from holisafe.guard.predict import predict

    opened = open_benchmark(benchmark, split=split)
    samples = [sample for sample in opened.samples if sample.combination is not None]
    images = (opened.open_image(sample.images[0]) for sample in samples)
    texts = (sample.query for sample in samples)
    return samples, list(predict(model, processor, images, texts=texts, batch_size=64))


def chosen(model: Any, processor: Any) -> dict[str, float]:
    """False-alarm rate -> the threshold that the validation split's SSS pairs give for it."""
    from holisafe.metrics.conformal import upper_quantile

    samples, readings = read(model, processor, "pictosafe", "validation")
    safe = [reading.unsafe for sample, reading in zip(samples, readings, strict=True) if sample.combination == "SSS"]
    return {str(rate): upper_quantile(safe, rate) for rate in ALARMS}


def image_figures(samples: list[Any], readings: list[Any]) -> dict[str, Any]:
    from holisafe.metrics.guard import guard_quality
    from holisafe.taxonomy import IMAGE_LABELS

    quality = guard_quality(
        [sample.image_label for sample in samples],
        [[reading.probabilities[label] for label in IMAGE_LABELS] for reading in readings],
        clusters=[sample.cluster for sample in samples],
    )
    return {measure: quality[measure] for measure in MEASURES}


def pair_figures(samples: list[Any], readings: list[Any], thresholds: dict[str, float]) -> dict[str, Any]:
    """AUROC by combination; at each threshold the share of safe and of unsafe pairs above it."""
    from holisafe.metrics.guard_pairs import PairReading, pair_scores

    pairs = [
        PairReading(sample.combination, sample.cluster, reading.unsafe)
        for sample, reading in zip(samples, readings, strict=True)
    ]
    found: dict[str, Any] = {"at": {}}
    for rate, threshold in thresholds.items():
        scores = pair_scores(pairs, threshold=threshold, draws=DRAWS)
        found["auroc"] = scores["auroc"]
        found["at"][rate] = {kind: scores[kind] for kind in ("threshold", "false_alarm_rate", "recall")}
    return found


def run_job(job: tuple[str, int], work: Path, only_done: bool) -> tuple[str, dict[str, Any] | None]:
    """One guard in a single-threaded process of its own, or what an earlier call left of it."""
    name, seed = job
    out = work / f"{name.replace(', ', '-')}-{seed}"
    if not (out / "guard.json").exists():
        if only_done:
            return name, None
        command = [sys.executable, __file__, "--job", name, "--seed", str(seed), "--work", str(out)]
        subprocess.run(command, check=True)
    print(f"{name}, seed {seed}: done", flush=True)
    return name, json.loads((out / "guard.json").read_text())


def heads_tried(work: Path, only_done: bool) -> str:
    """The table of benches/pictosafe_pair_head.py, or what an earlier call left of it."""
    kept = work / "pair_head.md"
    if not kept.exists() and not only_done:
        script = Path(__file__).with_name("pictosafe_pair_head.py")
        kept.write_bytes(subprocess.run([sys.executable, script], check=True, stdout=subprocess.PIPE).stdout)
    return kept.read_text() if kept.exists() else ""


def spread(cells: list[dict[str, Any]]) -> str:
    """`99.2 (98.9 to 99.4)`: mean, least and most, in percent."""
    values = [100 * cell["rate"] for cell in cells]
    return f"{statistics.mean(values):.1f} ({min(values):.1f} to {max(values):.1f})"


Results = dict[str, list[dict[str, Any]]]


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    return ["", f"| {' | '.join(header)} |", "|---" * len(header) + "|", *(f"| {' | '.join(row)} |" for row in rows)]


def measured(results: Results, what: str, style: str) -> dict[str, list[Any]]:
    """Guard -> every seed's figures of images or of pairs in a style, where it has any."""
    found = {name: [run[what][style] for run in runs if run.get(what)] for name, runs in results.items()}
    return {name: runs for name, runs in found.items() if runs}


def image_table(results: Results, style: str) -> list[str]:
    rows = [
        [name, *(spread([run[measure] for run in runs]) for measure in MEASURES), str(len(runs))]
        for name, runs in measured(results, "images", style).items()
    ]
    return table(["guard", *MEASURES.values(), "seeds"], rows)


def curve_table(results: Results, style: str) -> list[str]:
    rows = [
        [name, *(spread([run["auroc"][kind] for run in runs]) for kind in CURVES), str(len(runs))]
        for name, runs in measured(results, "pairs", style).items()
    ]
    return table(["AUROC, %", *CURVES.values(), "seeds"], rows)


def flagged_table(results: Results, style: str, rate: float) -> list[str]:
    kinds = [kind for kind in CURVES if kind != TABLE]
    rows = []
    for name, runs in measured(results, "pairs", style).items():
        at = [run["at"][str(rate)] for run in runs]
        alarms = (spread([one["false_alarm_rate"][kind] for one in at]) for kind in at[0]["false_alarm_rate"])
        rows.append([name, *alarms, *(spread([one["recall"][kind] for one in at]) for kind in kinds)])
    return table([f"flagged, %, {100 * rate:g} % wanted", "SSS", "SSS, SSU's tables", *kinds], rows)


def answer(results: Results) -> list[str]:
    """Does the pair head see SSU, and at what false-alarm rate: in words, from the numbers."""
    styles = {style: measured(results, "pairs", style) for style in STYLES}
    lines = []
    for name in ("pair, frozen", "pair, full", "pair, LoRA"):
        if name not in styles["seen"]:
            continue
        cells = [run["auroc"][TABLE] for run in styles["seen"][name]]
        # No interval is given where every draw gives the same value.
        sees = all((cell["rate"] if cell["low"] is None else cell["low"]) > 0.5 for cell in cells)
        seeds = f"{len(cells)} seed{'s' * (len(cells) > 1)}"
        lines.append(f"- `{name}` {'**sees** SSU' if sees else 'does **not surely see** SSU'} ({seeds}).")
        for style, runs in styles.items():
            at = [run["at"][str(ALARMS[0])] for run in runs[name]]
            flagged = spread([one["recall"]["SSU"] for one in at])
            alarms = spread([one["false_alarm_rate"]["SSS"] for one in at])
            curve = spread([run["auroc"][TABLE] for run in runs[name]])
            lines.append(
                f"  In the {style} style it flags {flagged} % of SSU at {alarms} % false alarms; AUROC {curve} %."
            )
    curves = [run["auroc"][TABLE] for name, runs in styles["seen"].items() if name[:4] != "pair" for run in runs]
    if curves:
        lines.append(f"- Guards on image labels do **not** see SSU: AUROC {spread(curves)} %, where chance is 50 %.")
    return lines


NOTES = """
`pair` guards pool `projected+image_and_text`, the others what their name says. `frozen`: the language model stays as it
was; the head alone trains, and for `token` the Safety Meta Token's own embedding. `full` and `LoRA`: the demo's recipe,
the guard beside the answers. Head of `pair, frozen`, over the demo's recipe:

    {frozen}

A guard on image labels cannot see SSU and SUU pairs: their images are safe, and right is to call them so. Its AUROC on
SSU against all SSS pairs is off 50 % where the pictures of the groups differ, so read SSU against its tables. The
Safety Meta Token stands after the picture and before the question: in a causal decoder it sees no text, and no label
makes it see pairs.

The frozen model answers dangerous pairs, so what its pair guard sees is what the head makes of pooled image features
and words. How its recipe was chosen (`benches/pictosafe_pair_head.py`): AUROC of SSU against its tables on the
validation split, heads on the frozen model's features, all training pairs, one seed.

{tried}
Epochs and the image features matter most. The last prompt token of this model says nothing of SSU.
"""


def page(results: Results, tried: str) -> str:
    """The docs page; `tried` is the table of heads on the validation split."""
    first = next(iter(measured(results, "pairs", "seen").values()))[0]["at"][str(ALARMS[0])]
    cells = {**first["false_alarm_rate"], **first["recall"]}
    counts = ", ".join(f"{kind} n={cell['n']}" for kind, cell in cells.items() if kind != "all")
    lines = [
        "# Guards on PictoSafe: images, and pairs",
        "",
        "Does the pair head see SSU, and at what false-alarm rate? Thresholds are chosen for at most 5 % false alarms",
        "on the validation split's SSS pairs (n=204); the rates are those measured on the test split. AUROC is that of",
        "SSU against the SSS pairs of the same truth tables, which neither picture nor question alone tells apart.",
        "",
        *answer(results),
        "",
        "Percent, mean over seeds, in brackets the least and the most. Test pairs in each style:",
        f"{counts}. Intervals of each run ({DRAWS} bootstrap draws by cluster) are in `guard_results.json`.",
        "",
        "    python benches/pictosafe_guard.py",
    ]
    for style, title in TITLES.items():
        lines += ["", f"## Pairs: {title}", *curve_table(results, style)]
        lines += [line for rate in ALARMS for line in flagged_table(results, style, rate)]
    for style, title in TITLES.items():
        lines += ["", f"## Image labels: {title}", *image_table(results, style)]
    lines += ["", "## How to read this", NOTES.format(frozen=" ".join(FROZEN_PAIR), tried=tried)]
    missing = [f"{name} {len(results.get(name, []))}" for name in VARIANTS if len(results.get(name, [])) < len(SEEDS)]
    if missing:
        lines += [f"Not all seeds were run; of these so many: {'; '.join(missing)}.", ""]
    images_alone = [name for name, runs in results.items() if not any(run.get("pairs") for run in runs)]
    if images_alone:
        lines += [f"Measured on images alone, in an earlier run with the same settings: {'; '.join(images_alone)}.", ""]
    lines += ["Guards beside the answers they are trained with stand in [results.md](results.md)."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run what is missing, then write the page and its numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("build/guard_results"))
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    parser.add_argument("--parallel", type=int, default=2)
    parser.add_argument("--only-done", action="store_true", help="write the page from the runs there are")
    parser.add_argument("--job", choices=list(VARIANTS))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.job:
        found = one_run(options.work, options.job, options.seed)
        (options.work / "guard.json").write_text(json.dumps(found))
        shutil.rmtree(options.work / "model", ignore_errors=True)
        return
    jobs = [(name, seed) for name in VARIANTS for seed in SEEDS]
    results: Results = {}
    with ThreadPoolExecutor(options.parallel) as threads:
        for name, found in threads.map(lambda job: run_job(job, options.work, options.only_done), jobs):
            if found is not None:
                results.setdefault(name, []).append(found)
    text = page(results, heads_tried(options.work, options.only_done))
    (options.docs / "guard_results.md").write_text(text, encoding="utf-8")
    (options.docs / "guard_results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
