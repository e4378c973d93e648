"""The tap: hooks on the text decoder, and on layers of it, that hand their tensors to whoever is armed.

The hooks are plain functions that live with the decoder, so a copied or pickled model keeps them; unarmed they cost one
attribute look-up. A hook on the model itself would not do: PEFT and accelerate call its forward directly.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from .pooling import Side


class Taker(Protocol):
    def take(self, side: Side, features: Tensor) -> None:
        """The decoder's input embeddings, a state between its layers or its last hidden state [B, S, H], at every
        call."""


def install(decoder: nn.Module, layers: Mapping[int, nn.Module] = MappingProxyType({})) -> None:
    """Put the hooks on, once. Done when the guard is attached, so that compilation does not meet it. `layers`: of the
    decoder, {after how many: the layer that the state then goes into}."""
    if "_guard_tap" not in decoder.__dict__:
        decoder.register_forward_pre_hook(_pass_input, with_kwargs=True)
        decoder.register_forward_hook(_pass_output, with_kwargs=True)
        decoder.__dict__["_guard_layers"] = ()
        disarm(decoder)
    names = {id(module): name for name, module in decoder.named_modules()}
    for after, layer in layers.items():
        if "_guard_side" not in layer.__dict__:
            layer.register_forward_pre_hook(_pass_input, with_kwargs=True)
            layer.__dict__.update(_guard_side=after, _guard_tap=None)
            decoder.__dict__["_guard_layers"] += (names[id(layer)],)


def arm(decoder: nn.Module, taker: Taker) -> None:
    """Hand over the decoder's input and output from now on; `disarm` ends it."""
    install(decoder)
    _set(decoder, taker)


def disarm(decoder: nn.Module) -> None:
    _set(decoder, None)


def _set(decoder: nn.Module, taker: Taker | None) -> None:
    decoder.__dict__["_guard_tap"] = taker
    for name in decoder.__dict__["_guard_layers"]:
        decoder.get_submodule(name).__dict__["_guard_tap"] = taker


def _pass_input(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    taker: Taker | None = module.__dict__.get("_guard_tap")
    if taker is not None:
        for given in (kwargs.get("inputs_embeds"), kwargs.get("hidden_states"), *args):
            if torch.is_tensor(given) and given.is_floating_point() and given.dim() == 3:
                taker.take(module.__dict__.get("_guard_side", "input"), given)
                break


def _pass_output(decoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
    taker: Taker | None = decoder.__dict__.get("_guard_tap")
    if taker is not None:
        taker.take("output", output[0])
