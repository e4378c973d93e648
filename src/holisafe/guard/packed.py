"""Packed sequences: several conversations in one row, told apart by segment ids or by positions that start anew."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from torch import Tensor, nn


def split_at(spans: Sequence[tuple[int, slice]], tensor: Tensor) -> Tensor:
    """[B, S, ...] -> [N, L, ...]: every span (row, slice) a row of its own, padded with zeros."""
    return nn.utils.rnn.pad_sequence([tensor[row, span] for row, span in spans], batch_first=True)


def segments(ids: Tensor) -> list[tuple[int, slice]]:
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
