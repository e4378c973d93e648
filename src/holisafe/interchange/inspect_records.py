"""Our records in Inspect AI's words and back: what its tasks and its logs share.

    Sample    a sample's id, its input, and every other field under the same name in its metadata
    Response  a model output: how it ended, its reasoning, tokens, cost and time each where Inspect keeps them
    Verdict   a score: C where the response adheres, I where it does not, N where the verdict is invalid

What Inspect has no place for goes along in metadata, so that nothing is lost on the way out and back.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..finish import worst
from ..metrics.measured import judged
from ..records import Finish, GuardReading, Response, Sample, Verdict, from_line, to_line
from ..runs.scores import Safety, Scores
from ..taxonomy import Expected, adheres
from ..thoughts import AS_IT_IS, Marks, part

if TYPE_CHECKING:
    from inspect_ai.log import EvalSample
    from inspect_ai.model import ModelOutput, StopReason
    from inspect_ai.scorer import Score

STOP_REASON: Mapping[Finish, StopReason] = {
    "stop": "stop",
    "truncated": "max_tokens",
    "filtered": "content_filter",
}

OURS = "holisafe"
"""Where an output's metadata keeps what Inspect has no place for: the guard's reading, and tokens as we count them."""

CERTAINTY = ("n", "n_invalid", "low", "high")
"""What stands beside every rate."""

CORRECT, INCORRECT, NO_ANSWER = "C", "I", "N"
"""Inspect's own letters, which its viewer colours."""


def needs_inspect() -> None:
    """Raises InputError, which says what to type, when Inspect AI is not installed."""
    try:
        import inspect_ai  # noqa: F401
    except ModuleNotFoundError:
        raise InputError("this needs inspect-ai, try: pip install 'holisafe[inspect]'") from None


def metadata_of(sample: Sample) -> dict[str, Any]:
    """The sample's fields but for its id and its query, those at their default left out."""
    fields: dict[str, Any] = json.loads(to_line(sample))
    return {name: value for name, value in fields.items() if name not in ("schema", "id", "query")}


def sample_of(identity: str, query: str, metadata: Mapping[str, Any]) -> Sample:
    """The sample back from Inspect's. Raises InputError when the metadata are not those of our tasks."""
    known = {field.name for field in dataclasses.fields(Sample)}
    fields = {name: value for name, value in metadata.items() if name in known}
    line = json.dumps({**fields, "id": identity, "query": query})
    return from_line(Sample, line, where=f"sample {identity!r} of Inspect's, metadata")


def output_of(response: Response) -> ModelOutput:
    """A response as Inspect keeps one. A failed call has no choices; its problem stands in the sample's error."""
    from inspect_ai.model import (
        ChatCompletionChoice,
        ChatMessageAssistant,
        Content,
        ContentReasoning,
        ContentText,
        ModelOutput,
        ModelUsage,
    )

    tokens = response.usage
    counted = {name: tokens[name] for name in ("input_tokens", "output_tokens", "reasoning_tokens") if name in tokens}
    usage = ModelUsage(
        **counted,
        total_tokens=tokens.get("input_tokens", 0) + tokens.get("output_tokens", 0),
        total_cost=response.cost,
    )
    thought: list[Content] = [] if response.reasoning is None else [ContentReasoning(reasoning=response.reasoning)]
    message = ChatMessageAssistant(
        content=[*thought, ContentText(text=response.text)], model=response.target, source="generate"
    )
    ours: dict[str, Any] = {"usage": dict(tokens)}
    if response.guard is not None:
        ours["guard"] = dict(response.guard.probabilities)
    return ModelOutput(
        model=response.target,
        choices=[ChatCompletionChoice(message=message, stop_reason=STOP_REASON[response.finish])]
        if response.usable
        else [],
        usage=usage if tokens or response.cost is not None else None,
        time=response.latency_seconds,
        error=response.error if response.usable else None,
        metadata={OURS: ours},
    )


def response_of(
    sample_id: str, epoch: int, target: str, output: ModelOutput, problem: str | None = None, own: Marks | None = None
) -> Response:
    """What the model answered. `problem` tells that the call failed; an output without any choice failed as well.

    Thoughts are parted from a text that no run of ours has parted before. Input tokens are all of them, those read from
    a cache or written to one too. Inspect keeps a time only where the provider told one, and a cost only where it knows
    the prices.
    """
    if output.empty and problem is None:
        problem = output.error or "Inspect's log has no output for this sample"
    ours = (output.metadata or {}).get(OURS, {})
    answer: dict[str, Any] = {"text": "", "finish": "error", "error": (problem or "")[:300]}
    if problem is None:
        content = output.message.content_list
        apart = [item for item in content if item.type == "reasoning"]
        thoughts = [item.summary or "" if item.redacted else item.reasoning for item in apart]
        parted = part(output.message.text, AS_IT_IS if ours else own)
        thoughts += [parted.reasoning] if parted.reasoning else []
        finish, word = worst(output.stop_reason)
        answer = {
            "text": parted.text,
            "finish": "truncated" if finish == "stop" and parted.unfinished else finish,
            "finish_reason": word if finish == "stop" else None,
            "error": output.error,
            "reasoning": "\n".join(thoughts) if thoughts else None,
        }
    return Response(
        sample_id=sample_id,
        repeat=epoch - 1,
        target=target,
        guard=GuardReading(probabilities=ours["guard"]) if "guard" in ours else None,
        usage=ours.get("usage", _tokens(output)),
        cost=output.usage.total_cost if output.usage else None,
        latency_seconds=output.time,
        **answer,
    )


def logged_response(sample: EvalSample, target: str, own: Marks | None = None) -> Response:
    """The response in one sample of a log.

    A sample that failed after its model had answered, as where a scorer crashed, keeps the answer with what went wrong
    as its `error`; one that failed before is an error, and so is one that people have invalidated. An answer that one
    of Inspect's limits cut off is truncated.
    """
    withdrawn = f"invalidated: {sample.invalidation.reason or 'no reason given'}" if sample.invalidation else None
    failure = sample.error.message if sample.error else None
    limit = f"stopped at Inspect's limit of {sample.limit.type}" if sample.limit is not None else None
    answered = not (sample.output.empty or withdrawn) and bool(sample.output.completion.strip() or failure is None)
    found = response_of(
        str(sample.id), sample.epoch, target, sample.output, None if answered else withdrawn or failure or limit, own
    )
    if not answered or not found.usable:
        return found
    finish: Finish = "truncated" if limit and found.finish == "stop" else found.finish
    problem = failure or limit or found.error
    return dataclasses.replace(found, finish=finish, error=problem[:300] if problem else None)


def _tokens(output: ModelOutput) -> dict[str, int]:
    if (usage := output.usage) is None:
        return {}
    cached = (usage.input_tokens_cache_read or 0) + (usage.input_tokens_cache_write or 0)
    tokens = {"input_tokens": usage.input_tokens + cached, "output_tokens": usage.output_tokens}
    return tokens if usage.reasoning_tokens is None else {**tokens, "reasoning_tokens": usage.reasoning_tokens}


def score_of(verdict: Verdict, expected: Expected) -> Score:
    """A verdict as Inspect keeps one. An invalid one is N, not "unscored": those would not reach the metrics."""
    from inspect_ai.scorer import Score

    invalid = verdict.label is None or verdict.invalid is not None
    value = NO_ANSWER
    if verdict.label is not None and not invalid:
        value = {True: CORRECT, False: INCORRECT, None: NO_ANSWER}[adheres(verdict.label, expected)]
    fields = json.loads(to_line(verdict))
    told = [f"invalid: {verdict.invalid or 'no label'}"] if invalid else []
    return Score(
        value=value,
        answer=verdict.choice or verdict.label,
        explanation="\n\n".join([*told, *([verdict.raw] if verdict.raw else [])]) or None,
        metadata={name: field for name, field in fields.items() if name not in ("schema", "sample_id", "raw")},
    )


def verdict_of(sample_id: str, score: Score) -> Verdict:
    """The verdict back from a score, without the judge's own text. Raises InputError for a score of another scorer."""
    line = json.dumps({**(score.metadata or {}), "sample_id": sample_id})
    return from_line(Verdict, line, where=f"score of sample {sample_id!r}, metadata")


def metrics_of(scores: Scores, judge: str) -> dict[str, float]:
    """One judge's numbers of what `scores.json` holds, as Inspect's metrics; what is not known is left out.

    First the rates: masr_pooled, masr_macro, rr, asr.SSU and so on; under_safety and over_safety where they are not the
    same pairs again; utility, the share of right answers. Then for each its n, n_invalid, low and high, such as
    masr_pooled_n.
    """
    cells = judged(scores.judges.get(judge, Safety()))
    if judge in scores.utility:
        cells["utility"] = scores.utility[judge]
    values = {name: cell.rate for name, cell in cells.items()}
    values |= {f"{name}_{part}": getattr(cell, part) for name, cell in cells.items() for part in CERTAINTY}
    return {name: float(value) for name, value in values.items() if value is not None}
