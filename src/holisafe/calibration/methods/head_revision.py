"""`head-revision`: shift the outputs of the attention heads that tell the classes apart best, while the model answers.

Source: internal activation revision at head level (arXiv 2501.16378), after inference-time intervention (2306.03341).
`activation/revision.py` says what is fitted.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ...registry import calibrations
from ...targets.base import Target
from ..activation.directions import Array
from ..activation.revision import ReviseOptions, Revision, ranked
from ..base import read_options

METHOD = "head-revision"


class HeadOptions(ReviseOptions):
    """`top`: how many heads, by a probe's accuracy, are shifted; all of them where there are fewer."""

    top: Annotated[int, Field(ge=1)] = 16


@calibrations.register(METHOD, summary="shift the outputs of attention heads", needs="a model on this machine")
class HeadRevision(Revision):
    """`head-revision,file=FILE,strength=X[,top=K][,positions=generated|last_prompt|both]`."""

    method, level = METHOD, "head"

    def __init__(self, target: Target, told: dict[str, str]) -> None:
        super().__init__(target, told, read_options(HeadOptions, told, METHOD))

    def choose(self, accuracy: Array, options: HeadOptions) -> list[tuple[int, ...]]:
        return ranked(accuracy)[: options.top]
