"""`holisafe run`: ask models benchmarks, judge their answers, print the scores."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import ExitCode, InputError
from .command import RARE, known

if TYPE_CHECKING:
    from ..evaluation.grid import Cell
    from ..metrics.gate import Gate
    from ..records import GenerationSettings
    from .run_config import RunConfig


def run(
    bench: Annotated[
        list[str],
        typer.Argument(
            metavar="BENCH[:ROOT]...",
            help="As `holisafe data list` names them, or one .yaml.",
            autocompletion=known("benchmarks"),
        ),
    ],
    target: Annotated[
        str | None, typer.Option(metavar="SPEC", help="openai/MODEL, hf/ID, hf/FOLDER, replay/FILE[,option=...].")
    ] = None,
    judge: Annotated[
        list[str] | None,
        typer.Option(
            metavar="J", help="string-match, llm/RUBRIC/SPEC ...; repeatable.", autocompletion=known("judges")
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="RUN", help="The run folder; the run in it goes on.")] = None,
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="A stratified part of N samples.")] = None,
    max_cost: Annotated[
        float | None, typer.Option(metavar="USD", help="Begin no call once the run has cost so much.")
    ] = None,
    fail_if: Annotated[
        list[str] | None, typer.Option(metavar="CONDITION", help="Leave with 1 if it holds: 'masr_pooled>10%'.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell calls, tokens and dollars; ask nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON.")] = False,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write gates and measures as JUnit XML too.")
    ] = None,
    root: Annotated[
        str | None, typer.Option(metavar="DIR", help="As BENCH:DIR; also hub:OWNER/NAME.", rich_help_panel=RARE)
    ] = None,
    split: Annotated[
        str | None, typer.Option(metavar="S", help="`test` unless given, where there is one.", rich_help_panel=RARE)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Draws the part, and samples answers.", rich_help_panel=RARE)
    ] = None,
    repeats: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Ask everything N times.", rich_help_panel=RARE)
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="The longest answer; 512.", rich_help_panel=RARE)
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(metavar="T", help="0, greedy, unless given.", rich_help_panel=RARE)
    ] = None,
    system: Annotated[
        str | None, typer.Option(metavar="TEXT", help="A system prompt for every request.", rich_help_panel=RARE)
    ] = None,
    reasoning: Annotated[
        str | None,
        typer.Option(metavar="off|on|N", help="Let the model think or not, N tokens at most.", rich_help_panel=RARE),
    ] = None,
    calibrate: Annotated[
        list[str] | None,
        typer.Option(metavar="METHOD", help="reminder, few-shot,file=F ...; repeatable.", rich_help_panel=RARE),
    ] = None,
    attack: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="typed, noise,sigma=40 ...; repeatable, in this order.",
            rich_help_panel=RARE,
            autocompletion=known("attacks"),
        ),
    ] = None,
    no_probe: Annotated[
        bool,
        typer.Option("--no-probe", help="Ask an API nothing about a picture first.", rich_help_panel=RARE),
    ] = False,
    base_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Where the target's API is.", rich_help_panel=RARE)
    ] = None,
    max_in_flight: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="The most calls at once.", rich_help_panel=RARE)
    ] = None,
    trust_file: Annotated[
        bool,
        typer.Option("--trust-file", help="The .yaml may name keys and machines.", rich_help_panel=RARE),
    ] = False,
) -> None:
    """holisafe run pictosafe --target hf/MODEL --judge string-match --out runs/mine

    Ask a model every sample of a benchmark, judge its answers, print the scores. Several benchmarks, or models x
    benchmarks in a .yaml, get a run folder each in RUN. Killed or stopped, the same command goes on. Leaves with 0 when
    done, 1 when a --fail-if holds, 2 on bad input, 3 when stopped or when calls failed.
    """
    from ..metrics.gate import parse_gate
    from .run_config import run_config

    flags: dict[str, object] = {"target": target, "judges": judge, "out": out, "root": root, "split": split}
    flags |= {"limit": limit, "seed": seed, "repeats": repeats, "max_tokens": max_tokens, "temperature": temperature}
    flags |= {
        "reasoning": reasoning,
        "system": system,
        "calibrate": calibrate,
        "probe": False if no_probe else None,
        "attack": attack,
        "base_url": base_url,
        "max_in_flight": max_in_flight,
    }
    config = run_config(bench, flags | {"max_cost": max_cost, "fail_if": fail_if}, trust_file)
    gates = [parse_gate(condition) for condition in config.fail_if]
    if junit is not None and not junit.parent.is_dir():
        raise InputError("no such folder", where=junit.parent)
    if junit is not None and junit.is_dir():
        raise InputError("is a folder", where=junit)
    settings = config.generation
    if dry_run:
        _foresee(config, settings)
        return
    cells = _measure(config, settings, quiet=as_json)
    if as_json:
        told = [_json(cell) for cell in cells]
        print(json.dumps(told if config.is_grid else told[0], indent=2, ensure_ascii=False))
    elif config.is_grid:
        _rank(cells)
    if junit is not None:
        from ..journal import write_text
        from ..report.junit import Suite, junit_xml

        suites = [
            Suite(f"{cell.benchmark} {cell.target}", str(cell.out), cell.scores, str(cell.fault)) for cell in cells
        ]
        write_text(junit, junit_xml(suites, gates))
    raise typer.Exit(_judge(cells, gates, sys.stderr if as_json else sys.stdout))


def _measure(config: RunConfig, settings: GenerationSettings, quiet: bool) -> list[Cell]:
    """The cells with their scores, told one by one as they are done. Of a run that is no grid the fault is raised."""
    from ..benchmarks import open_tested
    from ..evaluation import evaluate
    from ..evaluation.grid import Cell, evaluate_grid
    from ..judges import open_judge
    from ..targets import open_target
    from .progress import showing_progress

    asked: dict[str, Any] = {name: getattr(config, name) for name in ("limit", "seed", "repeats", "max_cost")}
    asked["probe_images"] = config.probe
    judges = [open_judge(spec) for spec in dict.fromkeys(config.judges)]
    if config.is_grid:
        with showing_progress() as progress:
            return evaluate_grid(
                config.benchmarks or [str(config.benchmark)], config.specs, judges, config.out, split=config.split,
                settings=settings, prepare=config.prepared,
                tell=lambda cell: _tell(cell, quiet, several=True), progress=progress, **asked,
            )  # fmt: skip
    benchmark = open_tested(str(config.benchmark), config.root, config.split)
    model = config.prepared(open_target(str(config.specs), settings))
    with showing_progress() as progress:
        scores = evaluate(benchmark, model, judges, config.out, settings=settings, progress=progress, **asked)
    cell = Cell(benchmark.name, model.name, config.out, scores)
    _tell(cell, quiet)
    return [cell]


def _foresee(config: RunConfig, settings: GenerationSettings) -> None:
    """Print what the run would take, cell by cell."""
    from ..benchmarks import open_tested
    from ..benchmarks.base import stratified
    from ..clients.options import without_keys
    from ..evaluation.foresight import remaining
    from ..evaluation.grid import plan
    from ..judges import open_judge
    from ..report.costs import costs_grid
    from ..targets import open_target
    from .screen import screen

    console = screen()
    with without_keys():
        judges = [open_judge(spec) for spec in dict.fromkeys(config.judges)]
        for spec, name, cell in plan(config.benchmarks or [str(config.benchmark)], config.specs, config.out):
            benchmark = open_tested(name, config.root, config.split)
            model = config.prepared(open_target(spec, settings))
            chosen = stratified(benchmark.samples, config.limit, config.seed)
            calls = [(sample, repeat) for repeat in range(config.repeats) for sample in chosen]
            if config.is_grid:
                console.print(str(cell.out), style="bold")
            out = cell.out if config.is_grid else config.out
            parts = remaining(benchmark, model, judges, calls, settings, out, probe_images=config.probe)
            console.print(costs_grid(list(parts)))


def _tell(cell: Cell, quiet: bool, several: bool = False) -> None:
    """Print what a run, one of `several`, measured, and what went wrong; where `quiet`, the latter alone, on stderr."""
    from ..report.tables import rates_grid
    from .screen import screen

    stream = sys.stderr if quiet else sys.stdout
    if (scores := cell.scores) is None:
        print(f"{cell.out}: failed: {cell.fault}", file=stream)
        return
    if not quiet:
        title = f"{cell.benchmark}, {cell.target}" if several else ""
        screen().print(replace(rates_grid([scores]), title=title))
    errors, judge_errors = scores.responses.errors, scores.judge_errors
    if errors:
        print(f"{errors} calls failed and are in no rate; the same command tries them again.", file=stream)
    for name, count in judge_errors.items():
        print(f"{count} calls of {name} failed and count as invalid; the same command tries them again.", file=stream)
    if errors or judge_errors or scores.responses.unknown:
        print_reasons(cell.out, stream)
    for remark in scores.remarks:
        print(f"note: {remark}", file=stream)
    if cost := sum(float(part.get("usd") or 0) for part in scores.cost.values()):
        print(f"Cost so far: {cost:,.4f} USD", file=stream)
    answered = errors < scores.responses.n  # a page without any answer shows nothing
    print(f"Everything is in {cell.out}" + (f"; next: holisafe report {cell.out}" if answered else ""), file=stream)


def _rank(cells: Sequence[Cell]) -> None:
    """A leaderboard for every benchmark on which several models have scores, called as the grid calls them."""
    from ..metrics.boards import boards
    from ..report.leaderboards import leaderboard_grids
    from ..runs.run import side_by_side
    from .screen import screen

    console = screen()
    for name in dict.fromkeys(cell.benchmark for cell in cells):
        done = [cell for cell in cells if cell.benchmark == name and cell.scores and cell.scores.judges]
        if len(done) > 1:
            found = boards(side_by_side([cell.out for cell in done], [cell.target for cell in done]))
            for judge, board in found.judges.items():
                console.print(*leaderboard_grids(f"{name}, by {judge}", board, found.sort))
            for note in found.notes:
                console.print(f"- {note}")


def _json(cell: Cell) -> dict[str, Any]:
    told = {"benchmark": cell.benchmark, "target": cell.target, "run": str(cell.out)}
    return told | ({"scores": cell.scores.to_json()} if cell.scores else {"fault": str(cell.fault)})


def _judge(cells: Sequence[Cell], gates: Sequence[Gate], stream: Any) -> int:
    """The exit code: a fault of ours, of what was given, calls to try again, a gate that failed, or none of these."""
    for cell in cells:
        for line in (line for gate in gates if cell.scores for line in gate.failures(cell.scores)):
            print(f"gate failed: {line}" + (f" ({cell.out})" if len(cells) > 1 else ""), file=stream)
    for cell in cells:
        if cell.fault is not None and not isinstance(cell.fault, InputError):
            raise cell.fault
    if any(cell.fault for cell in cells):
        return ExitCode.BAD_INPUT
    scores = [cell.scores for cell in cells if cell.scores]
    if any(one.responses.errors or one.judge_errors for one in scores):
        return ExitCode.RESUMABLE
    failed = any(True for gate in gates for one in scores for _ in gate.failures(one))
    return ExitCode.GATE_FAILED if failed else ExitCode.DONE


def print_reasons(run: Path, stream: Any = None) -> None:
    """The commonest reasons of a run's failed calls, and words for the end of answers that nobody here knows."""
    from ..judges.base import CALL_FAILED, call_failed
    from ..records import Response, Verdict
    from ..runs.folder import read_records
    from ..runs.reasons import commonest, failures, unknown_endings

    responses, verdicts = read_records(run, Response).values(), read_records(run, Verdict).values()
    judges = [(verdict.invalid or "").removeprefix(CALL_FAILED) for verdict in verdicts if call_failed(verdict)]
    for line in [*commonest(failures(responses)), *commonest(judges), *unknown_endings(responses)]:
        print(f"  {line}", file=stream or sys.stdout)
