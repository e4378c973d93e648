"""What a tuning run would cost, without its weights: parameters by part, memory, steps.

The model is built from its config alone, on torch's meta device, where tensors have shapes and no memory.

    weights        bytes of all parameters, as the recipe holds them (adapters and head of a bfloat16 base: float32)
    gradients      bytes of the parameters that train
    optimiser      AdamW's two moments: twice that
    casts          with bf16 over float32 weights, autocast's copies in bfloat16: half of the weights
    activations    T = tokens of the longest micro-batch, h hidden size, L layers, 34 T h bytes a layer kept for the
                   backward pass (Korthikanti et al., arXiv 2205.05198, eq. 2, attention kernels that keep no scores);
                   with checkpointing 2 T h a layer and one layer's 34 T h
    logits         T x vocabulary, in the model's type, in float32 and as a gradient in float32
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, AutoConfig

from ..errors import InputError
from ..guard import load_processor
from ..guard.conversation import give_pad_token
from ..guard.errors import one_line
from ..guard.families import hidden_size
from ..guard.folders import find_file, locate, locate_named, read_object, require_config
from ..guard.model import guarded_class
from ..guard.settings import describes_guard
from .collator import Collator
from .examples import Example
from .parts import part_of
from .recipe import Recipe
from .steps import steps_per_epoch
from .train import prepared, reads_token_of

ASSUMED_TOKENS = 1024
"""Tokens of an example where there is no data, or no processor to count them with."""

TRIED = 16
"""Examples whose tokens are counted: those with the most text and pictures."""

Bytes = dict[str, int]


@dataclass(frozen=True)
class Plan:
    """`parts`: part -> (trainable, all) parameters; `memory`: kind -> bytes on a single device; `tokens` of an example,
    `counted` or assumed; optimiser steps an epoch and in all."""

    base: str
    parts: dict[str, tuple[int, int]]
    memory: Bytes
    tokens: int
    counted: bool
    examples: int
    steps_per_epoch: int
    steps: int


def plan(base: str | Path, recipe: Recipe, examples: Sequence[Example]) -> Plan:
    """The plan of a run. Raises InputError for a base without a usable config, or a recipe that does not fit it."""
    model = on_meta(base, recipe)
    core = _core(model)
    owner, parts = part_of(core), dict[str, tuple[int, int]]()
    for name, parameter in core.named_parameters():
        if ".original_module." in name:  # PEFT's frozen twin of what it trains whole
            continue
        part = "adapters" if ".lora_" in name else owner[name]
        trained, held = parts.get(part, (0, 0))
        number = parameter.numel()
        parts[part] = (trained + number * parameter.requires_grad, held + number)
    tokens, counted = longest(base, examples)
    per_epoch = steps_per_epoch(len(examples), recipe)
    return Plan(
        base=str(base),
        parts=dict(sorted(parts.items())),
        memory=memory(model, recipe, tokens),
        tokens=tokens,
        counted=counted,
        examples=len(examples),
        steps_per_epoch=per_epoch,
        steps=recipe.optimiser.max_steps or math.ceil(per_epoch * recipe.optimiser.epochs),
    )


def on_meta(base: str | Path, recipe: Recipe) -> Any:
    """The model as it would train, without weights: guard attached, frozen, adapters added."""
    source = locate(base)
    adapter = find_file(source, "adapter_config.json")
    if adapter:
        source = locate_named(read_object(adapter).get("base_model_name_or_path"), source, adapter)
    require_config(source)
    with one_line(source):
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise InputError(f"{config.model_type!r} is no image-text-to-text model that transformers knows", where=source)
    stock: Any = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[type(config)]
    cls: Any = guarded_class(stock) if describes_guard(config.to_dict()) else stock
    with torch.device("meta"):
        model = cls._from_config(config, dtype=getattr(torch, recipe.compute.dtype))
        return prepared(model, recipe, load_processor(base) if reads_token_of(recipe) else None)


def memory(model: Any, recipe: Recipe, tokens: int) -> Bytes:
    """Bytes by kind on one device that holds everything, with micro-batches of examples of so many tokens."""
    core = _core(model)
    text, compute = core.config.get_text_config(), recipe.compute
    parameters = list(model.parameters())
    weights = sum(p.numel() * p.element_size() for p in parameters)
    if compute.quantise:  # 4 bits and the scales of blocks of 64, themselves in 8 bits
        owner = part_of(core)
        kept = {id(p) for name, p in core.named_parameters() if owner[name] != "language"}
        kept |= {id(p) for p in parameters if p.requires_grad or p.dim() < 2}
        weights -= sum(p.numel() * p.element_size() - p.numel() * 33 // 64 for p in parameters if id(p) not in kept)
    gradients = sum(p.numel() * p.element_size() for p in parameters if p.requires_grad)
    casts = sum(p.numel() * 2 for p in parameters if p.element_size() == 4) if compute.bf16 else 0
    width, layers = hidden_size(core.config), int(text.num_hidden_layers)
    size = 2 if compute.bf16 or compute.dtype == "bfloat16" else 4
    batch = tokens * recipe.optimiser.batch_size
    layer = 17 * size * batch * width
    kept_layers = size * batch * width * layers + layer if compute.gradient_checkpointing else layer * layers
    if recipe.trainable.method == "guard" and not reads_token_of(recipe):
        kept_layers = layer  # nothing before the head needs a gradient
    vocabulary = int(getattr(text, "vocab_size", 0))
    return {
        "weights": weights,
        "gradients": gradients,
        "optimiser": 2 * gradients,
        "casts": casts,
        "activations": kept_layers,
        "logits": batch * vocabulary * (size + 4 + 4),
    }


def longest(base: str | Path, examples: Sequence[Example]) -> tuple[int, bool]:
    """Tokens of the longest example, as its processor writes it, and whether they could be counted."""
    if not examples:
        return ASSUMED_TOKENS, False
    try:
        processor = load_processor(base)
    except InputError:
        return ASSUMED_TOKENS, False

    def length(example: Example) -> int:
        return 1000 * len(example.pictures) + sum(map(len, example.learnt)) + sum(len(m.text) for m in example.messages)

    give_pad_token(processor)
    collate = Collator(processor, ends=[processor.tokenizer.eos_token_id], cache_bytes=0)
    tried = sorted(examples, key=length)[-TRIED:]
    return max(int(collate([example])["input_ids"].shape[1]) for example in tried), True


def _core(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model
