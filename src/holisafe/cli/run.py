"""`holisafe run`: ask a model a benchmark, judge its answers, print the scores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import ExitCode

if TYPE_CHECKING:
    from ..benchmarks.base import Benchmark
    from ..evaluate import Progress


def run(
    bench: Annotated[str, typer.Argument(metavar="BENCH", help="A benchmark's name; `holisafe data list` shows them.")],
    target: Annotated[str, typer.Option(metavar="T", help="What to ask: hf/MODEL_ID, hf/FOLDER or replay/FILE.")],
    judge: Annotated[list[str], typer.Option(metavar="J", help="Who judges, such as string-match; may be repeated.")],
    out: Annotated[Path, typer.Option(metavar="RUN", help="The run folder; one that holds this run is carried on.")],
    root: Annotated[Path | None, typer.Option(metavar="DIR", help="The benchmark's folder, unless embedded.")] = None,
    split: Annotated[str | None, typer.Option(metavar="S", help="Which split; `test` where there is one.")] = None,
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="Ask a stratified part of N samples.")] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Draws the part, and samples where decoding does.")] = 0,
    max_new_tokens: Annotated[int, typer.Option(metavar="N", min=1, help="The longest answer.")] = 512,
    system: Annotated[str | None, typer.Option(metavar="TEXT", help="A system prompt for every request.")] = None,
) -> None:
    """Ask a model every sample of a benchmark, judge its answers, and print the scores.

    Killed or stopped at any moment, the same command goes on where it was; judges may be added and --limit may grow.
    Leaves with 0 when done, 2 on bad input, 3 when stopped early or when calls failed: the same command tries again.
    """
    from rich.console import Console

    from ..evaluate import evaluate
    from ..judges import open_judge
    from ..records import GenerationSettings
    from ..report.tables import run_table
    from ..targets import open_target

    settings = GenerationSettings(max_new_tokens=max_new_tokens, seed=seed, system=system)
    judges = [open_judge(spec) for spec in dict.fromkeys(judge)]
    benchmark = _open_split(bench, root, split)
    model = open_target(target, settings)
    with showing_progress() as progress:
        scores = evaluate(benchmark, model, judges, out, limit=limit, seed=seed, settings=settings, progress=progress)
    Console().print(run_table(scores))
    errors = scores["responses"]["errors"]
    if errors:
        print(f"{errors} calls failed and are in no rate; the same command tries them again.")
    print(f"Everything is in {out}; next: holisafe report {out}")
    raise typer.Exit(ExitCode.RESUMABLE if errors else ExitCode.DONE)


def _open_split(name: str, root: Path | None, split: str | None) -> Benchmark:
    """The split asked for; without one `test`, or everything where there is no such split."""
    from ..benchmarks import open_benchmark

    benchmark = open_benchmark(name, root, split)
    has_test = any(sample.split == "test" for sample in benchmark.samples)
    return benchmark.only("test") if split is None and has_test else benchmark


class showing_progress:  # noqa: N801  (used as `with showing_progress() as progress`)
    """A bar for every stage, with an estimate of the time left; nothing where nobody watches."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Progress:
        self._bars.start()
        return self._show

    def __exit__(self, *error: object) -> None:
        self._bars.stop()

    def _show(self, stage: str, done: int, total: int) -> None:
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total)
        self._bars.update(self._tasks[stage], completed=done)
