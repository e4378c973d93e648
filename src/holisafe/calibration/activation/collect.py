"""Activations of a model at chosen positions: one vector a layer or a head for every conversation.

Each batch is one forward; a hook reduces what its module shows to one vector a conversation at once, so that what is
held is [N, layers, ...] and never the states of all positions of all layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ...errors import InputError
from ...guard.quiet import quiet
from ...records import Request
from .structure import heads, structure

if TYPE_CHECKING:
    from ...targets.huggingface import HuggingFaceTarget
    from ...targets.huggingface_inside import Passage, Prefill

Reading = tuple[Request, str]
"""A conversation and the answer it is read with; "" for none."""

Level = Literal["layer", "head"]
Where = Literal["answer", "prompt"]
"""The mean over the answer's tokens, end of turn included; or the last token of the prompt."""

WINDOW = 16
"""Batches' worth of conversations whose images are open at a time."""


def activations(target: HuggingFaceTarget, readings: Sequence[Reading], level: Level, where: Where) -> np.ndarray:
    """Layers' outputs [N, layers, H], or heads' outputs [N, layers, heads, head_dim], in float32.

    Raises InputError where the model has no such parts, an answer has no tokens, or an image cannot be opened.
    """
    shape: tuple[int, ...]
    if level == "layer":
        sites, shape = structure(target.inner).layers, (structure(target.inner).width,)
    else:
        found = heads(target.inner)
        sites, shape = found.projections, (found.number, found.size)
    rows: list[np.ndarray] = []
    with quiet():
        for start in range(0, len(readings), WINDOW * target.batch_size):
            window = readings[start : start + WINDOW * target.batch_size]
            rows.append(_window(target, [target.passage(*one) for one in window], sites, level, where))
    return np.concatenate(rows).reshape(len(readings), len(sites), *shape)


def _window(
    target: HuggingFaceTarget, passages: Sequence[Passage], sites: Sequence[nn.Module], level: Level, where: Where
) -> np.ndarray:
    """[passages, sites, width], each in its place."""

    def read(prefill: Prefill) -> np.ndarray:
        spans = prefill.spans if where == "answer" else [(first - 1, first) for first, _ in prefill.spans]
        if any(first >= last for first, last in spans):
            raise InputError("an answer without a token has no activations")
        with _reduced(sites, spans, level) as kept:
            target.forward(prefill)
        return torch.stack(kept, dim=1).float().cpu().numpy()

    return np.stack(target.each(passages, read))


@contextmanager
def _reduced(sites: Sequence[nn.Module], spans: Sequence[tuple[int, int]], level: Level) -> Iterator[list[Tensor]]:
    """Within it, one forward leaves each site's mean over every row's span: sites times [B, width]."""
    kept: list[Tensor] = [torch.empty(0)] * len(sites)

    def keep(place: int, states: Tensor) -> None:
        kept[place] = torch.stack(
            [row[first:last].float().mean(dim=0) for row, (first, last) in zip(states, spans, strict=True)]
        )

    def hook(site: nn.Module, place: int) -> Any:
        if level == "layer":
            return site.register_forward_hook(lambda _, __, output: keep(place, first_tensor(output)))
        return site.register_forward_pre_hook(lambda _, given: keep(place, given[0]))

    with ExitStack() as hooks:
        for place, site in enumerate(sites):
            hooks.enter_context(hook(site, place))
        yield kept


def first_tensor(output: Any) -> Tensor:
    """A layer's hidden states, which some families give first in a tuple."""
    states: Tensor = output if isinstance(output, Tensor) else output[0]
    return states
