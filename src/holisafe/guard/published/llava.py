"""LLaVA as its authors release it, and SafeLLaVA: a LLaMA with `mm_*` fields and keys of its own.

    config.json   LLaMA's fields at the top; mm_vision_tower, mm_projector_type, mm_vision_select_layer ...
    weights       model.embed_tokens, model.layers, model.mm_projector.{0,2}, lm_head; model.vision_tower... or not
    prompt        -200 stands for an image; no token of the vocabulary does

The stock class wants a token id for an image. Where the tokenizer has no `<image>`, the first id past the vocabulary
becomes it, and the embedding and the output layer are padded with their mean row, as transformers' own LLaVA
conversions do; `generate` never emits a padded id.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from transformers import LlamaConfig

from ...errors import InputError
from ..folders import check_weights, find_file, locate, open_weights, read_object, require_config
from .configs import flat_text, part_fields
from .layouts import COMPUTED, LLAVA_KEYS, TOWER_KEYS, TOWERS

IMAGE_TOKEN: Final = "<image>"
EMBEDDING: Final = "model.language_model.embed_tokens.weight"
OUTPUT: Final = "lm_head.weight"
TOWER: Final = "model.vision_tower."
ROWS: Final = 64
"""The vocabulary is padded to a multiple of this."""

STRATEGIES: Final = {"patch": "default", "cls_patch": "full"}
"""LLaVA's name of which tower outputs are image features -> the stock class's."""

SUPPORTED: Final[dict[str, tuple[Any, ...]]] = {
    "mm_projector_type": ("mlp2x_gelu",),
    "mm_vision_select_feature": tuple(STRATEGIES),
    "mm_patch_merge_type": ("flat",),
    "image_aspect_ratio": ("pad", "square", None),
}
"""Values of LLaVA's fields that the stock Llava class computes; a field that is absent has the first."""


def read_llava(
    source: str, fields: Mapping[str, Any], vision_tower: str | None
) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Any]]:
    """The stock Llava config's fields, the weights by stock keys, and what generation must be told.

    Raises InputError naming what is missing: the tower's weights or config, the embedding; or what the stock class
    does not compute: another language model than LLaMA, another projector, LLaVA-NeXT's tiles.
    """
    _check_supported(fields, source)
    weights = {_renamed(name, LLAVA_KEYS): t for name, t in open_weights(source, "model") if not _computed(name)}
    tower = _tower(source, str(fields.get("mm_vision_tower")), vision_tower, weights)
    for name in (EMBEDDING, OUTPUT):
        if name not in weights and not (name == OUTPUT and fields.get("tie_word_embeddings")):
            raise InputError(f"weights are missing: {name}", where=source)
    rows = len(weights[EMBEDDING])
    token = image_token(source, fields, rows)
    padded = rows if token < rows else -(-(token + 1) // ROWS) * ROWS
    for name in (EMBEDDING, OUTPUT):
        if name in weights:
            weights[name] = _with_rows(weights[name], padded)
    config = {
        "model_type": "llava",
        "text_config": {"model_type": "llama", **flat_text(fields, LlamaConfig), "vocab_size": padded},
        "vision_config": tower,
        "image_token_id": token,
        "projector_hidden_act": "gelu",
        "vision_feature_layer": fields.get("mm_vision_select_layer", -2),
        "vision_feature_select_strategy": "full"
        if fields.get("mm_vision_select_feature") == "cls_patch"
        else "default",
        "tie_word_embeddings": fields.get("tie_word_embeddings", False),
        **{name: value for name, value in fields.items() if "safety" in name},
    }
    if dtype := fields.get("dtype", fields.get("torch_dtype")):
        config["dtype"] = dtype
    return config, weights, {"suppress_tokens": list(range(rows, padded))} if padded > rows else {}


def _check_supported(fields: Mapping[str, Any], source: str) -> None:
    if any(other in str(fields.get("model_type")) for other in ("mistral", "qwen", "mpt", "gemma")):
        raise InputError("only LLaVA on a LLaMA is read", where=source, field="model_type")
    for name, values in SUPPORTED.items():
        if fields.get(name, values[0]) not in values:
            raise InputError(
                f"is {fields[name]!r}, which the stock Llava class does not compute", where=source, field=name
            )


def _renamed(name: str, table: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in table:
        new, changed = re.subn(pattern, replacement, name)
        if changed:
            return new
    return name


def _tower(source: str, named: str, given: str | None, weights: dict[str, Tensor]) -> dict[str, Any]:
    """The vision tower's config; its weights, where the checkpoint lacks them, are added to `weights`.

    Taken from the place the caller gave, else from a folder inside the checkpoint's, else, only when the checkpoint
    itself is a hub id, from the hub id that its config names: a local folder never makes a download happen.
    """
    inside = (Path(source) / named).resolve()
    place = given
    if place is None and Path(source).is_dir() and inside.is_dir() and Path(source).resolve() in inside.parents:
        place = str(inside)
    own = any(name.startswith(TOWER) for name in weights)
    if place is None and own and named in TOWERS:
        return dict(TOWERS[named])
    if place is None and not Path(source).is_dir():
        place = named
    if place is None:
        lacks = "config" if own else "weights"
        raise InputError(
            f"the vision tower's {lacks} are not in the folder: give vision_tower=, a folder with {named} or with any "
            "LLaVA model on it, as safetensors",
            where=source,
            field="mm_vision_tower",
        )
    place = locate(place)
    check_weights(place, "model", "config.json")
    fields = require_config(place)
    config = part_fields(fields.get("vision_config", fields))
    if not own:
        tower = {_renamed(name, TOWER_KEYS): t for name, t in open_weights(place, "model") if not _computed(name)}
        weights |= {name: tensor for name, tensor in tower.items() if name.startswith(TOWER)}
    return {**config, "model_type": config.get("model_type", "clip_vision_model")}


def _computed(name: str) -> bool:
    return any(re.search(pattern, name) for pattern in COMPUTED)


def image_token(source: str, fields: Mapping[str, Any], rows: int) -> int:
    """The image's token id: as the config says, as the tokenizer's `<image>`, else the first without a meaning."""
    for name in ("image_token_id", "image_token_index"):
        if isinstance(fields.get(name), int) and fields[name] >= 0:
            return int(fields[name])
    tokens = added_tokens(source)
    return tokens.get(IMAGE_TOKEN, max([rows, *(number + 1 for number in tokens.values())]))


def added_tokens(source: str) -> dict[str, int]:
    """Token -> id of what a tokenizer's files add to its vocabulary."""
    found: dict[str, int] = {}
    if file := find_file(source, "added_tokens.json"):
        found |= read_object(file)
    if file := find_file(source, "tokenizer_config.json"):
        decoder = read_object(file).get("added_tokens_decoder", {})
        found |= {entry["content"]: int(number) for number, entry in decoder.items()}
    if file := find_file(source, "tokenizer.json"):
        found |= {entry["content"]: int(entry["id"]) for entry in read_object(file).get("added_tokens", ())}
    return found


def _with_rows(weight: Tensor, rows: int) -> Tensor:
    """[V, H] -> [rows, H]; new rows are the mean of the old."""
    mean = weight.float().mean(dim=0, keepdim=True).to(weight.dtype)
    return torch.cat([weight, mean.expand(rows - len(weight), -1)]) if rows > len(weight) else weight
