"""Before a run: does the picture reach the model? Else every rate is of the text alone, and nobody is told."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any

from ..errors import Notice
from ..guards.base import Guard
from ..guards.image_probe import guard_probes
from ..records import GenerationSettings, Request, Response
from ..stepping import event_loop
from ..targets.base import Target, innermost
from ..targets.image_probe import NAMES, guard_verdict, probes, verdict


def needs_probe(target: Target, images: bool, earlier: Any) -> bool:
    """Whether to ask: of a model behind an API, about pictures, unless it has answered before."""
    told = earlier.get("arrived") if isinstance(earlier, dict) else None
    return images and told is None and hasattr(innermost(target), "options")


def probe(target: Target, settings: GenerationSettings, seed: int = 0) -> dict[str, Any]:
    """Ask, and tell what came of it: {"arrived": true, false or null, "told": in words, "input_tokens": [with,
    without], "usage": tokens of both calls, "usd": their cost or null}.

    The model is asked itself, without attack or calibration. One that cannot be asked shows in the run that follows.
    """
    model: Target = innermost(target)
    word, asked = probes(settings, seed)
    return _found(model, model.name, asked, partial(verdict, word))


def probe_guard(guard: Guard, seed: int = 0) -> dict[str, Any] | None:
    """As `probe`, of a guard behind an API: what it asks first about a harmless picture, with the picture and without.
    None for one on this machine, and one that sends no pictures."""
    asked = guard_probes(guard, seed)
    asking: Any = guard
    return None if asked is None else _found(asking.target, guard.name, asked, guard_verdict)


def _found(
    model: Target,
    name: str,
    asked: Sequence[Request],
    verdict: Callable[[Response | None, Response | None], tuple[bool | None, str]],
) -> dict[str, Any]:
    answers = {one.sample_id: one for one in _answers(model, asked)}
    seen, unseen = (answers.get(one) for one in NAMES)
    arrived, told = verdict(seen, unseen)
    if arrived is False:
        warnings.warn(f"THE PICTURE MADE NO DIFFERENCE to {name}: {told}", Notice, stacklevel=2)
    both = [one for one in (seen, unseen) if one is not None]
    kinds = dict.fromkeys(kind for one in both for kind in one.usage)
    costs = [one.cost for one in both if one.cost is not None]
    return {
        "arrived": arrived,
        "told": told,
        "input_tokens": [None if one is None else one.usage.get("input_tokens") for one in (seen, unseen)],
        "usage": {kind: sum(one.usage.get(kind, 0) for one in both) for kind in kinds},
        "usd": sum(costs) if costs else None,
    }


def remark(found: Any, name: str) -> list[str]:
    """What the scores of a run say of its probe; nothing where the picture arrived."""
    if not isinstance(found, dict) or found.get("arrived") is True:
        return []
    if found.get("arrived") is False:
        return [f"the picture made no difference to {name}: {found.get('told')}; its answers are to the text alone"]
    return [f"whether pictures reach {name} could not be told: {found.get('told')}"]


def cost(found: Any) -> dict[str, Any]:
    """The probe's part of what a run cost, as `scores.json` has it."""
    if not isinstance(found, dict):
        return {}
    usage = found.get("usage") if isinstance(found.get("usage"), dict) else {}
    return {"image probe": {**(usage or {}), "usd": found.get("usd")}} if usage or found.get("usd") else {}


def _answers(model: Target, asked: Sequence[Request]) -> list[Response]:
    found: list[Response] = []

    async def requests() -> AsyncIterator[Request]:
        for request in asked:
            yield request

    async def ask() -> None:
        found.extend([response async for response in model.respond(requests())])

    with event_loop() as finished:
        finished(ask())
    return found
