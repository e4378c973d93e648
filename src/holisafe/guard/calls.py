"""What a call of forward or generate asks for, told from its arguments, and what was read of it, kept on its cache.

Packed sequences are several conversations in one row, told apart by segment ids or by positions that start anew. A
later turn of a conversation brings only its new tokens; the images stand in the cache. What was read of them is found
there and continued, so that the reading of turn two is that of one prefill over everything that was said to the model.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from .reading import Reading


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
    return length(arguments.get("past_key_values"))


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


def split_at(spans: Sequence[tuple[int, slice]], tensor: Tensor) -> Tensor:
    """[B, S, ...] -> [N, L, ...]: every span (row, slice) a row of its own, padded with zeros."""
    return nn.utils.rnn.pad_sequence([tensor[row, span] for row, span in spans], batch_first=True)


def segment_spans(ids: Tensor) -> list[tuple[int, slice]]:
    """Segment ids [B, S] of packed sequences -> the span of every one, in order; a negative id is padding."""
    spans = []
    for row, values in enumerate(ids.tolist()):
        for value, places in groupby(range(len(values)), key=values.__getitem__):
            if value >= 0:
                run = list(places)
                spans.append((row, slice(run[0], run[-1] + 1)))
    return spans


def segments_of_positions(position_ids: Tensor) -> Tensor:
    """Position ids [B, S] that start anew in every packed sequence -> segment ids [B, S]."""
    breaks = position_ids[:, 1:] != position_ids[:, :-1] + 1
    return nn.functional.pad(breaks.cumsum(1), (1, 0))


ATTRIBUTE = "_guard_reading"


@dataclass
class _Kept:
    reading: Reading
    positions: int
    """How long the cache was when the reading was taken: a cache that is shorter now was cropped or reset."""


def length(cache: Any) -> int:
    """How many positions a cache holds."""
    return int(cache.get_seq_length()) if cache is not None else 0


def reading_of(cache: Any, rows: int) -> Reading | None:
    """What was read of the conversations in this cache, one row for each of `rows`; None where nothing fits."""
    kept: _Kept | None = getattr(cache, ATTRIBUTE, None)
    if kept is None or length(cache) < kept.positions:
        return None
    held = len(kept.reading)
    return None if rows % held else kept.reading.repeated(rows // held)


def keep_reading(cache: Any, reading: Reading) -> None:
    """Leave the reading with the cache that the call returned."""
    if cache is not None and hasattr(cache, "__dict__") and hasattr(cache, "get_seq_length"):
        setattr(cache, ATTRIBUTE, _Kept(reading.detached(), length(cache)))
