"""Packing: the examples of a micro-batch in one row, end to end, instead of a padded row each.

    padded    [ a  a  a  .  . ]        packed        [ a  a  a  b  b  b  b  b ]   input_ids
              [ b  b  b  b  b ]        positions     [ 0  1  2  0  1  2  3  4 ]   start anew with each example
                                       segments      [ 0  0  0  1  1  1  1  1 ]   which verdict of the guard it joins

transformers keeps attention inside each example where the positions start anew, no attention mask and no cache is given
(`masking_utils.find_packed_sequence_indices`). Not every family can be told so: one that is not known to give the loss
and the gradients of the padded batch is refused.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor

from ..errors import InputError
from ..guard.conversation import SEQUENCES
from ..guard.head import IGNORED

FAMILIES: Final = frozenset(
    {"llava", "internvl", "smolvlm", "idefics3", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "glm4v", "mistral3"}
)
"""Model types whose packed batches give what padded ones give."""

DECODERS: Final = frozenset(
    {"llama", "mistral", "qwen2", "qwen3", "qwen2_vl_text", "qwen2_5_vl_text", "qwen3_vl_text", "glm4v_text"}
)
"""Text decoders inside them that do."""

WHY_NOT: Final = {
    "gemma3": "the masks of its sliding layers look images up by position, and positions start anew with each example",
    "paligemma": "its prompts attend in both directions, and the mask for that ends at no example",
    "blip-2": "its forward takes no positions",
    "instructblip": "its forward takes no positions",
    "qwen3_5": "its linear attention carries a state from one example into the next",
    "lfm2_vl": "its convolutions run from one example into the next",
}
"""Families that cannot be packed -> why."""

NESTED: Final = frozenset({"smolvlm", "idefics3"})
"""Families whose pixels are [rows, images of a row, ...], with empty images as padding, which the model drops."""


def check_packable(config: Any) -> None:
    """Raise InputError unless packing is known to change nothing for models with this config."""
    decoder = config.get_text_config().model_type
    problem = None
    if config.model_type not in FAMILIES:
        why = WHY_NOT.get(config.model_type, "it has not been shown that attention then stays inside each example")
        problem = f"{config.model_type} cannot be packed: {why}"
    elif decoder not in DECODERS:
        problem = f"{config.model_type} with {decoder} inside has not been shown to keep packed examples apart"
    if problem:
        raise InputError(problem, where="recipe", field="compute.packing")


def pack(model: Any, batch: dict[str, Tensor], *, segments: bool) -> dict[str, Any]:
    """A padded batch [B, L] as one row [1, sum of lengths], for `model.forward`.

    Labels, pixels and one label of the guard an example stay as they are. `position_ids` are [1, S], or [4, 1, S] where
    an image's positions are three (M-RoPE): the text's, then those. With `segments`, which a guarded model takes,
    `safety_segments` [1, S] say whose verdict a position belongs to. `model` is the one that no adapter wraps.
    """
    real, placed = batch["attention_mask"].bool(), positions(model, batch)
    places = placed if placed.dim() == 2 else placed[0]
    packed: dict[str, Any] = {name: value for name, value in batch.items() if name != "attention_mask"}
    packed |= {name: packed[name][real].unsqueeze(0) for name in SEQUENCES if name in packed}
    if "labels" in packed:  # a first token would be learned from the last of the example before
        packed["labels"] = packed["labels"].masked_fill(places[real].unsqueeze(0) == 0, IGNORED)
    if model.config.model_type in NESTED:
        pixels = ("pixel_values", "pixel_attention_mask")
        packed |= {name: packed[name].flatten(0, 1).unsqueeze(0) for name in pixels if name in packed}
    if segments:
        rows = torch.arange(len(real), device=real.device).unsqueeze(1).expand_as(real)
        packed["safety_segments"] = rows[real].unsqueeze(0)
    return packed | {"position_ids": placed[..., real].unsqueeze(-2), "use_cache": False}


def positions(model: Any, batch: dict[str, Tensor]) -> Tensor:
    """Where every token of a padded batch stands in its example: [B, L], or [4, B, L] where an image's positions are
    three (M-RoPE): the text's, then time, height and width by the model's own rule."""
    places = batch["attention_mask"].cumsum(dim=1) - 1
    core = model.base_model
    if not hasattr(core, "get_rope_index"):
        return places
    names = ("input_ids", "mm_token_type_ids", "image_grid_thw", "attention_mask")
    of_images, _ = core.get_rope_index(**{name: batch[name] for name in names if name in batch})
    return torch.cat([places.unsqueeze(0), torch.as_tensor(of_images)])
