"""What a run would promise in vain is said before anything is paid: a limit on cost without prices, the same question
asked again of a model that never wavers."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from ..errors import InputError, Notice
from ..judges.base import Judge
from ..records import GenerationSettings
from ..targets.base import Target, innermost


def check_prices(max_cost: float | None, parts: Sequence[Target | Judge]) -> None:
    """Raise InputError where a limit on cost could not hold: a model behind an API has no prices."""
    asked: list[Any] = [getattr(innermost(part), "options", None) for part in parts] if max_cost is not None else []
    names = [str(options.model) for options in asked if getattr(options, "input_price", 0) is None]
    if names:
        raise InputError(
            f"--max-cost cannot hold: {', '.join(dict.fromkeys(names))} has no prices; write them behind its name, in "
            "dollars per million tokens, as ,input_price=0.15,output_price=0.60 (0 where it costs nothing)"
        )


def warn_of_repeats(target: Target, settings: GenerationSettings, repeats: int) -> None:
    """Say where repeats are paid for and teach nothing: at temperature 0."""
    own = innermost(target).describe().get("generation") or {}
    if repeats == 1 or target.capabilities.free or own.get("temperature", settings.temperature) != 0:
        return
    local = not hasattr(innermost(target), "options")
    told = "gives the same answers each time" if local else "mostly gives the same answers, each paid for"
    warnings.warn(
        f"--repeats {repeats} at temperature 0: {target.name} {told}; --temperature 0.7 samples", Notice, stacklevel=2
    )
