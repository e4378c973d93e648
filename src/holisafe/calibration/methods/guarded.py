"""`guarded`: a guard decides, request by request, whether and how strongly another method is applied.

    request ─> guard ─ P(unsafe) below the threshold ─> the target as it is
                     └ above it ─────────────────────> the target with the method, in `steps` strengths

Benign requests stay untouched but for the share of false alarms that was allowed, so the method's price in over-safety
and utility is paid on that share alone. A guard of images cannot see what is harmful in the text or the combination
only: a pair head can (docs/guard.md). This conditioning is HoliSafe's own; the papers ask for such a way.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from ...errors import InputError
from ...metrics.conformal import needed, upper_quantile
from ...metrics.guard_temperature import fit_temperature
from ...records import GenerationSettings, Request, Response
from ...registry import calibrations
from ...targets import open_target
from ...targets.base import Target, keeping
from ..base import Calibrated, FitData, Options, local_model, read_options, stream, windows
from ..learned import Learned, load_learned

if TYPE_CHECKING:
    from ...targets.huggingface import HuggingFaceTarget

METHOD = "guarded"
WINDOW = 64
"""Requests that the guard reads before the first of them is answered."""


class GuardedOptions(Options):
    """`guard` is the file that `fit` wrote, `reader` the model it was fitted with where that is not the target: the
    file tells which, but a file does not decide what is opened. `apply` is the method to condition; options not named
    here are its own.
    `alarms`: the share of safe pairs that may be touched. `steps`: in how many equal steps from the threshold to
    certainty the method's strength grows; 1: full strength at once."""

    guard: str
    apply: str
    reader: str | None = None
    alarms: Annotated[float, Field(gt=0, lt=1)] = 0.05
    steps: Annotated[int, Field(ge=1, le=8)] = 1


class FitOptions(Options):
    """`reader`: a guarded model to read with, as a target's spec; without it the target's own guard."""

    reader: str | None = None


@calibrations.register(METHOD, summary="another method, only where a guard sees harm", needs="a guarded model to read")
class Guarded(Calibrated):
    """A target that reads every request with a guard first. Holds the target as it is, and with the method in each
    strength; `_limits` are the log-odds from which each is used."""

    file_option = "guard"
    told_again = ("reader",)

    def __init__(self, target: Target, told: dict[str, str]) -> None:
        own = {name: value for name, value in told.items() if name in GuardedOptions.model_fields}
        rest = {name: value for name, value in told.items() if name not in own}
        options = read_options(GuardedOptions, own, METHOD)
        learned = load_learned(options.guard, METHOD)
        self.temperature = learned.fact("temperature", Annotated[float, Field(gt=0, allow_inf_nan=False)])
        safe = learned.numbers("safe", axes=1)
        threshold = upper_quantile(safe, options.alarms)
        if not math.isfinite(threshold):
            raise InputError(
                f"{len(safe)} safe pairs were read; alarms={options.alarms:g} needs {needed(options.alarms)}",
                where=options.guard,
            )
        fitted_with = learned.fact("reader", str | None)
        if fitted_with is not None and options.reader is None:
            problem = f"was fitted with the reader {fitted_with}, which only you can name: reader={fitted_with}"
            raise InputError(problem, where=options.guard)
        self.guard = _reader(target, options.reader)
        self._limits = list(self._steps(threshold, options.steps))
        self.treated = [self._inner(target, options, rest, step) for step in range(1, options.steps + 1)]
        super().__init__(
            target,
            METHOD,
            {name: value for name, value in told.items() if name != "reader"},  # its content is in the facts
            file=learned.content,
            reader=self.guard.describe()["fingerprint"],
            alarms=options.alarms,
            steps=options.steps,
            applies=[one.describe()["calibration"][-1] for one in self.treated],
        )

    def _steps(self, threshold: float, steps: int) -> Iterable[float]:
        """Log-odds above which each step begins: equally far apart in calibrated probability, the threshold first."""
        lowest = _probability(threshold / self.temperature)
        for step in range(steps):
            p = lowest + (1 - lowest) * step / steps
            yield threshold if step == 0 else self.temperature * (math.log(p) - math.log1p(-p) if p < 1 else math.inf)

    @staticmethod
    def _inner(target: Target, options: GuardedOptions, rest: dict[str, str], step: int) -> Target:
        if options.apply == METHOD:
            raise InputError("guarded cannot condition itself")
        if options.steps > 1:
            if "strength" not in rest:
                raise InputError(f"steps={options.steps} scales a strength: give strength= to {options.apply}")
            rest = {**rest, "strength": repr(float(rest["strength"]) * step / options.steps)}
        treated: Target = calibrations.get(options.apply).load(target, rest)
        return treated

    def keeping(self, folder: Path) -> AbstractContextManager[None]:
        return keeping(self.treated[0], folder)  # each strength is around the same target; only one method has calls

    async def respond(self, requests: AsyncIterable[Request]) -> AsyncIterator[Response]:
        """Read a window of requests, then answer them, the untouched ones first."""
        async for window in windows(requests, WINDOW):
            async for response in self._answer(window):
                yield response

    async def _answer(self, window: Sequence[Request]) -> AsyncIterator[Response]:
        started = perf_counter()
        steps = self.steps(window)
        spent = (perf_counter() - started) / len(window)
        for number, target in enumerate(self.ways):
            chosen = [request for request, step in zip(window, steps, strict=True) if step == number]
            async for response in target.respond(stream(chosen)):
                waited = None if response.latency_seconds is None else round(response.latency_seconds + spent, 4)
                yield replace(response, target=self.name, latency_seconds=waited, calibrated=number > 0)

    @property
    def ways(self) -> list[Target]:
        """Who answers a request of each step: the target as it is, then with the method, ever stronger."""
        return [self.target, *self.treated]

    def steps(self, requests: Sequence[Request]) -> list[int]:
        """What the guard, asked now, calls for: see `step`."""
        return [self.step(odds) for odds in _read(self.guard, requests)]

    def step(self, odds: float | None) -> int:
        """Which strength the log-odds of P(unsafe) call for: 0, untouched, to `steps`.

        What the guard could not read is treated at full strength: nothing is known to be harmless about it.
        """
        return len(self._limits) if odds is None else sum(odds > limit for limit in self._limits)

    @classmethod
    def fit(cls, target: Target, data: FitData, options: dict[str, str]) -> Learned:
        """Read the validation pairs with the guard; keep the scores of safe and unsafe ones, and the temperature.

        Nothing is fitted on the training pairs: the guard may have been trained on them.
        """
        chosen = read_options(FitOptions, options, METHOD)
        reader = _reader(target, chosen.reader)
        read = _read(reader, [data.benchmark.request(sample, GenerationSettings()) for sample in data.validation])
        unsafe = np.array([sample.expected == "refuse" for sample in data.validation])
        known = np.array([odds is not None for odds in read])
        scores = np.array([odds if odds is not None else 0.0 for odds in read])
        if not known.any():
            raise InputError(f"{reader.name} read none of the pairs of {data.benchmark.name}")
        logits = np.stack([np.zeros(known.sum()), scores[known]], axis=1)
        facts: dict[str, Any] = {
            "reader": chosen.reader,
            "temperature": fit_temperature(logits, unsafe[known].astype(int)),
            "unread": int((~known).sum()),
        }
        tensors = {"safe": np.sort(scores[known & ~unsafe]), "unsafe": np.sort(scores[known & unsafe])}
        return Learned(METHOD, tensors, facts)


def _reader(target: Target, spec: str | None) -> HuggingFaceTarget:
    """The guarded model that reads: the one named, or the target itself."""
    found = local_model(open_target(spec, GenerationSettings()) if spec else target, METHOD)
    if found.labels is None:
        raise InputError(f"{found.name} has no guard: tune one with trainable.method=guard, and give reader= to fit")
    return found


def _read(reader: HuggingFaceTarget, requests: Sequence[Request]) -> list[float | None]:
    from ..activation.features import unsafe_log_odds

    return unsafe_log_odds(reader, requests)


def _probability(odds: float) -> float:
    return 1 / (1 + math.exp(-odds)) if odds > -700 else 0.0
