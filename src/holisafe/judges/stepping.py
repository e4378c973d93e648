"""An asynchronous stream, pulled one item at a time by code that is not asynchronous."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def each(stream: AsyncIterator[Item]) -> Iterator[Item]:
    """The stream's items. What the stream has begun stays under way between them, and goes on at the next.

    One task reads the whole stream, at most one item ahead, so that time limits and task groups inside it hold. Its
    exception is raised here. Leaving the loop early cancels what is under way. Not for use inside an event loop.
    """
    with asyncio.Runner() as runner:
        queue: asyncio.Queue[Item] = asyncio.Queue(maxsize=1)

        async def read() -> None:
            async for item in stream:
                await queue.put(item)

        async def begin() -> asyncio.Task[None]:
            return asyncio.create_task(read())

        async def step() -> list[Item]:
            """The next item; none when the stream is over."""
            if not reader.done():
                waiting = asyncio.create_task(queue.get())
                await asyncio.wait((waiting, reader), return_when=asyncio.FIRST_COMPLETED)
                if waiting.done():
                    return [waiting.result()]
                waiting.cancel()
            if not queue.empty():
                return [queue.get_nowait()]
            reader.result()
            return []

        reader = runner.run(begin())
        while found := runner.run(step()):
            yield from found
