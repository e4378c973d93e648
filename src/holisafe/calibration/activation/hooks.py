"""Add vectors to a model's activations while it generates, at the prompt's last token, at generated ones, or at both.

    positions      p  p  p  p | g  g  g        p: the prompt, g: what is generated, and read again as input
    last_prompt             x
    generated                   x  x  x
    both                    x   x  x  x

Prompts are padded on the left, so the last prompt token is the same column in every row, with or without beams. Where a
forward stands is counted from the start of `generate`: a cache continues after what was seen, without one the whole
sequence comes again, and a prefill in chunks is many forwards of one prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from torch import Tensor, nn
from transformers import LogitsProcessor, LogitsProcessorList

from .collect import first_tensor

if TYPE_CHECKING:
    from .directions import Array

Positions = Literal["generated", "last_prompt", "both"]


@dataclass(frozen=True)
class Shift:
    """A vector [width] to add to a module's output, or to its first input."""

    module: nn.Module
    vector: Array
    side: Literal["output", "input"]


class Places:
    """Which columns of the decoder's current forward are meant; none outside of `generate`."""

    def __init__(self, positions: Positions) -> None:
        self.positions = positions
        self.prompt: int | None = None
        self.seen = 0
        self.columns = slice(0, 0)

    def start(self, prompt: int | None) -> None:
        """A new `generate` on prompts of so many columns, or the end of one."""
        self.prompt, self.seen, self.columns = prompt, 0, slice(0, 0)

    def advance(self, length: int, cached: bool) -> None:
        """The decoder is about to run on so many columns."""
        if self.prompt is None:
            return
        start = self.seen if cached else 0
        self.seen = start + length
        first = self.prompt - (self.positions != "generated")
        last = self.prompt if self.positions == "last_prompt" else self.seen
        self.columns = slice(max(first - start, 0), max(min(last - start, length), 0))

    def shifted(self, states: Tensor, vector: Tensor) -> Tensor | None:
        """The states [B, S, width] with the vector added at the meant columns; None where there are none."""
        columns = self.columns
        if columns.start >= columns.stop:
            return None
        changed = states.clone()
        changed[:, columns] += vector.to(states.device, states.dtype)
        return changed


@contextmanager
def revised(model: Any, decoder: nn.Module, shifts: Sequence[Shift], positions: Positions) -> Iterator[Places]:
    """Within it, every `generate` of the model is revised; afterwards the model is as it was, whatever happened."""
    places = Places(positions)

    def advance(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        candidates = (kwargs.get("inputs_embeds"), kwargs.get("input_ids"), *args)
        length = next(given.shape[1] for given in candidates if given is not None)
        places.advance(length, cached=kwargs.get("past_key_values") is not None)

    def into(vector: Tensor) -> Any:
        def shift(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
            changed = places.shifted(args[0], vector)
            return None if changed is None else (changed, *args[1:])

        return shift

    def onto(vector: Tensor) -> Any:
        def shift(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
            changed = places.shifted(first_tensor(output), vector)
            if changed is None or isinstance(output, Tensor):
                return changed
            return (changed, *output[1:])

        return shift

    def tensor(shift: Shift) -> Tensor:
        return torch.as_tensor(shift.vector, dtype=torch.float32)

    with ExitStack() as hooks:
        hooks.enter_context(decoder.register_forward_pre_hook(advance, with_kwargs=True))
        for one in shifts:
            if one.side == "input":
                hooks.enter_context(one.module.register_forward_pre_hook(into(tensor(one))))
            else:
                hooks.enter_context(one.module.register_forward_hook(onto(tensor(one))))
        hooks.enter_context(told_of_prompts(model, places))
        yield places


class Listener(Protocol):
    """Who wants to know of every `generate`."""

    def start(self, prompt: int | None) -> None:
        """It begins, on prompts of so many columns, or ends."""


@contextmanager
def told_of_prompts(model: Any, listener: Listener) -> Iterator[None]:
    """Within it, the listener knows how long the prompts of a `generate` are: its forwards alone do not tell a new
    prompt from a sequence read again. One that is a LogitsProcessor also changes each token's logits, before sampling.
    Several may be told at a time, and leave in any order, as abandoned generators do."""
    told = model.__dict__.get("generate")
    if not isinstance(told, _Told):
        told = model.generate = _Told(model.generate, "generate" in model.__dict__)
    told.listeners.append(listener)
    try:
        yield
    finally:
        told.listeners.remove(listener)
        if not told.listeners and told.own:
            model.generate = told.generate
        elif not told.listeners:
            del model.generate


class _Told:
    """A model's `generate` that tells its listeners of the prompt. `own`: it was the instance's, not its class's."""

    def __init__(self, generate: Callable[..., Any], own: bool) -> None:
        self.generate, self.own = generate, own
        self.listeners: list[Listener] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        prompt = args[0] if args else next(kwargs[name] for name in ("inputs", "input_ids") if name in kwargs)
        if own := [one for one in self.listeners if isinstance(one, LogitsProcessor)]:
            kwargs["logits_processor"] = LogitsProcessorList([*own, *(kwargs.get("logits_processor") or ())])
        for listener in self.listeners:
            listener.start(prompt.shape[1])
        try:
            return self.generate(*args, **kwargs)
        finally:
            for listener in self.listeners:
                listener.start(None)
