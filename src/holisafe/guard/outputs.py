"""What a guarded model returns: the stock output with the guard's fields added, and the guard's fields alone."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers.utils.generic import ModelOutput


@dataclass
class Safety(ModelOutput):
    """The guard's reading of a batch: `model.last_safety` after generate. Keys and attributes alike.

    Logits and probabilities (float32) are [B, K]; valid is [B], False where a sample had no image: its row then means
    nothing. With unit "image" the three stand beside them for each of at most M images: [B, M, K] and [B, M].
    """

    img_safety_logits: Tensor | None = None
    img_safety_probs: Tensor | None = None
    img_safety_valid: Tensor | None = None
    img_safety_image_logits: Tensor | None = None
    img_safety_image_probs: Tensor | None = None
    img_safety_image_valid: Tensor | None = None


FIELDS = (*(field.name for field in dataclasses.fields(Safety)), "lm_loss", "safety_loss")


def safety_fields(*values: Tensor) -> dict[str, Tensor]:
    """Safety's first fields with these values. A dictionary, since forward puts them into another output."""
    return dict(zip(FIELDS, values, strict=False))


_classes: dict[type, type] = {}


def guarded_class_of(stock: type) -> type:
    """A dataclass derived from the stock output with the guard's fields, so that pytree users (DDP, FSDP) know it."""
    if stock not in _classes:
        fields = [(name, "Tensor | None", dataclasses.field(default=None)) for name in FIELDS]
        namespace = {"__reduce__": _reduce, "__module__": __name__}
        _classes[stock] = dataclasses.make_dataclass(
            f"Guarded{stock.__name__}", fields, bases=(stock,), namespace=namespace
        )
    return _classes[stock]


def guarded_output(stock: ModelOutput, **fields: Tensor) -> Any:
    """The stock output, which becomes a guarded one in place; a field of it that is given here is replaced."""
    stock.__class__ = guarded_class_of(type(stock))
    for name, value in fields.items():
        stock[name] = value
    if "loss" in fields:  # first, as in the stock output, also where the stock model had none
        stock.move_to_end("loss", last=False)
    return stock


def _reduce(output: Any) -> tuple[Any, ...]:
    """Pickle through the stock class: the derived one exists only once it was asked for."""
    return _rebuild, (type(output).__mro__[1], dict(output))


def _rebuild(stock: type, fields: dict[str, Any]) -> Any:
    return guarded_class_of(stock)(**fields)
