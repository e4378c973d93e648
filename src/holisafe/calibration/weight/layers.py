"""The linear layers whose single weights a method may change, by their names in the model; and a patch that scales such
weights for a while and puts every one back bit for bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Indices = Tensor | npt.NDArray[np.int64]

import re
from collections.abc import Iterable, Sequence
from typing import Any

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


@contextmanager
def scaled(layers: Mapping[str, nn.Linear], marked: Mapping[str, Indices], alpha: float) -> Iterator[None]:
    """Within it, the marked weights of each layer (flat indices into [out, in]) are multiplied by `alpha`.

    Afterwards, also after an exception, they hold the very values they had: these are kept, not computed back, for
    alpha may be 0, and x * 0.5 / 0.5 is not x for every bfloat16. Patches may be nested, the inner one ending first.
    """
    with ExitStack() as patches:
        for name, layer in layers.items():
            patches.enter_context(_scaled_weight(layer.weight, marked[name], alpha))
        yield


@contextmanager
def _scaled_weight(weight: Tensor, indices: Indices, alpha: float) -> Iterator[None]:
    columns = weight.shape[1]
    places = torch.as_tensor(indices, dtype=torch.int64, device=weight.device)
    at = (places // columns, places % columns)
    with torch.no_grad():
        before = weight[at].clone()
        weight[at] = before * alpha
    try:
        yield
    finally:
        with torch.no_grad():
            weight[at] = before
