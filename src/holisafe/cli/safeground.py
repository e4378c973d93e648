"""`holisafe safeground`: does a model find safe texts and images likelier together than unsafe ones?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import ExitCode, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..benchmarks.base import Benchmark
    from ..benchmarks.quadruples import Quadruple
    from .safeground_scores import Scores

WINDOW = 32
"""Pairs whose likelihoods are computed, and then kept, together."""


def safeground(
    bench: Annotated[str, typer.Argument(metavar="BENCH", help="A benchmark with quadruples, such as pictosafe.")],
    target: Annotated[str, typer.Option(metavar="SPEC", help="A model on this machine: hf/ID or hf/FOLDER.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The result, NAME.json; its scores are kept beside it.")],
    calibrate: Annotated[
        list[str] | None, typer.Option(metavar="METHOD", help="A calibration around the model; repeatable.")
    ] = None,
    split: Annotated[str | None, typer.Option(metavar="S", help="Which split; `test` where there is one.")] = None,
    root: Annotated[str | None, typer.Option(metavar="DIR", help="The benchmark's folder, or hub:OWNER/NAME.")] = None,
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="A stratified part of N quadruples.")] = None,
    system: Annotated[str | None, typer.Option(metavar="TEXT", help="A system prompt for every request.")] = None,
) -> None:
    """Print the SafeGround metrics of a model over a benchmark's quadruples of two texts and two images.

    The score of a pair is the mean log-likelihood of its text's tokens after its image. Killed or stopped, the same
    command goes on where it was. Leaves with 3 when a pair could not be scored: the same command tries it again.
    """
    from ..benchmarks import open_benchmark
    from ..benchmarks.quadruples import CORNERS, quadruples
    from ..calibration import calibrated
    from ..journal import write_json
    from ..metrics.safeground import safeground as metrics
    from ..records import GenerationSettings, digest
    from ..runs.folder import provenance
    from ..targets import open_target
    from .safeground_scores import kept_scores

    if out.suffix != ".json":
        raise InputError("the output ends in .json", where=out)
    benchmark = open_benchmark(bench, root, split)
    if split is None and any(sample.split == "test" for sample in benchmark.samples):
        benchmark = benchmark.only("test")
    every = quadruples(benchmark)
    benchmark = replace(benchmark, samples=tuple(sample for members in every for sample in members))
    chosen = _part(every, limit)
    settings = GenerationSettings(system=system)
    model: Any = calibrated(open_target(target, settings), calibrate or [])
    if not model.capabilities.likelihoods:
        raise InputError(f"{model.name} tells no likelihoods: SafeGround needs a causal model on this machine (hf/...)")
    measured = {"benchmark": benchmark.name, "content_hash": benchmark.content_hash(), "target": model.describe()}
    with kept_scores(out, digest(measured)) as scores:
        _compute(model, benchmark, settings, chosen, scores)
        table = [[scores.known.get(sample.id) for sample in members] for members in chosen]
        errors = {sample.id: scores.errors[sample.id] for row in chosen for sample in row if sample.id in scores.errors}
    cells = metrics(table)
    result = {
        **measured,
        "name": model.name,
        "split": benchmark.split,
        "quadruples": len(chosen),
        "metrics": {name: cell.to_json() for name, cell in cells.items()},
        "mean_log_likelihood": {code: _mean([row[at] for row in table]) for at, code in enumerate(CORNERS)},
        "errors": errors,
        **provenance(),
    }
    write_json(out, result)
    _print(result)
    if errors:
        print(f"{len(errors)} pairs could not be scored; the same command tries them again.")
        raise typer.Exit(ExitCode.RESUMABLE)


def _part(found: Sequence[Quadruple], limit: int | None) -> list[Quadruple]:
    """At most `limit` quadruples, of each subcategory its share; a larger limit only adds some."""
    from ..benchmarks.base import stratified

    of = {members[0].id: members for members in found}
    return [of[sample.id] for sample in stratified([members[0] for members in found], limit, seed=0)]


def _compute(model: Any, benchmark: Benchmark, settings: Any, chosen: Sequence[Quadruple], scores: Scores) -> None:
    from .progress import showing_progress

    samples = [sample for members in chosen for sample in members]
    waiting = [sample for sample in samples if sample.id not in scores.known]
    done = len(samples) - len(waiting)
    with showing_progress() as show:
        for start in range(0, len(waiting), WINDOW):
            window = waiting[start : start + WINDOW]
            requests = [benchmark.request(sample, settings) for sample in window]
            found = model.log_likelihoods(requests, [sample.query for sample in window])
            scores.add([sample.id for sample in window], found)
            done += len(window)
            show("likelihoods", done, len(samples))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _print(result: dict[str, Any]) -> None:
    from rich.table import Table

    from ..metrics.safeground import CHANCE
    from .screen import screen

    shown = Table("metric", "%", "95 % interval", "by chance", "n", "invalid", title=result["name"])
    for name, cell in result["metrics"].items():
        rate, low, high = ("–" if cell[key] is None else f"{100 * cell[key]:.1f}" for key in ("rate", "low", "high"))
        query, _, kind = name.partition("_")
        label = f"preference of {kind} {query}s" if kind else name
        counts = str(cell["n"]), str(cell["n_invalid"])
        shown.add_row(label, rate, f"{low} to {high}", f"{100 * CHANCE[name]:.1f}", *counts)
    screen().print(shown)
