"""How many calls may be in flight: halved when the server says it is too many, raised again call by call.

Additive increase, multiplicative decrease, as in TCP's congestion control (Chiu and Jain 1989). A wait that the server
asks for holds back every call, not only the one that was told.
"""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType

RECENT = 0.05
"""How much the last call counts in the share of refused ones."""


class Limit:
    """A number of slots that adapts between 1 and `most`. Use `async with limit:` around each call.

    `bears` is the share of recent calls that may be refused before there are fewer slots: a server that refuses a few
    at random is not crowded, and halving for each would leave it idle. Belongs to one event loop, whose clock it uses.
    """

    def __init__(self, most: int, bears: float = 0.0) -> None:
        self.most, self.allowed, self.in_use, self.bears, self.refused = most, float(most), 0, bears, 0.0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._closed_until = self._last_cut = float("-inf")
        self._alarm: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> None:
        if not self._waiting and self._free():
            self.in_use += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._wake()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave()  # the slot was given in the same moment
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def too_many(self, began: float, wait: float | None) -> None:
        """The server refused a call that began at a time of the loop's clock, and may have asked for a wait, in s.

        Calls that were in flight together count once: those begun before the last cut say nothing about it.
        """
        now = asyncio.get_running_loop().time()
        self.refused += RECENT * (1 - self.refused)
        if wait is not None:
            self._closed_until = max(self._closed_until, now + wait)
        if began > self._last_cut and self.refused > self.bears:
            self.allowed, self._last_cut = max(1.0, self.allowed / 2), now

    def went_well(self) -> None:
        """A call was answered: about one slot more for every round of calls."""
        self.refused -= RECENT * self.refused
        self.allowed = min(float(self.most), self.allowed + 1 / self.allowed)

    def _leave(self) -> None:
        self.in_use -= 1
        self._wake()

    def _free(self) -> bool:
        return self.in_use < int(self.allowed) and asyncio.get_running_loop().time() >= self._closed_until

    def _wake(self) -> None:
        """Give free slots to those who wait, in their order; ring again when the server's wait is over."""
        while self._waiting and self._free():
            turn = self._waiting.popleft()
            if not turn.done():
                self.in_use += 1
                turn.set_result(None)
        loop = asyncio.get_running_loop()
        if self._waiting and loop.time() < self._closed_until:
            if self._alarm is not None:
                self._alarm.cancel()
            self._alarm = loop.call_at(self._closed_until, self._wake)
