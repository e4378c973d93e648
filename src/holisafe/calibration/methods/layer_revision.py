"""`layer-revision`: shift the output of a few decoder layers towards safer activations while the model answers.

Source: internal activation revision at layer level (arXiv 2501.16378). `activation/revision.py` says what is fitted.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ...errors import InputError
from ...registry import calibrations
from ...targets.base import Target
from ..activation.directions import Array
from ..activation.revision import ReviseOptions, Revision, ranked
from ..base import read_options

METHOD = "layer-revision"


class LayerOptions(ReviseOptions):
    """`layers`: numbers from 0, joined by "+". Without them the `top` layers by a probe's accuracy, 1 unless told."""

    layers: str | None = None
    top: Annotated[int, Field(ge=1)] | None = None


@calibrations.register(METHOD, summary="shift the activations of decoder layers", needs="a model on this machine")
class LayerRevision(Revision):
    """`layer-revision,file=FILE,strength=X[,layers=2+3 | top=K][,positions=generated|last_prompt|both]`."""

    method, level = METHOD, "layer"

    def __init__(self, target: Target, told: dict[str, str]) -> None:
        super().__init__(target, told, read_options(LayerOptions, told, METHOD))

    def choose(self, accuracy: Array, options: LayerOptions) -> list[tuple[int, ...]]:
        if options.layers is None:
            return ranked(accuracy)[: options.top or 1]
        if options.top is not None:
            raise InputError(f"{METHOD} takes layers= or top=, not both")
        named = options.layers.split("+")
        if not all(name.isdecimal() and int(name) < len(accuracy) for name in named):
            raise InputError(f"layers={options.layers} is not numbers from 0 to {len(accuracy) - 1} joined by '+'")
        return sorted({(int(name),) for name in named})
