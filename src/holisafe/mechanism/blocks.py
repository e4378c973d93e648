"""A model's feed-forward blocks, found by structure rather than by the names of a family.

states [.., H] ─ firsts (gate, up or fc1) ─ non-linearity ─ activation [.., F] ─ second (down, fc2) ─ [.., H]
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

from torch import nn

from ..errors import InputError
from ..guard.errors import GuardError
from ..guard.families import text_decoder
from ..tuning.parts import part_of, vision_tower

Part = Literal["text", "vision", "projector"]
PARTS: tuple[Part, ...] = get_args(Part)
Name = TypeVar("Name", bound=str)

NEAR = 3
"""A block's linear layers stand side by side: gate, up and down at most."""


@dataclass(frozen=True)
class Block:
    """One block: its number in its part, the names of its layers in the model, and the layers themselves."""

    number: int
    names: tuple[str, ...]
    firsts: tuple[nn.Linear, ...]
    second: nn.Linear

    @property
    def matrices(self) -> Iterator[tuple[str, str, nn.Linear]]:
        """(name, "first" or "second", layer) of every weight matrix."""
        for name, layer in zip(self.names, (*self.firsts, self.second), strict=True):
            yield name, "second" if layer is self.second else "first", layer


def chosen(option: str, name: str, known: tuple[Name, ...]) -> Name:
    """The one of that name. Raises InputError for another."""
    for one in known:
        if name == one:
            return one
    raise InputError(f"{option} {name} is none of {', '.join(known)}")


def blocks(model: Any, part: Part) -> list[Block]:
    """The part's blocks in order. Raises InputError where it has none that are so built."""
    found = list(_of_projector(model) if part == "projector" else _of_layers(model, part))
    if not found:
        raise InputError(f"{type(model).__name__} has no feed-forward block of linear layers in its {part} part")
    return found


def _of_layers(model: Any, part: Part) -> Iterator[Block]:
    try:
        root = text_decoder(model) if part == "text" else vision_tower(model)
    except GuardError as error:
        raise InputError(error.problem) from None
    if root is None:
        return
    inside = {id(module) for module in root.modules()}
    linear = [
        (name, module)
        for name, module in model.named_modules()
        if id(module) in inside and isinstance(module, nn.Linear) and not _in_attention(model, name)
    ]
    number = 0
    for place, (name, second) in enumerate(linear):
        before = linear[max(0, place - NEAR + 1) : place]
        shape = (second.in_features, second.out_features)
        firsts = [one for one in before if (one[1].out_features, one[1].in_features) == shape and shape[0] > shape[1]]
        if firsts:
            names = (*(one for one, _ in firsts), name)
            yield Block(number, names, tuple(layer for _, layer in firsts), second)
            number += 1


def _of_projector(model: Any) -> Iterator[Block]:
    """The first and the last of the linear layers between tower and decoder, as one block."""
    parts = part_of(model)
    linear = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and parts.get(f"{name}.weight") == "projector"
    ]
    if len(linear) > 1:
        (first, one), (last, other) = linear[0], linear[-1]
        yield Block(0, (first, last), (one,), other)


def _in_attention(model: Any, name: str) -> bool:
    """Whether a layer's parent is an attention: every family of transformers calls that so."""
    return "attention" in type(model.get_submodule(name.rpartition(".")[0])).__name__.lower()
