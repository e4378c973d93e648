"""Regenerate docs/inside_results.md, mechanism_results.md and unseen_style.md: what tuning does inside PictoVLM, what
can be done with what it added, and why it costs more in a style never seen, over three seeds.

    python benches/pictosafe_inside.py [MODEL ...]

Over two hours on two cores; stopped and started again, it goes on. Of the models that are named, or of all: measures
them on the whole test split in both styles, takes the bias off the first tokens of the fully tuned ones, goes further
and less far along their update, and looks inside. What was not measured now stays on the pages as it is.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from inside_models import BASE, JUDGE, MODELS, SEEDS, folder

STRENGTHS = (0.5, 1.0)
LONGER = 16
"""First tokens that are debiased besides the method's five: enough to reach the place where PictoVLM decides."""
ALPHAS = (0.7, 1.3, 1.6)
PAIRS = 240
"""Pairs of the validation split that a look inside takes."""
POSITIONS = 24


def settings() -> Iterator[tuple[str, str, str]]:
    """(row, model, calibration) of everything that is measured; `{file}` in the last is a learned one."""
    for name in MODELS:
        yield name, name, ""
    yield from ((f"full, debias s={s:g}", "full", f"token-debias,file={{file}},s={s:g}") for s in STRENGTHS)
    yield f"full, debias s=1, {LONGER} tokens", "full", f"token-debias,file={{file{LONGER}}},s=1"
    yield from ((f"full, alpha={alpha:g}", "full", f"weights,base={BASE},alpha={alpha:g}") for alpha in ALPHAS)


LAST = "pictosafe-utility-unseen"
"""The benchmark that is asked last."""


def run_folder(work: Path, row: str, seed: int) -> Path:
    return work / "runs" / f"{row.replace(', ', '-').replace(' ', '-')}-{seed}"


def measured(work: Path, row: str, model: Path | str, calibration: str, seed: int) -> dict[str, str]:
    """{benchmark: run folder} of one setting, asked now unless it is there."""
    from holisafe.benchmarks import open_benchmark
    from holisafe.calibration import calibrated
    from holisafe.cli.demo import LONGEST_ANSWER, STYLES, UTILITY_JUDGE
    from holisafe.evaluation import evaluate
    from holisafe.judges import open_judge
    from holisafe.records import GenerationSettings
    from holisafe.targets import open_target

    out = run_folder(work, row, seed)
    runs = {name: out / name for names in STYLES.values() for name in names}
    if not all((one / "scores.json").exists() for one in runs.values()):
        settings = GenerationSettings(max_new_tokens=LONGEST_ANSWER)
        target = open_target(f"hf/{model},batch_size=64", settings)
        if calibration:
            wanted = {"file": 5, f"file{LONGER}": LONGER}
            files = {
                name: debiasing(work, target, Path(model), n)
                for name, n in wanted.items()
                if f"{{{name}}}" in calibration
            }
            target = calibrated(target, [calibration.format(**files)])
        for names in STYLES.values():
            for name, judge in zip(names, (JUDGE, UTILITY_JUDGE), strict=True):
                evaluate(open_benchmark(name, split="test"), target, [open_judge(judge)], runs[name], settings=settings)
        print(f"{row}, seed {seed}: measured", flush=True)
    return {name: str(one) for name, one in runs.items()}


def debiasing(work: Path, target: Any, model: Path, positions: int) -> Path:
    """What tuning added to so many first tokens of a model's answers, against the untuned one; learnt once."""
    from holisafe.calibration.methods.token_debias import TokenDebias

    file = work / f"debias-{model.name}-{positions}.safetensors"
    if not file.exists():
        TokenDebias.fit(target, None, {"reference": BASE, "positions": str(positions)}).save(file)
    return file


def looked_inside(work: Path, name: str, seed: int) -> dict[str, Any]:
    """The summary of a study of one tuned model, made now unless it is there."""
    from holisafe.benchmarks import open_benchmark
    from holisafe.mechanism.study import open_whole, study
    from holisafe.report.mechanism_page import write_mechanism_page

    out = work / "studies" / f"{name}-{seed}"
    if not out.exists():
        both = (open_whole(BASE, 32), open_whole(str(folder(work, name, seed)), 32))
        benchmark = open_benchmark("pictosafe", split="validation")
        found = study(*both, benchmark, at="decision", limit=PAIRS, positions=POSITIONS, seed=seed)
        found.save(out)
        write_mechanism_page(found.summary, out / "index.html")
        print(f"{name}, seed {seed}: looked inside", flush=True)
    return {**json.loads((out / "summary.json").read_text()), "tables": of_tables(out)}


def of_tables(study: Path) -> list[dict[str, Any]]:
    """Scaled tau by model and block: of SSU, of the SSS pairs of its truth tables, and of the other unsafe pairs."""
    import pandas as pd

    from holisafe.benchmarks import open_benchmark

    clusters = {one.id: one.cluster for one in open_benchmark("pictosafe", split="validation").samples}
    rows = pd.read_parquet(study / "separation.parquet")
    cluster = rows["sample_id"].map(clusters)
    beside = cluster.isin({*cluster[rows["group"] == "SSU"]})
    names = {"SSU": "SSU", "SSS": "SSS", "SUU": "others", "USU": "others", "UUU": "others"}
    rows = rows.assign(kind=rows["group"].map(names))[beside | rows["group"].isin(["SUU", "USU", "UUU"])]
    found = rows.groupby(["model", "block", "kind"])["scaled"].agg(["mean", "count"]).reset_index()
    return found.to_dict("records")


def beside(found: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
    """What was measured now in the place of what the pages told of it, in their order."""
    return {
        part: {**one, **{name: of for name, of in found[part].items() if of}}
        if isinstance(one, dict)
        else max(found[part], one, key=len)
        for part, one in told.items()
    }


def main() -> None:
    """Make what is missing, then write the pages and their numbers."""
    from inside_frontier import draw, places
    from inside_page import inside_page, mechanism_page, numbers
    from pictosafe_calibration import rounded
    from unseen_page import unseen_page
    from unseen_style import ROWS, guards, named

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("build/inside_results"))
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    parser.add_argument("models", nargs="*", default=list(MODELS), metavar="MODEL", help=", ".join(MODELS))
    parser.add_argument("--only-done", action="store_true", help="write the pages from what there is")
    options = parser.parse_args()
    work = options.work

    def wanted(done: Path) -> bool:
        return not options.only_done or done.exists()

    if unknown := {*options.models} - {*MODELS}:
        parser.error(f"no such model: {', '.join(unknown)}")
    runs = {"before": [measured(work, "before", BASE, "", 0)]}
    for seed in SEEDS:
        for row, name, calibration in settings():
            if name in options.models and wanted(run_folder(work, row, seed) / LAST / "scores.json"):
                runs.setdefault(row, []).append(measured(work, row, folder(work, name, seed), calibration, seed))
    studies = {
        name: [looked_inside(work, name, seed) for seed in SEEDS if wanted(work / "studies" / f"{name}-{seed}")]
        for name in options.models
    }
    found = numbers(runs, studies)
    found["named"] = {row: [named(Path(one["pictosafe-unseen"])) for one in runs[row]] for row in ROWS if row in runs}
    trained = [seed for seed in SEEDS if (work / "guards" / f"frozen-{seed}").exists()]
    found["guards"] = guards(work, trained if options.only_done or len(options.models) < len(MODELS) else SEEDS)
    found = beside(found, json.loads((options.docs / "inside_results.json").read_text(encoding="utf-8")))
    calibrations = options.docs / "calibration_results.json"
    draw(places(found["rows"], calibrations), options.docs / "images" / "inside_frontier.svg")
    pages = {"inside_results": inside_page(found, calibrations), "mechanism_results": mechanism_page(found)}
    for name, text in {**pages, "unseen_style": unseen_page(found, options.docs)}.items():
        (options.docs / f"{name}.md").write_text(text, encoding="utf-8")
    (options.docs / "inside_results.json").write_text(json.dumps(rounded(found)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
