"""The linear layers whose single weights a method may change, by their names in the model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from ...errors import InputError

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def layers_like(model: nn.Module, pattern: str) -> dict[str, nn.Linear]:
    """The linear layers whose name the regular expression `pattern` is found in, in the model's order.

    Raises InputError when the pattern is none or finds no linear layer, and for a layer that `_check` refuses.
    """
    try:
        wanted = re.compile(pattern)
    except re.error as error:
        raise InputError(f"layers={pattern} is no regular expression ({error})") from None
    found = [name for name, module in model.named_modules() if wanted.search(name) and _is_linear(module)]
    if not found:
        raise InputError(f"layers={pattern} is found in the name of no linear layer")
    return _checked(model, found)


def layers_named(model: nn.Module, shapes: Mapping[str, Sequence[int]]) -> dict[str, nn.Linear]:
    """The linear layers of these names. Raises InputError when one is missing or its weight has another shape, and for
    a layer that `_check` refuses."""
    modules = dict(model.named_modules())
    for name, shape in shapes.items():
        if name not in modules or not _is_linear(modules[name]):
            raise InputError(f"the model has no linear layer {name}")
        if list(getattr(modules[name], "weight").shape) != list(shape):  # noqa: B009 - an adapter's layer has one too
            raise InputError(f"{name} has weights {list(modules[name].weight.shape)}, not {list(shape)}")
    return _checked(model, shapes)


def _is_linear(module: Any) -> bool:
    return isinstance(module, nn.Linear) or hasattr(module, "base_layer")


def _checked(model: nn.Module, names: Iterable[str]) -> dict[str, nn.Linear]:
    modules: dict[str, Any] = dict(model.named_modules())
    adapted = [name for name, module in modules.items() if hasattr(module, "base_layer")]
    owners: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        owners.setdefault(id(parameter), []).append(name)
    for name in names:
        adapter = next((one for one in adapted if name == one or name.startswith(f"{one}.")), None)
        if adapter is not None:
            raise InputError(f"{adapter} carries an adapter: merge it into the model first")
        _check(name, modules[name].weight, owners)
    return {name: modules[name] for name in names}


def _check(name: str, weight: torch.Tensor, owners: Mapping[int, Sequence[str]]) -> None:
    """Refuse weights that are not plain floats in memory, or are those of another layer too."""
    if weight.dtype not in DTYPES:
        raise InputError(f"{name} is quantised ({weight.dtype}): its single weights cannot be scaled")
    if weight.is_meta:
        raise InputError(f"{name} is not in memory: load the model without offloading")
    others = [other for other in owners[id(weight)] if other != f"{name}.weight"]
    if others:
        raise InputError(f"{name} shares its weights with {others[0].removesuffix('.weight')}")
