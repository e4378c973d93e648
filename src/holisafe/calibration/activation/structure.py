"""Where a model's decoder layers and attention heads are, found by structure rather than by the names of a family.

decoder ── layers.0 ── attention ─ heads [B, S, heads * head_dim] ─ output projection ─┐
        │                                                                              + ─ layer output [B, S, H]
        └─ layers.1 ── ...
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from ...errors import InputError
from ...guard.errors import GuardError
from ...guard.families import decoder_layers, hidden_size, text_decoder


@dataclass(frozen=True)
class Heads:
    """The attention output projections, one a layer. What goes into one is its layer's heads side by side."""

    projections: tuple[nn.Module, ...]
    number: int
    size: int


@dataclass(frozen=True)
class Structure:
    """The text decoder, its layers in order, and the width of what passes between them."""

    decoder: nn.Module
    layers: tuple[nn.Module, ...]
    width: int


def structure(model: Any) -> Structure:
    """Raises InputError, naming the reason, where the model has no text decoder or no list of layers in it."""
    try:
        return Structure(text_decoder(model), tuple(decoder_layers(model)), hidden_size(model.config))
    except GuardError as error:
        raise InputError(f"no layers to revise: {error.problem}") from None


def heads(model: Any) -> Heads:
    """The heads of every layer. Raises InputError, naming the layer, where one has no attention or other heads."""
    found = structure(model)
    number = model.config.get_text_config().num_attention_heads
    projections = []
    for place, layer in enumerate(found.layers):
        projection = _output_projection(layer, number, found.width)
        if projection is None:
            raise InputError(
                f"layer {place} ({type(layer).__name__}) has no attention with {number} heads, so single heads cannot "
                "be revised; layer-revision works"
            )
        projections.append(projection)
    sizes = sorted({_inputs(projection) // number for projection in projections})
    if len(sizes) > 1:
        raise InputError(f"heads of several sizes ({sizes}) cannot be compared; layer-revision works")
    return Heads(tuple(projections), number, sizes[0])


def _output_projection(layer: nn.Module, number: int, width: int) -> nn.Module | None:
    """The last linear child of the layer's attention that takes `number` heads back to the hidden size.

    By now every family of transformers calls its attention so and registers the output projection after queries, keys
    and values. Only direct children count: of an adapted projection that is the whole, not the parts of its adapter.
    """
    for attention in layer.children():
        if "attention" not in type(attention).__name__.lower():
            continue
        fitting = [one for one in attention.children() if _outputs(one) == width and _inputs(one) % number == 0]
        if fitting:
            return fitting[-1]
    return None


def _inputs(module: nn.Module) -> int:
    """Of a Linear, or of GPT-2's Conv1D, which has its own word for it; -1 for anything else."""
    return int(getattr(module, "in_features", getattr(module, "nx", -1)))


def _outputs(module: nn.Module) -> int:
    return int(getattr(module, "out_features", getattr(module, "nf", -1)))
