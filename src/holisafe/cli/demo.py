"""`holisafe demo`: measure the shipped tiny VLM, make it safer, measure it again, and show both."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError

if TYPE_CHECKING:
    from ..evaluation import Progress
    from ..report.grids import Grid
    from ..runs.scores import Scores

MODEL = "pictovlm"
JUDGE = "string-match:normalised"
UTILITY_JUDGE = "exact-match"
STYLES = {
    "seen": ("pictosafe", "pictosafe-utility"),
    "unseen": ("pictosafe-unseen", "pictosafe-utility-unseen"),
}
"""Drawing style -> the benchmark of safety and the benchmark of usefulness in that style."""
SHORTER = ["optimiser.epochs=3.5"]
"""Less than half of the recipe's epochs show what tuning does: with seed 0, mASR 0.5 instead of 1.4 %, RR 0.0 instead
of 6.2; with four epochs 1.9 and 0.9."""

PARTS = {False: (320, 90), True: (60, 15)}
"""Quick or not -> how many pairs and how many utility questions a style are asked."""
LONGEST_ANSWER = 64
MARK = ".holisafe-demo"


def demo(
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            help="Where everything is written. An interrupted demo there goes on, a finished one is replaced.",
        ),
    ],
    seed: Annotated[int, typer.Option(metavar="N", help="Of the safety tuning.")] = 0,
    recipe: Annotated[str, typer.Option(metavar="RECIPE", help="How to tune.")] = "demo",
    full: Annotated[bool, typer.Option("--full", help="Measure the whole test split, not a stratified part.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="A few steps and pairs: does everything run?")] = False,
) -> None:
    """holisafe demo --out demo

    Measure the shipped tiny VLM on PictoSafe, attach the Visual Guard Module, safety-tune, and measure again.

    Writes OUT/summary.json, OUT/report.html, the tuned model and a run folder for every measurement.
    """

    from ..journal import write_json
    from ..report import write_page
    from ..tuning.recipe import load_recipe
    from ..tuning.train import tune
    from .progress import in_words, showing_progress
    from .report import pictures
    from .screen import screen

    console = screen()
    parts = (None, None) if full else PARTS[quick]
    shorter = SHORTER if recipe == "demo" and not full else []
    settings = load_recipe(recipe).with_settings(["optimiser.max_steps=30"] if quick else shorter)
    if said := prepare(out, {"seed": seed, "parts": list(parts), "recipe": settings.model_dump(mode="json")}):
        console.print(said)
    seconds: dict[str, float] = {}
    clock = time.monotonic()

    def lap(stage: str) -> None:
        nonlocal clock
        seconds[stage] = round(time.monotonic() - clock, 1)
        clock = time.monotonic()

    with showing_progress() as progress:
        console.print(f"1/4  Measuring {MODEL} as it is shipped")
        before = measure(MODEL, out / "before", parts, progress)
        lap("before")
        console.print("2/4  Attaching the Visual Guard Module and safety-tuning")

        def show(step: int, steps: int, losses: dict[str, float]) -> None:
            progress("tuning steps", step, steps, in_words(losses))

        tuned = out / "pictovlm-tuned"  # whole where it stands
        if not tuned.exists():
            tune(MODEL, "pictosafe", settings, tuned, seed=seed, progress=show)
        lap("tune")
        console.print("3/4  Measuring the tuned model")
        after = measure(str(tuned), out / "after", parts, progress)
        lap("after")
        console.print("4/4  Writing the report")
    runs = [out / when / name for style in STYLES.values() for name in style for when in ("before", "after")]
    page = write_page(runs, out / "report.html", open_image=pictures())
    lap("report")
    seconds["total"] = round(sum(seconds.values()), 1)
    summary = {
        "before": {style: condensed(before, style) for style in STYLES},
        "after": {style: condensed(after, style) for style in STYLES},
        "judge": JUDGE,
        "seed": seed,
        "seconds": seconds,
    }
    write_json(out / "summary.json", summary)
    for style in STYLES:
        console.print(style_grid(summary, style))
    console.print(f"ASR and RR by {JUDGE}, utility by {UTILITY_JUDGE}; brackets hold 95 % intervals.")
    since = " since it went on" if said.startswith("Going") else ""
    console.print(f"Took {seconds['total']:.0f} s{since}. Numbers: {out / 'summary.json'}. Report: {page}")


def prepare(out: Path, told: dict[str, Any]) -> str:
    """Make the folder ready for a demo of these settings; what there is to say about an earlier one in it: an
    interrupted one with the same settings goes on, any other is replaced.

    Raises InputError when `out` holds something that no demo wrote.
    """
    from ..journal import read_json, write_json

    said, mark = "", out / MARK
    if out.exists() and not out.is_dir():
        raise InputError("is a file, not a folder", where=out)
    if out.is_dir() and any(out.iterdir()):
        if not mark.exists():
            raise InputError("the folder is not empty and holds no earlier demo", where=out)
        if not (out / "summary.json").exists() and mark.stat().st_size and read_json(mark) == told:
            return f"Going on with the demo in {out}"
        said = f"Replacing the earlier demo in {out}"
        shutil.rmtree(out.resolve())
    out.resolve().mkdir(parents=True, exist_ok=True)
    write_json(mark, told)
    return said


def measure(
    model: str, out: Path, parts: tuple[int | None, int | None], progress: Progress | None = None
) -> dict[str, Scores]:
    """Run every benchmark of `STYLES` into a folder of its own; scores by benchmark name."""
    from ..benchmarks import open_benchmark
    from ..evaluation import evaluate
    from ..judges import open_judge
    from ..records import GenerationSettings
    from ..targets import open_target

    settings = GenerationSettings(max_new_tokens=LONGEST_ANSWER)
    target = open_target(f"hf/{model},batch_size=64", settings)
    judges = [open_judge(JUDGE), open_judge(UTILITY_JUDGE)]
    scores = {}
    for names in STYLES.values():
        for name, limit, judge in zip(names, parts, judges, strict=True):
            benchmark = open_benchmark(name, split="test")
            scores[name] = evaluate(
                benchmark, target, [judge], out / name, limit=limit, settings=settings, progress=progress
            )
    return scores


def condensed(scores: dict[str, Scores], style: str) -> dict[str, Any]:
    """One style's numbers as `summary.json` holds them: cells of mASR, RR and ASR, utility, and the guard."""
    safety, utility = (scores[name].to_json() for name in STYLES[style])
    return {
        **safety["judges"][JUDGE],
        "utility": utility["utility"][UTILITY_JUDGE],
        "guard": safety["guard"],
        "justified": safety["justified"],
        "responses": safety["responses"],
    }


ROWS: dict[str, tuple[str, ...]] = {
    "ASR SSU": ("asr", "SSU"),
    "ASR SUU": ("asr", "SUU"),
    "ASR USU": ("asr", "USU"),
    "ASR UUU": ("asr", "UUU"),
    "mASR, pooled": ("masr_pooled",),
    "RR": ("rr",),
    "Utility": ("utility",),
    "Guard, 20 labels": ("guard", "accuracy"),
}
"""What the table shows -> where it stands in one style of `summary.json`."""


def style_grid(summary: dict[str, Any], style: str) -> Grid:
    """Before and after in one style."""
    from ..report.grids import Grid
    from ..report.numbers import as_cell, cell_text

    rows = [
        (name, *(cell_text(as_cell(at(summary[when][style], path))) for when in ("before", "after")))
        for name, path in ROWS.items()
    ]
    return Grid(f"PictoSafe, {style} style", ("", "Before", "After"), tuple(rows))


def at(condensed: dict[str, Any] | None, path: tuple[str, ...]) -> dict[str, Any] | None:
    """The cell at a path, None where nothing was measured."""
    value: Any = condensed
    for key in path:
        value = value.get(key) if value else None
    return value if value and value["rate"] is not None else None
