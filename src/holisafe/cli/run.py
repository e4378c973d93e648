"""`holisafe run`: ask a model a benchmark, judge its answers, print the scores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import ExitCode


def run(
    bench: Annotated[str, typer.Argument(metavar="BENCH", help="A name from `holisafe data list`, or a .yaml file.")],
    target: Annotated[
        str | None,
        typer.Option(metavar="SPEC", help="openai/MODEL, hf/ID, hf/FOLDER or replay/FILE; options after commas."),
    ] = None,
    judge: Annotated[
        list[str] | None, typer.Option(metavar="J", help="string-match, llm/RUBRIC/SPEC ...; may be repeated.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="RUN", help="The run folder; one that holds this run is carried on.")
    ] = None,
    root: Annotated[str | None, typer.Option(metavar="DIR", help="The benchmark's folder, or hub:OWNER/NAME.")] = None,
    split: Annotated[str | None, typer.Option(metavar="S", help="Which split; `test` where there is one.")] = None,
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="Ask a stratified part of N samples.")] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Draws the part, and samples where decoding does.")
    ] = None,
    repeats: Annotated[int | None, typer.Option(metavar="N", min=1, help="Ask everything N times.")] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option("--max-tokens", "--max-new-tokens", metavar="N", min=1, help="The longest answer; 512."),
    ] = None,
    temperature: Annotated[float | None, typer.Option(metavar="T", help="0, greedy, unless given.")] = None,
    system: Annotated[str | None, typer.Option(metavar="TEXT", help="A system prompt for every request.")] = None,
    calibrate: Annotated[
        list[str] | None,
        typer.Option(metavar="METHOD", help="reminder, few-shot,file=F ...: a calibration around it; repeatable."),
    ] = None,
    base_url: Annotated[str | None, typer.Option(metavar="URL", help="Where the target's API is.")] = None,
    max_in_flight: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="The most calls to the target at once.")
    ] = None,
    max_cost: Annotated[
        float | None, typer.Option(metavar="USD", help="Begin no call once the run has cost so much.")
    ] = None,
    fail_if: Annotated[
        list[str] | None, typer.Option(metavar="CONDITION", help="Leave with 1 if it holds: 'masr_pooled>0.10'.")
    ] = None,
    trust_file: Annotated[
        bool, typer.Option("--trust-file", help="Let the .yaml file name keys, other machines and remote code.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell how many calls, tokens and dollars it would take; do nothing.")
    ] = False,
) -> None:
    """Ask a model every sample of a benchmark, judge its answers, and print the scores.

    Killed or stopped at any moment, the same command goes on where it was; judges may be added, --limit and --repeats
    may grow. Leaves with 0 when done, 1 when a --fail-if holds, 2 on bad input, 3 when stopped early or when calls
    failed: the same command tries again.
    """
    from ..benchmarks import open_tested
    from ..benchmarks.base import stratified
    from ..calibration import calibrated
    from ..evaluation import evaluate
    from ..judges import open_judge
    from ..metrics.gate import parse_gate
    from ..records import GenerationSettings
    from ..report.tables import run_table
    from ..targets import open_target
    from .dry_run import parts_table, remaining
    from .progress import showing_progress
    from .run_config import run_config
    from .screen import screen

    flags: dict[str, object] = {
        "target": target,
        "judges": judge,
        "out": out,
        "root": root,
        "split": split,
        "limit": limit,
        "seed": seed,
    }
    flags |= {"repeats": repeats, "max_tokens": max_tokens, "temperature": temperature, "system": system}
    flags |= {"calibrate": calibrate}
    flags |= {"base_url": base_url, "max_in_flight": max_in_flight, "max_cost": max_cost, "fail_if": fail_if}
    config = run_config(bench, flags, trust_file)
    gates = [parse_gate(condition) for condition in config.fail_if]
    settings = GenerationSettings(
        max_new_tokens=config.max_tokens, temperature=config.temperature, seed=config.seed, system=config.system
    )
    judges = [open_judge(spec) for spec in dict.fromkeys(config.judges)]
    benchmark = open_tested(config.benchmark, config.root, config.split)
    model = calibrated(open_target(config.target_spec, settings), config.calibrate)
    if dry_run:
        calls = [
            (s, n) for n in range(config.repeats) for s in stratified(benchmark.samples, config.limit, config.seed)
        ]
        parts = list(remaining(benchmark, model, judges, calls, settings, config.out))
        screen().print(parts_table(parts))
        return
    with showing_progress() as progress:
        scores = evaluate(
            benchmark,
            model,
            judges,
            config.out,
            limit=config.limit,
            seed=config.seed,
            settings=settings,
            repeats=config.repeats,
            max_cost=config.max_cost,
            progress=progress,
        )
    screen().print(run_table(scores))
    errors, judge_errors = scores.responses.errors, scores.judge_errors
    if errors:
        print(f"{errors} calls failed and are in no rate; the same command tries them again.")
    for name, count in judge_errors.items():
        print(f"{count} calls of {name} failed and count as invalid; the same command tries them again.")
    if errors or judge_errors or scores.responses.unknown:
        print_reasons(config.out)
    for remark in scores.remarks:
        print(f"note: {remark}")
    answered = errors < scores.responses.n  # a page without any answer shows nothing
    print(f"Everything is in {config.out}" + (f"; next: holisafe report {config.out}" if answered else ""))
    failures = [line for gate in gates for line in gate.failures(scores)]
    for line in failures:
        print(f"gate failed: {line}")
    if errors or judge_errors:
        raise typer.Exit(ExitCode.RESUMABLE)
    raise typer.Exit(ExitCode.GATE_FAILED if failures else ExitCode.DONE)


def print_reasons(run: Path) -> None:
    """The commonest reasons of a run's failed calls, and words for the end of answers that nobody here knows."""
    from ..judges.base import CALL_FAILED, call_failed
    from ..records import Response, Verdict
    from ..runs.folder import read_records
    from ..runs.reasons import commonest, failures, unknown_endings

    responses, verdicts = read_records(run, Response).values(), read_records(run, Verdict).values()
    judges = [(verdict.invalid or "").removeprefix(CALL_FAILED) for verdict in verdicts if call_failed(verdict)]
    for line in [*commonest(failures(responses)), *commonest(judges), *unknown_endings(responses)]:
        print(f"  {line}")
