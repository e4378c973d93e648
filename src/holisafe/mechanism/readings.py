"""What a model holds of a request: activations of its blocks while it begins to answer, what goes into their first
layers at the first token, how its surest token hangs on the prompt, and the tokens that it says.

    prompt  p p p p p   answer  g1 g2 .. gL         padded on the left
    states          ^p          ^1 ^2              the state at p says g1, the one at g1 says g2 ...

`read` takes everything in the passes that answering needs anyway, and the gradient in one more, forward and back.
`read_said` looks at one later place, before a token of an answer that is given; there one such pass is enough.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..guard.families import text_decoder
from ..records import Request
from .blocks import Block, Part

if TYPE_CHECKING:
    from ..targets.huggingface import HuggingFaceTarget
    from ..targets.huggingface_inside import Passage, Prefill

Array = np.ndarray[Any, np.dtype[Any]]


class Reading(NamedTuple):
    """Of one request. A vision tower's or a projector's activations are means over what they saw of the prompt.

    activations  [blocks, F]   what goes into each block's second layer, the mean over the answer's first positions
    inputs       blocks x [H]  what goes into each block's first layers at the first of them
    sensitivity  |d max logit of the first token / d input embeddings|, Frobenius
    answer       the first tokens, as text
    """

    activations: Array
    inputs: tuple[Array, ...]
    sensitivity: float
    answer: str


def read(
    target: HuggingFaceTarget, requests: Sequence[Request], found: Sequence[Block], part: Part, positions: int
) -> list[Reading | None]:
    """A reading of each request; None where one cannot be prepared or read."""

    def one_batch(prefill: Prefill) -> Iterator[Reading]:
        activations, inputs, rows = _answering(target, prefill, found, part, positions)
        for row, value in enumerate(_sensitivities(target, prefill)):
            said = target.processor.tokenizer.decode(rows[row], skip_special_tokens=True).strip()
            yield Reading(activations[row], tuple(one[row] for one in inputs), value, said)

    return target.each_or_none(requests, one_batch)


def _answering(
    target: HuggingFaceTarget, prefill: Prefill, found: Sequence[Block], part: Part, positions: int
) -> tuple[Array, list[Array], list[list[int]]]:
    """Activations [B, blocks, F], inputs blocks x [B, H], and the tokens of each row up to its end."""
    batch = len(prefill.places)
    unread = {"do_safety": False} if target.labels is not None else {}
    with (
        _kept([block.second for block in found], batch, part) as states,
        _kept([block.firsts[0] for block in found], batch, part, first=True) as inputs,
    ):
        sequences = target.model.generate(**prefill.tensors, max_new_tokens=positions, **unread)
    prompt = prefill.tensors["input_ids"]
    said = sequences[:, prompt.shape[1] :] if torch.equal(sequences[:, : prompt.shape[1]], prompt) else sequences
    rows = [_until(row, target.ends) for row in said.tolist()]
    if part == "text":
        lengths = torch.tensor([min(len(row), len(states[0])) for row in rows])
        means = [_mean(torch.stack(steps, dim=1), lengths) for steps in states]
    else:
        means = [steps[0] for steps in states]
    activations = np.stack([one.float().cpu().numpy() for one in means], axis=1)
    return activations, [steps[0].float().cpu().numpy() for steps in inputs], rows


def _mean(states: Tensor, lengths: Tensor) -> Tensor:
    """[B, steps, F], lengths [B] -> the mean over each row's own steps, [B, F]."""
    mask = (torch.arange(states.shape[1]) < lengths[:, None]).to(states.device, states.dtype).unsqueeze(-1)
    return (states * mask).sum(1) / mask.sum(1)


def _until(row: list[int], ends: Sequence[int]) -> list[int]:
    """The tokens up to the first that ends the answer, which belongs to it."""
    return next((row[: place + 1] for place, token in enumerate(row) if token in ends), row)


@contextmanager
def _kept(layers: Sequence[nn.Module], batch: int, part: Part, first: bool = False) -> Iterator[list[list[Tensor]]]:
    """Within it, every forward leaves what goes into each layer, [B, width]: of the text's the last position's, of
    others' the mean over all that belongs to a row. `first`: of the first forward only."""
    kept: list[list[Tensor]] = [[] for _ in layers]

    def keeper(steps: list[Tensor]) -> Any:
        def keep(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            if not (steps and (first or part != "text")):
                states = args[0]
                states = states.reshape(batch, -1, states.shape[-1])
                steps.append((states[:, -1] if part == "text" else states.float().mean(1)).detach())

        return keep

    with ExitStack() as hooks:
        for layer, steps in zip(layers, kept, strict=True):
            handle: Any = layer.register_forward_pre_hook(keeper(steps))
            hooks.callback(handle.remove)
        yield kept


def read_said(
    target: HuggingFaceTarget, passages: Sequence[Passage], at: Sequence[int], found: Sequence[Block]
) -> list[Reading]:
    """What the text part holds where a passage's answer is given up to, and without, its token number `at`: of the one
    state that says this token."""

    def one_batch(prefill: Prefill) -> Iterator[Reading]:
        columns = [first - 1 + at[place] for place, (first, _) in zip(prefill.places, prefill.spans, strict=True)]
        with _whole([one.second for one in found]) as seconds, _whole([one.firsts[0] for one in found]) as firsts:
            sensitivity = _sensitivities(target, prefill, columns)
        for row, column in enumerate(columns):
            there = [[states[row, column].float().cpu().numpy() for states in layers] for layers in (seconds, firsts)]
            yield Reading(np.stack(there[0]), tuple(there[1]), sensitivity[row], "")

    return target.each(passages, one_batch)


@contextmanager
def _whole(layers: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """Within it, one forward leaves what goes into each layer, [B, L, width]."""
    kept: list[Tensor] = []

    def keep(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        kept.append(args[0].detach())

    with ExitStack() as hooks:
        for layer in layers:
            handle: Any = layer.register_forward_pre_hook(keep)
            hooks.callback(handle.remove)
        yield kept


def _sensitivities(target: HuggingFaceTarget, prefill: Prefill, columns: Sequence[int] | None = None) -> list[float]:
    """One number a row: the gradient of its surest next token's logit in its own input embeddings. `columns`: behind
    which token of each row; None: the last, so that the next is the answer's first."""
    held: list[Tensor] = []
    length = prefill.tensors["input_ids"].shape[1]
    columns = [length - 1] * len(prefill.places) if columns is None else columns
    width = length - min(columns)

    def cut(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        held.append(kwargs["inputs_embeds"].detach().clone().requires_grad_())
        return args, {**kwargs, "inputs_embeds": held[0]}

    decoder = text_decoder(target.inner)
    with torch.inference_mode(False), torch.enable_grad():
        handle = decoder.register_forward_pre_hook(cut, with_kwargs=True)
        try:
            own = {name: value.clone() for name, value in prefill.tensors.items()}
            logits = target.forward(replace(prefill, tensors=own), width).logits
        finally:
            handle.remove()
        surest = [row[column - length].float().max() for row, column in zip(logits, columns, strict=True)]
        (gradient,) = torch.autograd.grad(torch.stack(surest).sum(), held)
    mask = prefill.tensors["attention_mask"].to(gradient.device).unsqueeze(-1)
    return [float(one) for one in (gradient.float() * mask).flatten(1).norm(dim=1)]
