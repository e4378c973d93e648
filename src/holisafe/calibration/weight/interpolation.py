"""What tuning changed in a model, weight by weight, and the model with more or less of it.

    W = W_base + alpha * (W_tuned - W_base)      alpha 0: the base,  1: as tuned,  above 1: further along

An adapter that is not merged is such a difference itself: its scaling is multiplied, and no base is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...errors import InputError
from ...guard.head import HEAD


class Change(NamedTuple):
    """A parameter of the tuned model and what it was in the base: of a table that has grown, its first rows."""

    parameter: nn.Parameter
    base: Tensor


def changes_from(model: nn.Module, base: Mapping[str, Tensor]) -> dict[str, Change]:
    """The parameters, by name, that differ from the base's of that name. What only one of the two has is in none.

    Raises InputError where a shared one has another shape (but for more rows), and where no weight differs.
    """
    found: dict[str, Change] = {}
    shared = 0
    for name, parameter in model.named_parameters():
        if name not in base:
            continue
        was, shared = base[name], shared + 1
        if parameter.shape[1:] != was.shape[1:] or len(parameter) < len(was):
            raise InputError(f"{name} is {list(was.shape)} in the base and {list(parameter.shape)} in the tuned model")
        if not torch.equal(parameter.detach()[: len(was)].to(was.device, was.dtype), was):
            found[name] = Change(parameter, was)
    if not found:
        raise InputError("has the very weights of the model" if shared else "shares no weight's name with the model")
    return found


def scalings(model: nn.Module) -> list[dict[str, float]]:
    """Of every layer with an adapter that is not merged, its table of scalings; none where there is no adapter.

    Raises InputError for DoRA, whose update is no multiple of its scaling.
    """
    found = []
    for name, module in model.named_modules():
        if isinstance(table := getattr(module, "scaling", None), dict) and hasattr(module, "base_layer"):
            if any(getattr(module, "use_dora", {}).values()):
                raise InputError(f"{name} is adapted by DoRA, which does not scale: merge it and name its base")
            found.append(table)
    return found


def whole_copies(model: nn.Module) -> dict[str, Change]:
    """What an adapter holds as whole trained copies (PEFT's modules_to_save), but for the guard's head."""
    found: dict[str, Change] = {}
    for name, module in model.named_modules():
        copies = getattr(module, "modules_to_save", None)
        if not isinstance(copies, nn.ModuleDict) or name.split(".")[-1] == HEAD:
            continue
        was = dict(module.original_module.named_parameters())
        for copy in copies.values():
            found |= {f"{name}.{part}": Change(own, was[part].detach()) for part, own in copy.named_parameters()}
    return found


@contextmanager
def interpolated(changes: Sequence[Change], tables: Sequence[dict[str, float]], alpha: float) -> Iterator[None]:
    """Within it, the model holds `alpha` times what tuning changed; afterwards the very tensors that it held before.

    Sums are taken in float32 and rounded to the parameter's own dtype.
    """
    held = [(change.parameter, change.parameter.data) for change in changes]
    scaling: list[dict[str, Any]] = [dict(table) for table in tables]
    try:
        for parameter, base in changes:
            parameter.data = _between(parameter.data, base, alpha)
        for table in tables:
            table.update({adapter: alpha * value for adapter, value in table.items()})
        yield
    finally:
        for parameter, data in held:
            parameter.data = data
        for table, before in zip(tables, scaling, strict=True):
            table.update(before)


def _between(tuned: Tensor, base: Tensor, alpha: float) -> Tensor:
    known, new = tuned[: len(base)], tuned[len(base) :]
    was = base.to(tuned.device, torch.float32)
    return torch.cat([(was + alpha * (known.float() - was)).to(tuned.dtype), new])
