"""What a call of forward or generate asks for, told from its arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


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


def cached_positions(arguments: Mapping[str, Any]) -> int:
    """How many positions the call's cache holds."""
    cache = arguments.get("past_key_values")
    return int(cache.get_seq_length()) if cache is not None else 0
