"""The tap: hooks on the text decoder that keep its tensors while they are armed.

The hooks are plain functions that live with the decoder, so a copied or pickled model keeps them; unarmed they cost one
attribute look-up. A hook on the model itself would not do: PEFT and accelerate call its forward directly.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from .pooling import Side


class Tap:
    """Which sides to keep, and what was kept of the first call since: side -> features [B, S, H]."""

    __slots__ = ("features", "sides")

    def __init__(self, sides: Iterable[Side]) -> None:
        self.sides = frozenset(sides)
        self.features: dict[Side, Tensor] = {}

    def keep(self, side: Side, tensor: Tensor | None) -> None:
        if side in self.sides and side not in self.features and tensor is not None:
            self.features[side] = tensor


def install(decoder: nn.Module) -> None:
    """Put the hooks on, once. Done when the guard is attached, so that compilation does not meet it."""
    if "_guard_tap" not in decoder.__dict__:
        decoder.register_forward_pre_hook(_keep_input, with_kwargs=True)
        decoder.register_forward_hook(_keep_output, with_kwargs=True)
        disarm(decoder)


def arm(decoder: nn.Module, sides: Iterable[Side]) -> Tap:
    """Keep the decoder's input embeddings, its last hidden state, or both from now on; `disarm` ends it."""
    install(decoder)
    tap = Tap(sides)
    decoder.__dict__["_guard_tap"] = tap
    return tap


def disarm(decoder: nn.Module) -> None:
    decoder.__dict__["_guard_tap"] = None


def _keep_input(decoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    tap: Tap | None = decoder.__dict__.get("_guard_tap")
    if tap is not None and "input" in tap.sides:
        candidates = (kwargs.get("inputs_embeds"), *args)
        found = [t for t in candidates if torch.is_tensor(t) and t.is_floating_point() and t.dim() == 3]
        tap.keep("input", found[0] if found else None)


def _keep_output(decoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
    tap: Tap | None = decoder.__dict__.get("_guard_tap")
    if tap is not None:
        tap.keep("output", output[0])
