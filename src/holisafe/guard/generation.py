"""One call of generate, as the guard follows it: the prefill is read, decoding is left alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from .calls import cached_positions
from .pooling import Side
from .reading import Reader, Reading


class Generation:
    """Whether the prefill is to be read, and the reading, which grows when it comes in chunks.

    reading     what was read of the conversations in the cache that generate was given
    reader_for  number of rows -> what pools them. BLIP-2's generate never calls its model's forward, but its language
                model itself: what the tap saw of the decoder first is the prefill then
    """

    def __init__(self, wanted: bool, reading: Reading | None, reader_for: Callable[[int], Reader]) -> None:
        self.wanted, self.reading = wanted, reading if wanted else None
        self._reader_for = reader_for
        self._reader: Reader | None = None

    def wants(self, call: Mapping[str, Any]) -> bool:
        """Whether this forward belongs to the prefill. Without a cache every token repeats it: once is enough."""
        return self.wanted and (self.reading is None or cached_positions(call) > 0)

    def take(self, side: Side, features: Tensor) -> None:
        """From the tap, which is this call's until forward takes it for itself."""
        self._reader = self._reader or self._reader_for(len(features))
        self._reader.take(side, features)

    def read(self) -> Reading | None:
        """What was read, once the call is over; None without a prefill."""
        return self._reader.reading() if self._reader else self.reading
