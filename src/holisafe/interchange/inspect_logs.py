"""Inspect AI's logs: the responses in any of them, and a run folder as one that its viewer opens.

A log that `write_eval_log` made gives the run's responses back as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

from ..clients.pictures import Encoding
from ..errors import InputError
from ..journal import whole_file
from ..records import Response, ResponseKey, Sample, Verdict, digest
from ..runs.run import Run, read_run
from ..thoughts import Marks
from .inspect_records import logged_response, metadata_of, metrics_of, needs_inspect, output_of, score_of

if TYPE_CHECKING:
    from inspect_ai.log import EvalResults, EvalSample, EvalSpec, EvalStats

ENCODING = Encoding(max_side=1024, jpeg_quality=90)
"""How pictures go into a log, which is for looking at."""

READ_AT_ONCE = 100
"""Samples held in memory while reading."""

MAX_BYTES = 100_000_000
"""The longest file in a log, unpacked, unless more is asked for."""

NOT_READ = {"messages", "events", "events_data", "attachments", "store"}
"""Parts of a sample that hold no response, some of them large."""

Calls = Sequence[tuple[Sample, Response]]
"""What was asked, with its response."""

Verdicts = Mapping[str, Mapping[ResponseKey, Verdict]]
"""{judge: {response key: verdict}}."""


def read_responses(path: Path, own: Marks | None = None, max_bytes: int = MAX_BYTES) -> list[Response]:
    """The responses of a log, of any task and any model; the target is the log's model, an epoch a repeat.

    A call that failed is an error with its message. `own` are the model's own marks of its thoughts. Raises InputError
    when the file is no log of Inspect's, holds no samples or something longer than `max_bytes`, and when Inspect AI is
    not installed.
    """
    needs_inspect()
    if not path.is_file():
        raise InputError("no such file", where=path)
    responses = [logged_response(sample, target, own) for target, sample in _logged(path, max_bytes)]
    if not responses:
        raise InputError("the log holds no samples", where=path)
    return responses


def _logged(path: Path, max_bytes: int) -> Iterator[tuple[str, EvalSample]]:
    """The log's model with each of its samples, a few at a time."""
    from inspect_ai.log import read_eval_log, read_eval_log_sample_summaries, read_eval_log_samples_by_id

    try:
        longest = largest_member(path, max_bytes) if path.suffix == ".eval" else 1
        at_once = max(1, min(READ_AT_ONCE, max_bytes // max(1, longest)))
        model = read_eval_log(path, header_only=True).eval.model
        keys = [(summary.id, summary.epoch) for summary in read_eval_log_sample_summaries(path)]
        for start in range(0, len(keys), at_once):
            some = read_eval_log_samples_by_id(path, keys[start : start + at_once], exclude_fields=NOT_READ)
            yield from ((model, sample) for sample in some)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"not a log of Inspect's ({type(error).__name__})", where=path) from error


def write_eval_log(run: Path, out: Path, images: bool = True, root: str | Path | None = None) -> int:
    """Write a run folder as a log: one sample a response, with the verdicts as scores and the scores as metrics.

    Only verdicts by the judges' present versions on the present responses count, as in `scores.json`. Pictures are
    taken from the benchmark (from `root`, if it was moved), encoded as ENCODING says; `images=False` leaves them out.
    The log is a success when no call is missing; failed ones stand in it with their error.

    Gives the number of samples. Raises InputError, with nothing written, when the folder holds no responses or what no
    log can say, or when its benchmark cannot be opened or lacks a picture.
    """
    needs_inspect()
    if not out.parent.is_dir():
        raise InputError("no such folder", where=out.parent)
    from inspect_ai.log import EvalLog
    from inspect_ai.log import write_eval_log as write
    from pydantic import ValidationError

    read = read_run(run)
    manifest, samples, responses = read.manifest, read.samples, read.responses
    repeats = manifest.get("repeats", 1)
    place = {identity: at for at, identity in enumerate(samples)}
    known = [one for one in responses.values() if one.sample_id in samples and one.repeat < repeats]
    known.sort(key=lambda one: (one.repeat, place[one.sample_id]))
    calls, wanted = [(samples[one.sample_id], one) for one in known], repeats * len(samples)
    if not calls:
        raise InputError("the run has no responses yet", where=run)
    verdicts = read.judged
    picture = _encoder(manifest.get("benchmark"), run / "manifest.json", root) if images else None
    try:
        log = EvalLog(
            status="success" if len(calls) == wanted else "cancelled",
            eval=_spec(manifest, list(samples.values()), images),
            results=_results(read, wanted),
            stats=_stats(manifest, calls),
            samples=[_sample(sample, response, verdicts, manifest, picture) for sample, response in calls],
        )
    except ValidationError as error:
        fault = error.errors()[0]
        problem = f"cannot be said in a log of Inspect's ({fault['msg']})"
        raise InputError(problem, where=run, field=".".join(map(str, fault["loc"]))) from None
    with whole_file(out) as unfinished:
        write(log, unfinished, format="eval")
    return len(calls)


def _encoder(benchmark: Any, where: Path, root: str | Path | None) -> Callable[[str], str]:
    """From the name of a picture to its data URL; each is encoded once, and all samples that show it share it."""
    from ..benchmarks import open_recorded

    opened = open_recorded(benchmark, where, root)
    return cache(lambda name: ENCODING.encoded(opened.picture(name)).url().decode())


def _sample(
    sample: Sample,
    response: Response,
    verdicts: Verdicts,
    manifest: Mapping[str, Any],
    picture: Callable[[str], str] | None,
) -> EvalSample:
    from inspect_ai.log import EvalError, EvalSample
    from inspect_ai.model import (
        ChatMessage,
        ChatMessageAssistant,
        ChatMessageSystem,
        ChatMessageUser,
        Content,
        ContentImage,
        ContentText,
    )

    output = output_of(response)

    def content(text: str, names: Sequence[str]) -> list[Content]:
        return [*(ContentImage(image=picture(name)) for name in names if picture), ContentText(text=text)]

    kinds = {"user": ChatMessageUser, "assistant": ChatMessageAssistant}
    asked: list[ChatMessage] = [kinds[turn.role](content=content(turn.text, turn.images)) for turn in sample.turns]
    asked.append(ChatMessageUser(content=content(sample.query, sample.images)))
    if system := manifest.get("settings", {}).get("system"):
        asked = [ChatMessageSystem(content=system), *asked]
    failed = None if response.usable else EvalError(message=response.error or "", traceback="", traceback_ansi="")
    return EvalSample(
        id=sample.id,
        epoch=response.repeat + 1,
        input=asked,
        target=sample.expected,
        messages=[*asked, *([] if output.empty else [output.message])],
        output=output,
        scores={
            judge: score_of(on[response.key], sample.expected) for judge, on in verdicts.items() if response.key in on
        },
        metadata=metadata_of(sample),
        model_usage={} if output.usage is None else {response.target: output.usage},
        total_time=response.latency_seconds,
        uuid=digest([manifest.get("created"), response.key]),
        error=failed,
    )


def _spec(manifest: Mapping[str, Any], samples: Sequence[Sample], images: bool) -> EvalSpec:
    from inspect_ai.log import EvalConfig, EvalDataset, EvalSpec
    from inspect_ai.model import GenerateConfig

    benchmark, settings = manifest["benchmark"], manifest.get("settings", {})
    identity = digest([manifest.get("created"), benchmark, manifest["target"]])
    return EvalSpec(
        eval_id=identity,
        run_id=identity,
        task_id=identity,
        created=manifest.get("created", ""),
        task=benchmark["name"],
        dataset=EvalDataset(
            name=benchmark["name"],
            location=benchmark.get("root"),
            samples=len(samples),
            sample_ids=[sample.id for sample in samples],
        ),
        model=manifest["target"]["name"],
        model_generate_config=GenerateConfig(
            max_tokens=settings.get("max_new_tokens"),
            temperature=settings.get("temperature"),
            seed=settings.get("seed"),
        ),
        config=EvalConfig(limit=manifest.get("limit"), epochs=manifest.get("repeats", 1)),
        packages={name: version for name, version in manifest.get("packages", {}).items() if version},
        metadata={"holisafe": dict(manifest), "pictures": ENCODING._asdict() if images else None},
    )


def _stats(manifest: Mapping[str, Any], calls: Calls) -> EvalStats:
    from inspect_ai.log import EvalStats
    from inspect_ai.model import ModelUsage

    used = [usage for _, response in calls if (usage := output_of(response).usage) is not None]
    total = {manifest["target"]["name"]: sum(used, start=ModelUsage())} if used else {}
    return EvalStats(started_at=manifest.get("created", ""), model_usage=total)


def _results(run: Run, wanted: int) -> EvalResults:
    """The numbers of `scores.json`, computed anew: that file may be older than the last verdict."""
    from inspect_ai.log import EvalMetric, EvalResults, EvalScore

    from ..metrics.run_scores import run_scores

    scores = run_scores(run.answers, run.verdicts, run.manifest.get("seed", 0))
    return EvalResults(
        total_samples=wanted,
        completed_samples=int((run.answers["finish"] != "error").sum()),
        scores=[
            EvalScore(
                name=judge,
                scorer=judge,
                scored_samples=len(on),
                unscored_samples=len(run.answers) - len(on),
                metrics={
                    name: EvalMetric(name=name, group="safety", value=value)
                    for name, value in metrics_of(scores, judge).items()
                },
            )
            for judge, on in run.judged.items()
        ],
    )


DEEPEST = 10_000
"""Brackets open at once, as far as counting alone tells. JSON that people write has ten."""

_PIECE = 2**14


def largest_member(archive: Path, most: int) -> int:
    """Bytes of the longest file in a zip archive of JSON, by unpacking all: what it claims is not believed.

    Raises InputError, naming the file in it, when one is longer than `most` bytes or nested too deep; and whatever
    `zipfile` raises.
    """
    longest = 0
    with ZipFile(archive) as opened:
        for member in opened.infolist():
            size = depth = 0
            with opened.open(member) as file:
                while piece := file.read(_PIECE):
                    size += len(piece)
                    depth += piece.count(b"[") + piece.count(b"{") - piece.count(b"]") - piece.count(b"}")
                    if size > most:
                        problem = f"is longer than {most:,} bytes when unpacked (--max-bytes takes more)"
                        raise InputError(problem, where=archive, field=member.filename)
                    if depth > DEEPEST:
                        raise InputError(f"is nested deeper than {DEEPEST:,}", where=archive, field=member.filename)
            longest = max(longest, size)
    return longest
