"""Respond, judge, score: the only place that wires the stages together.

    benchmark --Request--> target --Response--> judges --Verdict--> scores.json

Each stage reads what the one before it left in the run folder and does only what is missing there. Every response and
every verdict is on disk before the next is asked for, so a run may be killed at any moment and carried on by calling
`evaluate` again; later with more judges, or a larger limit.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence, Sized
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from ..benchmarks import open_recorded
from ..benchmarks.base import Benchmark, stratified
from ..errors import InputError
from ..judges.base import CALL_FAILED, Judge, Judged, applies, call_failed
from ..judges.earlier import recorded, with_earlier
from ..records import (
    SCHEMA_VERSION,
    GenerationSettings,
    Request,
    Response,
    ResponseKey,
    Sample,
    Verdict,
    response_key,
)
from ..runs.folder import RunFolder, provenance, read_manifest
from ..runs.index import Index
from ..runs.manifest import check_entries
from ..runs.reasons import alike, failures
from ..runs.run import read_run
from ..runs.scores import Scores, write_scores
from ..stepping import event_loop
from ..targets.base import Target, innermost, keeping
from . import image_probe
from .image_probe import needs_probe, probe
from .pledges import check_prices, warn_of_repeats
from .progress import Progress, silent
from .stopping import Budget, Stopping, stopping_on_interrupt

PROBE = "image_probe"
"""The manifest's entry of what `image_probe.probe` found."""

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
    settings: GenerationSettings | None = None,
    repeats: int = 1,
    max_cost: float | None = None,
    probe_images: bool = False,
    progress: Progress | None = None,
) -> Scores:
    """Measure a target on a benchmark and return the scores, which `out/scores.json` then holds too.

    `settings` are those that the target was opened with; they need to be given only for a target that keeps none.
    `limit` takes a stratified subset; `seed` draws it. Every sample is asked `repeats` times. No call begins once what
    the run has cost reaches `max_cost` US dollars. An `out` that holds a run is carried on: it must measure the same,
    and its earlier judges judge along (`judges.earlier` tells which). With `probe_images` a model behind an API is
    asked first whether pictures reach it (`image_probe`). See docs/runs.md for the files and the numbers.

    Raises InputError, with nothing written, when an image is broken, the target cannot take these samples, or `out`
    holds something else; KeyboardInterrupt when stopped by Ctrl-C, SIGTERM or the cost, once what was in flight is
    stored.
    """
    report = progress or silent
    settings = _settings(target, settings)
    panel = with_earlier(judges, read_manifest(out) if (out / "manifest.json").exists() else {})
    remarks = _remarks(benchmark, [target, *panel])
    _check(benchmark, target, judges, settings)
    check_prices(max_cost, [target, *panel])
    manifest: dict[str, Any] = {
        "schema": SCHEMA_VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "benchmark": {
            "name": benchmark.name,
            "reader": benchmark.reader,
            "root": None if benchmark.root is None else str(benchmark.root.resolve()),
            "revision": benchmark.revision,
            "split": benchmark.split,
            "size": len(benchmark.samples),
            "content_hash": "",
        },
        "target": {"name": target.name, **target.describe()},
        "settings": asdict(settings),
        "seed": seed,
        "limit": limit,
        "repeats": repeats,
        **recorded(panel),
        **provenance(),
    }
    check_entries(manifest)
    warn_of_repeats(target, settings, repeats)
    manifest["benchmark"]["content_hash"] = benchmark.content_hash(lambda done, total: report("images", done, total))
    samples = stratified(benchmark.samples, limit, seed)
    calls = [(sample, repeat) for repeat in range(repeats) for sample in samples]
    with RunFolder(out, manifest) as run, keeping(target, out), stopping_on_interrupt() as interrupted:
        run.append(*(sample for sample in samples if sample.id not in run.index.samples))
        pictured = any(sample.every_image for sample in samples)
        if probe_images and needs_probe(target, pictured, run.manifest.get(PROBE)):
            run.note(**{PROBE: probe(target, settings, seed)})
        probed = run.manifest.get(PROBE)
        paid = sum(float(part["usd"] or 0) for part in image_probe.cost(probed).values())
        stopping = Stopping(interrupted, Budget(max_cost, run.index.spent + paid))
        respond(run, benchmark, target, calls, settings, stopping, report)
        judge_responses(run, panel, benchmark, calls, stopping, report)
        remarks += image_probe.remark(probed, target.name)
        scores = score_run(out, panel, seed, remarks)
        scores = replace(scores, cost={**image_probe.cost(probed), **scores.cost})
        write_scores(out, scores)
    return scores


def judge_run(
    out: Path,
    judges: Sequence[Judge],
    *,
    root: str | Path | None = None,
    rejudge_invalid: bool = False,
    max_cost: float | None = None,
    progress: Progress | None = None,
) -> Scores:
    """Let judges judge what a run folder holds, without its target, and return the scores of all its judges.

    Only what they have not judged is judged; with `rejudge_invalid` also what they could not. Samples without a stored
    answer, and failed calls, are left to `evaluate`. The pictures come from the benchmark that the manifest names,
    from the folder it names or from `root`, where it is now.

    Raises InputError when `out` holds no run, or its benchmark is gone or has another content; else as `evaluate`.
    """
    report = progress or silent
    manifest = read_manifest(out)
    benchmark = open_recorded(manifest.get("benchmark"), out / "manifest.json", root)
    panel = with_earlier(judges, manifest)
    check_prices(max_cost, panel)
    remarks = _remarks(benchmark, panel)
    with RunFolder(out, {**manifest, **recorded(panel)}) as run, stopping_on_interrupt() as interrupted:
        samples = run.read(Sample)
        place = {name: number for number, name in enumerate(samples)}
        made = sorted((repeat, place[name]) for name, repeat in run.index.calls() if name in place)
        asked = list(samples.values())
        calls = [(asked[number], repeat) for repeat, number in made]
        stopping = Stopping(interrupted, Budget(max_cost, run.index.spent))
        again = {judge.name for judge in judges} if rejudge_invalid else set()
        judge_responses(run, panel, benchmark, calls, stopping, report, again)
        probed = manifest.get(PROBE)
        remarks += image_probe.remark(probed, str(manifest["target"]["name"]))
        scores = score_run(out, panel, manifest["seed"], remarks)
        scores = replace(scores, cost={**image_probe.cost(probed), **scores.cost})
        write_scores(out, scores)
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
    keyed = {response_key(sample.id, repeat): (sample, repeat) for sample, repeat in calls}
    waiting = {key: call for key, call in keyed.items() if not run.index.done(key)}
    total = len(calls)
    fresh = None if total > len(waiting) else target
    stored = Stored(run, stopping, lambda: report("responses", total - len(waiting), total), fresh)

    async def requests() -> AsyncIterator[Request]:
        for sample, repeat in list(waiting.values()):
            if stored.stopped():
                return
            yield benchmark.request(sample, settings, repeat)

    async def ask() -> None:
        thought: list[bool] = []  # of the first answers
        async for response in target.respond(requests()):
            asked = waiting.pop(response.key, None) is not None
            stored.keep(response, None if asked else f"{target.name} answered {response.sample_id!r}")
            if settings.reasoning == "off" and response.usable and len(thought) < FIRST:
                thought.append(bool(response.reasoning or response.usage.get("reasoning_tokens")))
                if len(thought) == FIRST and all(thought):
                    problem = (
                        f"{target.name} leaves --reasoning off aside: each of the first {FIRST} answers has a thought"
                    )
                    stored.fault = stored.fault or InputError(problem)

    if waiting:
        report("responses", total - len(waiting), total)
        with event_loop() as finished:
            finished(ask())
    stored.complain()
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
    for judge in judges:
        asked = to_judge(run.index, judge, calls)
        waiting = {
            key: sample
            for key, sample in asked.items()
            if (opinion := run.index.opinion(judge.name, judge.version, key)) is None
            or call_failed(opinion)
            or (opinion.invalid and judge.name in again)
        }
        total = len(asked)
        fresh = None if total > len(waiting) else getattr(judge, "target", None)
        tell = partial(_tell, report, judge.name, waiting, total)
        stored = Stored(run, stopping, tell, fresh, GATHERED if getattr(judge, "quick", False) else 0.0)

        def pairs(samples: Mapping[ResponseKey, Sample], stored: Stored = stored) -> Iterator[Judged]:
            for response in run.index.responses(list(samples)):
                if stored.stopped():
                    return
                sample = samples[response.key]
                yield Judged(sample, response, benchmark.pictures(sample))

        try:
            for verdict in judge.judge(pairs(dict(waiting))):
                own = verdict.judge == judge.name and waiting.pop(verdict.response_key, None) is not None
                stored.keep(verdict, None if own else f"{judge.name} gave a verdict on {verdict.sample_id!r}")
        finally:
            stored.write()
        stored.complain()
        if waiting:
            stopping.leave(f"while {judge.name} was judging")
            raise RuntimeError(f"{judge.name} left {len(waiting)} responses without any verdict")


def to_judge(index: Index, judge: Judge, calls: Sequence[Call]) -> dict[ResponseKey, Sample]:
    """The answers among the calls that are a judge's to judge, judged or not."""
    keyed = ((response_key(sample.id, repeat), sample) for sample, repeat in calls if applies(judge, sample))
    return {key: sample for key, sample in keyed if index.judgeable(key)}


def _tell(report: Progress, who: str, waiting: Sized, total: int) -> None:
    report(who, total - len(waiting), total)


GATHERED = 0.1
"""Seconds for which verdicts that cost nothing are gathered before they are written down together."""

FIRST = 8
"""So many first calls that all fail alike show that the next would."""


def _reason(record: Response | Verdict) -> str | None:
    """Why a call failed; None for one that did not."""
    if isinstance(record, Response):
        return next(iter(failures([record])), None)
    return (record.invalid or "").removeprefix(CALL_FAILED) if call_failed(record) else None


class Stored:
    """What comes back, stored one by one. The first fault on the way lets nothing new begin and is raised at the end:
    what was in flight, and is paid for, is stored all the same.

    Of a model that is asked for the first time (`fresh`), calls that all fail alike are such a fault: a wrong name, key
    or address, which the next calls would meet too. `gathered` is for how many seconds records may wait for others to
    be written down with.
    """

    def __init__(
        self,
        run: RunFolder,
        stopping: Stopping,
        tell: Callable[[], None],
        fresh: Target | None = None,
        gathered: float = 0.0,
    ) -> None:
        self.run, self.stopping, self.tell, self.fresh, self.gathered = run, stopping, tell, fresh, gathered
        self.coming: list[Response | Verdict] = []
        self.written = 0.0
        self.fault: Exception | None = None
        self.failed: list[str] = []

    def stopped(self) -> bool:
        return self.fault is not None or self.stopping()

    def keep(self, record: Response | Verdict, unasked: str | None) -> None:
        """Store a record, unless it is one that was `unasked`, in words."""
        try:
            if unasked is not None:
                raise RuntimeError(f"{unasked}, which it was not asked")
            self.coming.append(record)
            if time.monotonic() - self.written >= self.gathered:
                self.write()
            self.stopping.budget.spend(record.cost)
            self.tell()
            self._heed(_reason(record))
        except Exception as fault:  # noqa: BLE001 - whatever it is, others are in flight
            self.fault = self.fault or fault

    def write(self) -> None:
        """Write down what is not yet; what cannot be is tried again with the next."""
        try:
            self.run.append(*self.coming)
            self.coming.clear()
        except Exception as fault:  # noqa: BLE001
            self.fault = self.fault or fault
        self.written = time.monotonic()

    def _heed(self, reason: str | None) -> None:
        if reason is None or (self.failed and alike(reason) != alike(self.failed[0])):
            self.fresh = None
        if self.fresh is not None and reason is not None:
            self.failed.append(reason)
            if len(self.failed) >= FIRST and not self.fresh.capabilities.free:
                self.fault = self.fault or self._nothing_works()

    def _nothing_works(self) -> InputError:
        name, count = self.fresh.name if self.fresh else "", len(self.failed)
        return InputError(f"{name}: all of the first {count:,} calls failed, nothing more was asked: {self.failed[0]}")

    def complain(self) -> None:
        """Raise the first fault, if there was one; and one where every call failed alike."""
        if self.fault is None and self.fresh is not None and len(self.failed) >= FIRST:
            self.fault = self._nothing_works()
        if self.fault is not None:
            raise self.fault


def score_run(run: Path, judges: Sequence[Judge], seed: int, remarks: Sequence[str] = ()) -> Scores:
    """The numbers of everything that the run folder holds, as `scores.json` keeps them; with the remarks."""
    from ..metrics.reasoning_heeded import not_heeded
    from ..metrics.run_scores import run_scores

    found = read_run(run)
    failed = found.verdicts["invalid"].str.startswith(CALL_FAILED, na=False)
    counts = found.verdicts.loc[failed, "judge"].value_counts()
    measures = {judge.name: getattr(judge, "measures", {}) for judge in judges}
    errors = {str(name): int(n) for name, n in counts.items() if n}
    unheeded = not_heeded(found.answers, found.manifest.get("settings", {}).get("reasoning"))
    told = [*remarks, *([unheeded] if unheeded else [])]
    return replace(run_scores(found.answers, found.verdicts, seed, measures), judge_errors=errors, remarks=told)


def _settings(target: Any, given: GenerationSettings | None) -> GenerationSettings:
    """What the target was opened with, `given` where it does not say. Raises InputError when the two differ."""
    own = getattr(innermost(target), "settings", None)
    if not isinstance(own, GenerationSettings):
        return given or GenerationSettings()
    if given is not None and given != own:
        opened, asked = asdict(own), asdict(given)
        changes = [f"{name} {opened[name]!r}, not {asked[name]!r}" for name in opened if opened[name] != asked[name]]
        raise InputError(f"{target.name} was opened with {'; '.join(changes)}")
    return own


def take_reasoning(target: Any, settings: GenerationSettings) -> None:
    """Let a target make ready for thinking or not, as the settings say. Raises InputError where it offers no choice."""
    takes = getattr(innermost(target), "takes_reasoning", None)
    if takes is None:
        raise InputError(f"{target.name} offers no choice of reasoning")
    takes(settings)


def _check(benchmark: Benchmark, target: Target, judges: Sequence[Judge], settings: GenerationSettings) -> None:
    """Raise InputError for what could only fail later, when much has been paid for."""
    if not benchmark.samples:
        raise InputError(f"{benchmark.name} holds no samples")
    can, most = target.capabilities, max(len(sample.every_image) for sample in benchmark.samples)
    if can.images_per_request is not None and most > can.images_per_request:
        raise InputError(
            f"{target.name} takes {can.images_per_request} images a request; {benchmark.name} needs {most}"
        )
    if settings.reasoning is not None:
        take_reasoning(target, settings)
    if settings.system and not can.system_prompt:
        raise InputError(f"{target.name} takes no system prompt")
    if not any(applies(judge, sample) for judge in judges for sample in benchmark.samples):
        names = ", ".join(judge.name for judge in judges) or "no judge"
        raise InputError(
            f"{names}: nothing in {benchmark.name} to judge (exact-match judges questions with a reference)"
        )


def _remarks(benchmark: Benchmark, parts: Sequence[Target | Judge]) -> list[str]:
    """What is odd about the files that the benchmark and the parts come from, though it stops no run."""
    found = list(benchmark.remarks)
    for part in parts:
        told: Callable[[Sequence[Sample]], list[str]] = getattr(part, "remarks", lambda samples: [])
        found += [f"{part.name}: {remark}" for remark in told(benchmark.samples)]
    return found
