"""`reasoning,to=off|on|N`: lets a model that offers the choice think or not, or for N tokens at most.

The same as `holisafe run --reasoning`, set request by request, so that a sweep can draw what thinking costs and wins.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...errors import InputError
from ...records import GenerationSettings, Request
from ...registry import calibrations
from ...targets.base import Target, innermost
from ...thoughts import reasoning_settings
from ..base import Calibrated, Options, read_options


class ReasoningOptions(Options):
    to: str


@calibrations.register("reasoning", summary="thinking off, on, or for so many tokens, where a model offers it")
class Reasoning(Calibrated):
    """Raises InputError where the target offers no such choice."""

    def __init__(self, target: Target, told: dict[str, str]) -> None:
        self.fields: dict[str, Any] = reasoning_settings(read_options(ReasoningOptions, told, "reasoning").to)
        inner = innermost(target)
        takes = getattr(inner, "takes_reasoning", None)
        if takes is None:
            raise InputError(f"{target.name} offers no choice of reasoning")
        takes(replace(getattr(inner, "settings", GenerationSettings()), **self.fields))
        super().__init__(target, "reasoning", told, **self.fields)

    def edit(self, request: Request) -> Request:
        return replace(request, settings=replace(request.settings, **self.fields))
