"""Respond, judge, score: the only place that wires the stages together.

    benchmark --Request--> target --Response--> judges --Verdict--> scores.json

Each stage reads what the one before it left in the run folder and does only what is missing there. Every response and
every verdict is on disk before the next is asked for, so a run may be killed at any moment and carried on by calling
`evaluate` again; later with more judges, or a larger limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..benchmarks import open_recorded
from ..benchmarks.base import Benchmark, stratified
from ..errors import InputError
from ..journal import write_json
from ..judges.base import Judge, Judged, applies, call_failed
from ..judges.earlier import recorded, with_earlier
from ..records import (
    SCHEMA_VERSION,
    GenerationSettings,
    Request,
    Response,
    ResponseKey,
    Sample,
    Verdict,
    VerdictKey,
    response_key,
    verdict_key,
)
from ..runs.folder import RunFolder, provenance, read_manifest
from ..targets.base import Target
from .progress import Progress, silent
from .stopping import Budget, Stopping, stopping_on_interrupt

Call = tuple[Sample, int]
"""A sample, and which time it is asked, from 0."""


def evaluate(
    benchmark: Benchmark,
    target: Target,
    judges: Sequence[Judge],
    out: Path,
    *,
    limit: int | None = None,
    seed: int = 0,
    settings: GenerationSettings = GenerationSettings(),
    repeats: int = 1,
    max_cost: float | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure a target on a benchmark and return the scores, which `out/scores.json` then holds too.

    `limit` takes a stratified subset; `seed` draws it. Every sample is asked `repeats` times. No call begins once what
    the run has cost reaches `max_cost` US dollars. An `out` that holds a run is carried on: it must measure the same,
    and its earlier judges judge along (`judges.earlier` tells which). See docs/runs.md for the files and the numbers.

    Raises InputError, with nothing written, when an image is broken, the target cannot take these samples, or `out`
    holds something else; KeyboardInterrupt when stopped by Ctrl-C, SIGTERM or the cost, once what was in flight is
    stored.
    """
    report = progress or silent
    _check(benchmark, target, judges, settings)
    content_hash = benchmark.content_hash(lambda done, total: report("images", done, total))
    samples = stratified(benchmark.samples, limit, seed)
    panel = with_earlier(judges, read_manifest(out) if (out / "manifest.json").exists() else {}, out)
    manifest = {
        "schema": SCHEMA_VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "benchmark": {
            "name": benchmark.name,
            "reader": benchmark.reader,
            "root": None if benchmark.root is None else str(benchmark.root.resolve()),
            "revision": benchmark.revision,
            "split": benchmark.split,
            "size": len(benchmark.samples),
            "content_hash": content_hash,
        },
        "target": {"name": target.name, **target.describe()},
        "settings": asdict(settings),
        "seed": seed,
        "limit": limit,
        "repeats": repeats,
        **recorded(panel),
        **provenance(),
    }
    calls = [(sample, repeat) for repeat in range(repeats) for sample in samples]
    with RunFolder(out, manifest) as run, stopping_on_interrupt() as interrupted:
        known = run.read(Sample)
        run.append(*(sample for sample in samples if sample.id not in known))
        budget = Budget(max_cost, [*run.read(Response).values(), *run.read(Verdict).values()])
        stopping = Stopping(interrupted, budget)
        respond(run, benchmark, target, calls, settings, stopping, report)
        judge_responses(run, panel, benchmark, calls, stopping, report)
        scores = score_run(run, panel, calls, seed)
        write_json(out / "scores.json", scores)
    return scores


def judge_run(
    out: Path,
    judges: Sequence[Judge],
    *,
    root: str | Path | None = None,
    rejudge_invalid: bool = False,
    max_cost: float | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Let judges judge what a run folder holds, without its target, and return the scores of all its judges.

    Only what they have not judged is judged; with `rejudge_invalid` also what they could not. Samples without a stored
    answer, and failed calls, are left to `evaluate`. The pictures come from the benchmark that the manifest names,
    from the folder it names or from `root`, where it is now.

    Raises InputError when `out` holds no run, or its benchmark is gone or has another content; else as `evaluate`.
    """
    report = progress or silent
    manifest = read_manifest(out)
    benchmark = open_recorded(manifest.get("benchmark"), out / "manifest.json", root)
    panel = with_earlier(judges, manifest, out)
    with RunFolder(out, {**manifest, **recorded(panel)}) as run, stopping_on_interrupt() as interrupted:
        samples, responses = run.read(Sample), run.read(Response)
        repeats = range(max((response.repeat for response in responses.values()), default=0) + 1)
        asked = [(sample, repeat) for repeat in repeats for sample in samples.values()]
        calls = [(sample, repeat) for sample, repeat in asked if response_key(sample.id, repeat) in responses]
        budget = Budget(max_cost, [*responses.values(), *run.read(Verdict).values()])
        again = {judge.name for judge in judges} if rejudge_invalid else set()
        judge_responses(run, panel, benchmark, calls, Stopping(interrupted, budget), report, again)
        scores = score_run(run, panel, calls, manifest["seed"])
        write_json(out / "scores.json", scores)
    return scores


def respond(
    run: RunFolder,
    benchmark: Benchmark,
    target: Target,
    calls: Sequence[Call],
    settings: GenerationSettings,
    stopping: Stopping,
    report: Progress,
) -> None:
    """Make every call that has no answer yet (an error is none). Each response is stored as it comes."""
    answered = {key for key, response in run.read(Response).items() if response.usable}
    keyed = {response_key(sample.id, repeat): (sample, repeat) for sample, repeat in calls}
    waiting = {key: call for key, call in keyed.items() if key not in answered}
    total = len(calls)

    async def requests() -> AsyncIterator[Request]:
        for sample, repeat in list(waiting.values()):
            if stopping():
                return
            yield benchmark.request(sample, settings, repeat)

    async def ask() -> None:
        async for response in target.respond(requests()):
            if waiting.pop(response.key, None) is None:
                raise RuntimeError(f"{target.name} answered {response.sample_id!r}, which it was not asked")
            run.append(response)
            stopping.budget.spend(response.cost)
            report("responses", total - len(waiting), total)

    if waiting:
        report("responses", total - len(waiting), total)
        asyncio.run(ask())
    if waiting:
        stopping.leave(f"after {total - len(waiting):,} of {total:,} responses")
        raise RuntimeError(f"{target.name} left {len(waiting)} requests without any response")


def judge_responses(
    run: RunFolder,
    judges: Sequence[Judge],
    benchmark: Benchmark,
    calls: Sequence[Call],
    stopping: Stopping,
    report: Progress,
    again: Collection[str] = (),
) -> None:
    """Let every judge judge the responses on which it has no verdict of this version yet (a failed call is none).

    Errors and blocks by a content filter are never judged: they are not the model's own answers. Judges named in
    `again` also get what they could not judge before.
    """
    responses, verdicts = run.read(Response), run.read(Verdict)
    for judge in judges:
        pairs = [
            Judged(sample, response, benchmark.pictures(sample))
            for sample, repeat in calls
            if applies(judge, sample) and (response := responses[response_key(sample.id, repeat)]).judgeable
        ]
        current = current_verdicts(judge, responses, verdicts)
        judged = {
            key
            for key, verdict in current.items()
            if not call_failed(verdict) and not (verdict.invalid and judge.name in again)
        }
        waiting = {pair.response.key: pair for pair in pairs if pair.response.key not in judged}
        for verdict in judge.judge(_until(stopping, list(waiting.values()))):
            if verdict.judge != judge.name or waiting.pop(verdict.response_key, None) is None:
                raise RuntimeError(f"{judge.name} gave a verdict on {verdict.sample_id!r} that it was not asked for")
            run.append(verdict)
            stopping.budget.spend(verdict.cost)
            report(judge.name, len(pairs) - len(waiting), len(pairs))
        if waiting:
            stopping.leave(f"while {judge.name} was judging")
            raise RuntimeError(f"{judge.name} left {len(waiting)} responses without any verdict")


def score_run(run: RunFolder, judges: Sequence[Judge], calls: Sequence[Call], seed: int) -> dict[str, Any]:
    """The numbers of everything that the run folder holds on the calls, as `scores.json` keeps them."""
    from ..metrics.run_scores import run_scores

    responses, verdicts = run.read(Response), run.read(Verdict)
    current = {judge.name: current_verdicts(judge, responses, verdicts) for judge in judges}
    answered = [(sample, responses[response_key(sample.id, repeat)]) for sample, repeat in calls]
    failed = {name: sum(map(call_failed, verdicts.values())) for name, verdicts in current.items()}
    measures = {judge.name: getattr(judge, "measures", {}) for judge in judges}
    return {
        **run_scores(answered, current, seed, measures),
        "judge_errors": {name: n for name, n in failed.items() if n},
    }


def _until(stopping: Stopping, items: Sequence[Judged]) -> Iterator[Judged]:
    """The items one by one, until somebody asks to stop."""
    for item in items:
        if stopping():
            return
        yield item


def current_verdicts(
    judge: Judge, responses: Mapping[ResponseKey, Response], verdicts: Mapping[VerdictKey, Verdict]
) -> dict[ResponseKey, Verdict]:
    """The judge's verdicts by its present rules on the present responses, by response key; others are out of date."""
    stored = {key: verdicts.get(verdict_key(judge.name, key)) for key in responses}
    return {
        key: verdict for key, verdict in stored.items() if verdict and verdict.counts(responses[key], judge.version)
    }


def _check(benchmark: Benchmark, target: Target, judges: Sequence[Judge], settings: GenerationSettings) -> None:
    """Raise InputError for what could only fail later, when much has been paid for."""
    if not benchmark.samples:
        raise InputError(f"{benchmark.name} holds no samples")
    can, most = target.capabilities, max(len(sample.images) for sample in benchmark.samples)
    if can.images_per_request is not None and most > can.images_per_request:
        raise InputError(
            f"{target.name} takes {can.images_per_request} images a request; {benchmark.name} needs {most}"
        )
    if settings.system and not can.system_prompt:
        raise InputError(f"{target.name} takes no system prompt")
    if not any(applies(judge, sample) for judge in judges for sample in benchmark.samples):
        names = ", ".join(judge.name for judge in judges) or "no judge"
        raise InputError(
            f"{names}: nothing in {benchmark.name} to judge (exact-match judges questions with a reference)"
        )
