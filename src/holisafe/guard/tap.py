"""The tap: hooks on the text decoder that hand its tensors to whoever is armed.

The hooks are plain functions that live with the decoder, so a copied or pickled model keeps them; unarmed they cost one
attribute look-up. A hook on the model itself would not do: PEFT and accelerate call its forward directly.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from .pooling import Side


class Taker(Protocol):
    def take(self, side: Side, features: Tensor) -> None:
        """The decoder's input embeddings or its last hidden state [B, S, H], at every call."""


def install(decoder: nn.Module) -> None:
    """Put the hooks on, once. Done when the guard is attached, so that compilation does not meet it."""
    if "_guard_tap" not in decoder.__dict__:
        decoder.register_forward_pre_hook(_pass_input, with_kwargs=True)
        decoder.register_forward_hook(_pass_output, with_kwargs=True)
        disarm(decoder)


def arm(decoder: nn.Module, taker: Taker) -> None:
    """Hand over the decoder's input and output from now on; `disarm` ends it."""
    install(decoder)
    decoder.__dict__["_guard_tap"] = taker


def disarm(decoder: nn.Module) -> None:
    decoder.__dict__["_guard_tap"] = None


def _pass_input(decoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    taker: Taker | None = decoder.__dict__.get("_guard_tap")
    if taker is not None:
        for given in (kwargs.get("inputs_embeds"), *args):
            if torch.is_tensor(given) and given.is_floating_point() and given.dim() == 3:
                taker.take("input", given)
                break


def _pass_output(decoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
    taker: Taker | None = decoder.__dict__.get("_guard_tap")
    if taker is not None:
        taker.take("output", output[0])
