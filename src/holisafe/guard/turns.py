"""The guard's reading stays with the conversation: it is kept on the key-value cache that the conversation grows.

A later turn brings only its new tokens; the images stand in the cache. What was read of them is found there and
continued, so that the reading of turn two is that of one prefill over everything that was said to the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .reading import Reading

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


def keep(cache: Any, reading: Reading) -> None:
    """Leave the reading with the cache that the call returned."""
    if cache is not None and hasattr(cache, "__dict__") and hasattr(cache, "get_seq_length"):
        setattr(cache, ATTRIBUTE, _Kept(reading.detached(), length(cache)))
