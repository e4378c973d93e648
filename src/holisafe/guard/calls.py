"""What a call of forward or generate asks for, told from its arguments."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from . import turns
from .packed import segments_of_positions


def only_read(model: Any, logits: int = 1) -> dict[str, Any]:
    """How to call a model that is to be read and not to answer: without cache, and with no more than its last logits
    where it can leave out the others, which its widest layer makes."""
    keeps = "logits_to_keep" in inspect.signature(model.forward).parameters
    return {"use_cache": False, **({"logits_to_keep": logits} if keeps else {})}


def sequence(arguments: Mapping[str, Any]) -> Tensor | None:
    """The call's token ids [B, S] or embeddings [B, S, H]."""
    for name in ("input_ids", "inputs", "inputs_embeds"):
        if torch.is_tensor(arguments.get(name)):
            return arguments[name]  # type: ignore[no-any-return]
    return None


def is_decode_step(arguments: Mapping[str, Any]) -> bool:
    """One new token after a cache: told by shapes alone, so that decoding costs nothing and compiles."""
    asked = sequence(arguments)
    return asked is not None and asked.shape[1] == 1 and arguments.get("past_key_values") is not None


def repeated(arguments: Mapping[str, Any], times: int) -> dict[str, Tensor]:
    """What tells a call's positions, every row `times` times, as for beams."""
    names = ("input_ids", "inputs", "inputs_embeds", "attention_mask")
    given = {name: arguments[name] for name in names if torch.is_tensor(arguments.get(name))}
    return {name: tensor.repeat_interleave(times, dim=0) for name, tensor in given.items()}


def cached_positions(arguments: Mapping[str, Any]) -> int:
    """How many positions the call's cache holds."""
    return turns.length(arguments.get("past_key_values"))


def text_mask(arguments: Mapping[str, Any], image: Tensor) -> Tensor:
    """[B, S], True at the text that was said to the model: attended, no image, and no label (the answer to learn)."""
    mask, attention, labels = ~image, arguments.get("attention_mask"), arguments.get("labels")
    if torch.is_tensor(attention) and attention.dim() == 2 and attention.shape[1] >= image.shape[1]:
        mask = mask & attention[:, -image.shape[1] :].to(mask.device).bool()
    if torch.is_tensor(labels):
        mask = mask & (labels == -100).to(mask.device)
    return mask


def packed_segments(arguments: Mapping[str, Any]) -> Tensor | None:
    """[B, S] which of several packed conversations a position belongs to; None for ordinary rows.

    As transformers tells them when they are not given: by position ids that start anew, without mask and cache.
    """
    given = arguments.get("safety_segments")
    if given is not None:
        return given  # type: ignore[no-any-return]
    positions = arguments.get("position_ids")
    if not torch.is_tensor(positions) or any(
        arguments.get(name) is not None for name in ("attention_mask", "past_key_values")
    ):
        return None
    if positions.dim() == 3 and len(positions) == 4:  # Qwen-VL's: the text's positions before the three of M-RoPE
        positions = positions[0]
    if positions.dim() != 2:
        return None
    segments = segments_of_positions(positions)
    return segments if segments.any() else None
