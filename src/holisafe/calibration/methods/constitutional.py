"""`constitutional`: widen what a safety principle in the prompt changes about every token of the answer.

    logits as asked + scale (logits with the principle - logits as asked)

Source: CoCA (arXiv 2409.11365). `decoding/contrast.py` says how both are decoded; the principles are the reminders.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Annotated

from pydantic import Field

from ...errors import InputError
from ...records import Request
from ...registry import calibrations
from ...targets.base import Target
from ..base import Calibrated, local_model, read_options
from .reminder import ReminderOptions, reminded, wording

METHOD = "constitutional"


class ConstitutionalOptions(ReminderOptions):
    """The principle as a reminder's `wording` and `placement`. `scale`: 0 changes nothing, 1 is the reminder itself."""

    scale: Annotated[float, Field(allow_inf_nan=False)] = 2.0


@calibrations.register(METHOD, summary="widen what a safety principle changes", needs="a model here")
class Constitutional(Calibrated):
    """A target whose answers are decoded beside the same request with the principle in it, twice the work. What its
    guard reads, and what `usage` counts, is the request as asked. Nothing is known of its likelihoods."""

    def __init__(self, target: Target, told: dict[str, str]) -> None:
        options = read_options(ConstitutionalOptions, told, METHOD)
        self.model, self.scale = local_model(target, METHOD), options.scale
        self.principle, self.placement = wording(options.wording), options.placement
        inner: Target = target
        while isinstance(inner, Calibrated):
            if isinstance(inner, Constitutional):
                raise InputError(f"calibration {METHOD} may be given once")
            inner = inner.target
        super().__init__(target, METHOD, told, placement=self.placement, text=self.principle, scale=self.scale)
        self.capabilities = replace(self.capabilities, likelihoods=False)

    def asking(self) -> AbstractContextManager[None]:
        from ..decoding.contrast import contrasted

        return contrasted(self.model, self._reworded, self.scale) if self.scale else nullcontext()

    def _reworded(self, request: Request) -> Request:
        return replace(request, messages=reminded(request.messages, self.principle, self.placement))
