"""The tap: hooks on the text decoder that keep one of its tensors while they are armed.

The hooks are plain functions that live with the decoder, so a copied or pickled model keeps them; unarmed they cost one
attribute look-up. A hook on the model itself would not do: PEFT and accelerate call its forward directly.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

Side = Literal["input", "output"]


class Tap:
    """Which side to keep, and what was kept of the first call since: features [B, S, H]."""

    __slots__ = ("features", "side")

    def __init__(self, side: Side) -> None:
        self.side: Side = side
        self.features: Tensor | None = None


def install(decoder: nn.Module) -> None:
    """Put the hooks on, once. Done when the guard is attached, so that compilation does not meet it."""
    if "_guard_tap" not in decoder.__dict__:
        decoder.register_forward_pre_hook(_keep_input, with_kwargs=True)
        decoder.register_forward_hook(_keep_output, with_kwargs=True)
        disarm(decoder)


def arm(decoder: nn.Module, side: Side) -> Tap:
    """Keep the decoder's input embeddings or its last hidden state from now on; `disarm` ends it."""
    install(decoder)
    tap = Tap(side)
    decoder.__dict__["_guard_tap"] = tap
    return tap


def disarm(decoder: nn.Module) -> None:
    decoder.__dict__["_guard_tap"] = None


def _keep_input(decoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    tap: Tap | None = decoder.__dict__.get("_guard_tap")
    if tap is None or tap.side != "input" or tap.features is not None:
        return
    candidates = (kwargs.get("inputs_embeds"), *args)
    found = [t for t in candidates if torch.is_tensor(t) and t.is_floating_point() and t.dim() == 3]
    tap.features = found[0] if found else None


def _keep_output(decoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
    tap: Tap | None = decoder.__dict__.get("_guard_tap")
    if tap is not None and tap.side == "output" and tap.features is None:
        tap.features = output[0]
