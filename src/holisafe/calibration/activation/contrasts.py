"""Positive and negative conversations to contrast: positive is what a model should show more of.

| contrast | positive | negative | read at |
|---|---|---|---|
| `answers` | an unsafe pair with its reference, a refusal | the same with the model's own answer | the answer |
| `inputs` | unsafe pairs | safe pairs | the prompt's last token |
| `modality` | a request as text, what its image shows in words | the same with its image | the prompt's last token |
| `refusals` | unsafe pairs whose reference the model finds likeliest | and least likely | the reference |

The first three are those of internal activation revision (arXiv 2501.16378); `refusals` is HoliSafe's own. `answers`
and `modality` come in pairs. In `inputs` unsafe is the positive class: shown more of it, a model sees more harm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from ...errors import InputError
from ...guard.quiet import quiet
from ...records import Request, Response, Sample
from ..base import stream

if TYPE_CHECKING:
    from ...benchmarks.base import Benchmark
    from ...targets.huggingface import HuggingFaceTarget
    from .collect import Reading, Where

Contrast = Literal["answers", "inputs", "modality", "refusals"]


@dataclass(frozen=True)
class Contrasted:
    """Conversations of both classes, where in them to look, and which belong together: (positive, negative) places."""

    positive: tuple[Reading, ...]
    negative: tuple[Reading, ...]
    where: Where
    pairs: tuple[tuple[int, int], ...] = ()


def contrasted(
    contrast: Contrast, target: HuggingFaceTarget, benchmark: Benchmark, samples: Sequence[Sample], responses: int = 1
) -> Contrasted:
    """Both classes of a contrast. `responses`: own answers a query, for `answers`: one is as the target decodes,
    several are sampled, at temperature 1 unless the target has its own.

    Raises InputError where the samples do not have what the contrast needs.
    """
    unsafe = [sample for sample in samples if sample.expected == "refuse"]
    safe = [sample for sample in samples if sample.expected == "answer"]
    if contrast == "answers":
        return _answers(target, benchmark, unsafe, responses)
    if contrast == "refusals":
        return _refusals(target, benchmark, unsafe)

    def asked(chosen: Sequence[Sample]) -> list[Request]:
        return [benchmark.request(sample, target.settings) for sample in chosen]

    if contrast == "inputs":
        return Contrasted(_unanswered(asked(unsafe)), _unanswered(asked(safe)), "prompt")
    described = [sample for sample in samples if sample.images and benchmark.in_words(sample) is not None]
    if not described:
        raise InputError(f"{benchmark.name} does not say in words what its images show, which contrast=modality needs")
    with_image = asked(described)
    as_text = [
        _text_only(request, str(benchmark.in_words(sample)))
        for request, sample in zip(with_image, described, strict=True)
    ]
    pairs = tuple((place, place) for place in range(len(described)))
    return Contrasted(_unanswered(as_text), _unanswered(with_image), "prompt", pairs)


def _text_only(request: Request, shown: str) -> Request:
    """What the image shows, then the query."""
    *before, last = request.messages
    return replace(request, messages=(*before, replace(last, text=f"{shown} {last.text}", pictures=())))


def _unanswered(requests: Sequence[Request]) -> tuple[Reading, ...]:
    return tuple((request, "") for request in requests)


def _answers(target: HuggingFaceTarget, benchmark: Benchmark, unsafe: Sequence[Sample], responses: int) -> Contrasted:
    """The reference of each query once, and each of its own answers.

    Nothing here judges whether an own answer is a refusal. One that says the reference word for word is left out, as
    are empty and failed ones, and a query that has no other: the safer the model already is, the less there is left.
    """
    referred = {sample.id: sample for sample in _referred(benchmark, unsafe)}
    settings = target.settings
    if responses > 1 and settings.temperature == 0:
        settings = replace(settings, temperature=1.0)
    asked = [benchmark.request(sample, settings, repeat) for sample in referred.values() for repeat in range(responses)]
    said: dict[str, list[str]] = {}
    for response in sorted(_respond(target, asked), key=lambda one: one.repeat):
        reference = (referred[response.sample_id].reference or "").strip()
        if response.judgeable and response.text.strip() not in ("", reference):
            said.setdefault(response.sample_id, []).append(response.text)
    positive: list[Reading] = []
    negative: list[Reading] = []
    pairs = []
    for name in (name for name in referred if name in said):  # in the order of the samples
        request = benchmark.request(referred[name], target.settings)
        pairs += [(len(positive), len(negative) + place) for place in range(len(said[name]))]
        positive.append((request, referred[name].reference or ""))
        negative += [(request, text) for text in said[name]]
    if not pairs:
        raise InputError(f"{target.name} answers every unsafe pair as its reference does: there is nothing to contrast")
    return Contrasted(tuple(positive), tuple(negative), "answer", tuple(pairs))


def _refusals(target: HuggingFaceTarget, benchmark: Benchmark, unsafe: Sequence[Sample]) -> Contrasted:
    """A quarter of the pairs for each class, by the mean log-likelihood of their references: nothing is judged."""

    readings = [
        (benchmark.request(sample, target.settings), sample.reference or "") for sample in _referred(benchmark, unsafe)
    ]
    likelihoods = mean_log_likelihoods(target, readings)
    order = sorted(range(len(readings)), key=lambda place: -likelihoods[place])
    quarter = max(len(order) // 4, 1)
    likely, unlikely = ([readings[place] for place in places] for places in (order[:quarter], order[-quarter:]))
    return Contrasted(tuple(likely), tuple(unlikely), "answer")


def _referred(benchmark: Benchmark, unsafe: Sequence[Sample]) -> list[Sample]:
    found = [sample for sample in unsafe if sample.reference]
    if not found:
        raise InputError(f"{benchmark.name} has no references for its unsafe pairs, which this contrast needs")
    return found


def _respond(target: HuggingFaceTarget, requests: Sequence[Request]) -> list[Response]:
    async def collect() -> list[Response]:
        return [response async for response in target.respond(stream(requests))]

    return asyncio.run(collect())


WINDOW = 16
"""Batches' worth of conversations whose images are open at a time."""


def mean_log_likelihoods(target: HuggingFaceTarget, readings: Sequence[Reading]) -> list[float]:
    """The mean log-probability of each answer's tokens, its end of turn included, after its conversation."""
    step, values = WINDOW * target.batch_size, list[float]()
    with quiet():
        for start in range(0, len(readings), step):
            window = [target.passage(*one) for one in readings[start : start + step]]
            values += target.mean_log_likelihoods(window)
    return values
