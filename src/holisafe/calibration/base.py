"""What every calibration method is: a target around another target.

    @calibrations.register("reminder", summary="...")
    def load(target: Target, options: dict[str, str]) -> Target: ...

A method that edits prompts overrides `edit`, one that changes the model while it answers overrides `asking`. A method
that learns from data is registered as a class whose `fit(target, data, options)` gives what to keep in a file.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict

from ..errors import InputError
from ..records import Request, Response, Sample, digest
from ..targets.base import Target, error_response, keeping
from ..taxonomy import BORDERLINE
from ..typed_yaml import validated

if TYPE_CHECKING:
    from ..benchmarks.base import Benchmark
    from ..targets.huggingface import HuggingFaceTarget


class Options(BaseModel):
    """A method's options: an unknown one is an error, and nothing changes once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Read = TypeVar("Read", bound=BaseModel)


class Calibrated:
    """A target that asks `target` in its own way. Responses carry its own name, TARGET+METHOD,OPTION=VALUE."""

    def __init__(self, target: Target, method: str, told: Mapping[str, str], **facts: Any) -> None:
        """`told` are the options as given, for the name; `facts` is JSON that identifies what the method does."""
        by_request = type(self).respond is not Calibrated.respond  # decides anew for each: no one model's likelihood
        self.target = target
        self.capabilities = replace(target.capabilities, likelihoods=target.capabilities.likelihoods and not by_request)
        self.name = "+".join([target.name, ",".join([method, *(f"{key}={value}" for key, value in told.items())])])
        self.facts = {"method": method, **facts}

    def describe(self) -> dict[str, Any]:
        """JSON: the target's own description, and every calibration around it, the innermost first."""
        inner = self.target.describe()
        return {**inner, "calibration": [*inner.get("calibration", ()), self.facts]}

    def edit(self, request: Request) -> Request:
        """The request as the inner target is asked it."""
        return request

    def asking(self) -> AbstractContextManager[None]:
        """In force while the inner target answers; leaves nothing behind."""
        return nullcontext()

    def keeping(self, folder: Path) -> AbstractContextManager[None]:
        """As `targets.base.keeping`: the inner target's calls, and those of the method's own."""
        return keeping(self.target, folder)

    async def respond(self, requests: AsyncIterable[Request]) -> AsyncIterator[Response]:
        failed: list[Response] = []

        async def edited() -> AsyncIterator[Request]:
            async for request in requests:
                try:
                    asked = self.edit(request)
                except InputError as fault:  # of this sample alone
                    failed.append(error_response(request, self.name, str(fault)))
                    continue
                yield asked

        with self.asking():
            async for response in self.target.respond(edited()):
                yield replace(response, target=self.name)
                while failed:
                    yield failed.pop()
        for response in failed:
            yield response

    def log_likelihoods(self, requests: Sequence[Request], texts: Sequence[str]) -> list[float | InputError]:
        """The inner target's, of the requests as it is asked them, where `capabilities.likelihoods` is True."""
        inner: Any = self.target
        with self.asking():
            found: list[float | InputError] = inner.log_likelihoods([self.edit(one) for one in requests], texts)
        return found


async def stream(requests: Iterable[Request]) -> AsyncIterator[Request]:
    """Requests as a target takes them."""
    for request in requests:
        yield request


async def windows(requests: AsyncIterable[Request], size: int) -> AsyncIterator[list[Request]]:
    """So many requests at a time."""
    window: list[Request] = []
    async for request in requests:
        window.append(request)
        if len(window) == size:
            yield window
            window = []
    if window:
        yield window


def read_options(kind: type[Read], told: Mapping[str, str], method: str) -> Read:
    """Options as typed by a pydantic model. Raises InputError naming the first that is unknown or wrong."""
    return validated(kind, told, f"calibration {method}")


def local_model(target: Target, method: str) -> HuggingFaceTarget:
    """The model on this machine inside a target. Raises InputError where there is none, as behind an API."""
    inner: Any = target
    while isinstance(inner, Calibrated):
        inner = inner.target
    if not hasattr(inner, "model"):
        raise InputError(f"{method} changes a model's inside and needs one on this machine (hf/...), not {target.name}")
    found: HuggingFaceTarget = inner
    return found


@dataclass(frozen=True)
class FitData:
    """Labelled pairs to learn from: `train` to fit on, `validation` to choose on (layers, heads), drawn by `seed`."""

    benchmark: Benchmark
    train: tuple[Sample, ...]
    validation: tuple[Sample, ...]
    seed: int = 0

    def facts(self) -> dict[str, Any]:
        """JSON for the learned file: which data, what these pairs hold, and how many of them there are."""
        return {
            "benchmark": self.benchmark.name,
            "content_hash": replace(self.benchmark, samples=(*self.train, *self.validation)).content_hash(),
            "train": len(self.train),
            "validation": len(self.validation),
            "seed": self.seed,
        }


def fit_data(benchmark: Benchmark, *, limit: int | None = None, seed: int = 0) -> FitData:
    """The benchmark's pairs to fit on and to choose on; questions with an answer key and borderline pairs are left out.

    Its own train and validation splits where it has both; else a fifth of the clusters, drawn by `seed`, is kept for
    validation. `limit` is the most pairs to fit on, drawn by `seed` with safe and unsafe ones alike, and a quarter of
    it to choose on. Raises InputError where safe or unsafe pairs are missing.
    """
    pairs = [one for one in benchmark.samples if not one.has_answer_key and one.expected != BORDERLINE]
    splits: dict[str, list[Sample]] = {"train": [], "validation": []}
    if {"train", "validation"} <= {sample.split for sample in pairs}:
        for sample in pairs:
            splits.setdefault(sample.split, []).append(sample)
    else:
        for sample in pairs:
            held_out = int(digest([seed, sample.cluster or sample.id]), 16) % 5 == 0
            splits["validation" if held_out else "train"].append(sample)
    sizes = {"train": limit, "validation": None if limit is None else max(2, limit // 4)}
    drawn = {name: tuple(_balanced(splits[name], size, seed)) for name, size in sizes.items()}
    for name, samples in drawn.items():
        for expected, kind in (("answer", "safe"), ("refuse", "unsafe")):
            if not any(sample.expected == expected for sample in samples):
                raise InputError(f"{benchmark.name} has no {kind} pairs to fit on ({name})")
    return FitData(benchmark, drawn["train"], drawn["validation"], seed)


def _balanced(samples: Sequence[Sample], limit: int | None, seed: int) -> Iterator[Sample]:
    """All, or `limit` of them, half of them safe where there are enough; in the same order for the same seed."""
    order = sorted(samples, key=lambda sample: digest([seed, sample.id]))
    if limit is None:
        yield from order
        return
    safe = [sample for sample in order if sample.expected == "answer"]
    unsafe = [sample for sample in order if sample.expected == "refuse"]
    half = min(len(safe), max(limit // 2, limit - len(unsafe)))
    yield from safe[:half]
    yield from unsafe[: limit - half]
