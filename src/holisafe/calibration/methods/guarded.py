"""`guarded`: a guard decides, request by request, whether and how strongly another method is applied.

    request ─> guard ─ P(unsafe) below the threshold ─> the target as it is
                     └ above it ─────────────────────> the target with the method, in `steps` strengths

Benign requests stay untouched but for the share of false alarms that was allowed, so the method's price in over-safety
and utility is paid on that share alone. A guard of images cannot see what is harmful in the text or the combination
only: a pair head can (docs/guard.md). This conditioning is HoliSafe's own; the papers ask for such a way.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from ...errors import InputError
from ...metrics.conformal import needed, upper_quantile
from ...metrics.guard_temperature import fit_temperature
from ...records import GenerationSettings, Request, Response
from ...registry import calibrations
from ...targets.base import Target, error_response, keeping
from ..base import Calibrated, FitData, Options, read_options, stream, windows
from ..harm_readers import Harm, harm_reader, own_options
from ..learned import Learned, load_learned

METHOD = "guarded"
WINDOW = 64
"""Requests that the guard reads before the first of them is answered."""


class GuardedOptions(Options):
    """`guard` is the file that `fit` wrote, `reader` the model it was fitted with where that is not the target: the
    file tells which, but a file does not decide what is opened. reader.NAME=VALUE are the reader's options. `apply` is
    the method to condition; options not named here are its own.
    `alarms`: the share of safe pairs that may be touched. `steps`: in how many equal steps from the threshold to
    certainty the method's strength grows; 1: full strength at once."""

    guard: str
    apply: str
    reader: str | None = None
    alarms: Annotated[float, Field(gt=0, lt=1)] = 0.05
    steps: Annotated[int, Field(ge=1, le=8)] = 1


class FitOptions(Options):
    """`reader`: a guarded model to read with, as a target's spec, or a guard that gives scores; without it the target's
    own guard."""

    reader: str | None = None


@calibrations.register(METHOD, summary="another method, only where a guard sees harm", needs="a guarded model to read")
class Guarded(Calibrated):
    """A target that reads every request with a guard first. Holds the target as it is, and with the method in each
    strength; `_limits` are the log-odds from which each is used."""

    file_option = "guard"
    told_again = ("reader",)

    def __init__(self, target: Target, told: dict[str, str]) -> None:
        given, of_reader = own_options(told)
        own = {name: value for name, value in given.items() if name in GuardedOptions.model_fields}
        rest = {name: value for name, value in given.items() if name not in own}
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
        self.guard = harm_reader(target, options.reader, of_reader, METHOD)
        self._limits = list(self._steps(threshold, options.steps))
        self.treated = [self._inner(target, options, rest, step) for step in range(1, options.steps + 1)]
        super().__init__(
            target,
            METHOD,
            {name: value for name, value in given.items() if name != "reader"},  # its content is in the facts
            file=learned.content,
            reader=self.guard.fingerprint,
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

    @contextmanager
    def keeping(self, folder: Path) -> Iterator[None]:
        with ExitStack() as kept:
            kept.enter_context(keeping(self.guard, folder))
            kept.enter_context(keeping(self.treated[0], folder))  # each strength is around the same target
            yield

    async def respond(self, requests: AsyncIterable[Request]) -> AsyncIterator[Response]:
        """Read a window of requests, then answer them, the untouched ones first."""
        async for window in windows(requests, WINDOW):
            async for response in self._answer(window):
                yield response

    async def _answer(self, window: Sequence[Request]) -> AsyncIterator[Response]:
        started = perf_counter()
        harms = {(one.sample_id, one.repeat): harm for one, harm in zip(window, self.guard.read(window), strict=True)}
        spent = (perf_counter() - started) / len(window)
        ways: list[list[Request]] = [[] for _ in self.ways]
        for request in window:
            harm = harms[request.sample_id, request.repeat]
            if harm.failed is not None:
                yield error_response(request, self.name, f"the guard: {harm.failed}")
            else:
                ways[self.step(harm.odds)].append(request)
        for number, (target, chosen) in enumerate(zip(self.ways, ways, strict=True)):
            async for response in target.respond(stream(chosen)):
                waited = None if response.latency_seconds is None else round(response.latency_seconds + spent, 4)
                harm = harms[response.key]
                yield replace(
                    _with_cost(response, harm), target=self.name, latency_seconds=waited, calibrated=number > 0
                )

    @property
    def ways(self) -> list[Target]:
        """Who answers a request of each step: the target as it is, then with the method, ever stronger."""
        return [self.target, *self.treated]

    def steps(self, requests: Sequence[Request]) -> list[int]:
        """What the guard, asked now, calls for: see `step`. One whose call failed is treated as what it cannot read."""
        return [self.step(harm.odds) for harm in self.guard.read(requests)]

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
        given, of_reader = own_options(options)
        chosen = read_options(FitOptions, given, METHOD)
        reader = harm_reader(target, chosen.reader, of_reader, METHOD)
        read = reader.read([data.benchmark.request(sample, GenerationSettings()) for sample in data.validation])
        failed = [harm.failed for harm in read if harm.failed is not None]
        unsafe = np.array([sample.expected == "refuse" for sample in data.validation])
        known = np.array([harm.odds is not None for harm in read])
        scores = np.array([0.0 if harm.odds is None else harm.odds for harm in read])
        if not known.any():
            why = f": {failed[0]}" if failed else ""
            raise InputError(f"{reader.name} read none of the pairs of {data.benchmark.name}{why}")
        logits = np.stack([np.zeros(known.sum()), scores[known]], axis=1)
        facts: dict[str, Any] = {
            "reader": chosen.reader,
            "temperature": fit_temperature(logits, unsafe[known].astype(int)),
            "unread": int((~known).sum()),
            "failed_calls": len(failed),
        }
        tensors = {"safe": np.sort(scores[known & ~unsafe]), "unsafe": np.sort(scores[known & unsafe])}
        return Learned(METHOD, tensors, facts)


def _with_cost(response: Response, harm: Harm) -> Response:
    """With what reading it cost."""
    usage = {name: response.usage.get(name, 0) + harm.usage.get(name, 0) for name in {**response.usage, **harm.usage}}
    costs = [cost for cost in (response.cost, harm.cost) if cost is not None]
    return replace(response, usage=usage, cost=math.fsum(costs) if costs else None)


def _probability(odds: float) -> float:
    return 1 / (1 + math.exp(-odds)) if odds > -700 else 0.0
