"""Places for so many requests at once, and for so many more that wait for one."""

from __future__ import annotations

import asyncio

from .errors import GatewayError


class Room:
    """`async with room:` around a request. Raises GatewayError (429) when too many wait already."""

    def __init__(self, places: int, most_waiting: int) -> None:
        self.most_waiting, self.waiting, self.inside = most_waiting, 0, 0
        self._places = asyncio.Semaphore(places)

    async def __aenter__(self) -> None:
        if self._places.locked() and self.waiting >= self.most_waiting:
            raise GatewayError(429, "rate_limit_exceeded", "too many requests at once; try again", retry_after=1)
        self.waiting += 1
        try:
            await self._places.acquire()
        finally:
            self.waiting -= 1
        self.inside += 1

    async def __aexit__(self, *error: object) -> None:
        self.inside -= 1
        self._places.release()
