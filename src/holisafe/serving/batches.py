"""Things that come one by one, worked on together in a thread: what is waiting when the thread is free is one batch."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")


class Batcher(Generic[Given, Made]):
    """`work` makes one result of each of at most `size` things, in their order, off the event loop.

    One that nobody waits for any more is dropped before its batch begins. What `work` raises is raised to everyone in
    the batch. Belongs to one event loop.
    """

    def __init__(self, work: Callable[[Sequence[Given]], Sequence[Made]], size: int, name: str) -> None:
        self.work, self.size = work, size
        self._waiting: deque[tuple[Given, asyncio.Future[Made]]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._running: asyncio.Task[None] | None = None

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def __call__(self, thing: Given) -> Made:
        """The thing's result, as soon as its batch is done."""
        result: asyncio.Future[Made] = asyncio.get_running_loop().create_future()
        self._waiting.append((thing, result))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        return await result

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while batch := self._next():
            try:
                made = await loop.run_in_executor(self._thread, self.work, [thing for thing, _ in batch])
                for (_, result), one in zip(batch, made, strict=True):
                    if not result.done():
                        result.set_result(one)
            except Exception as error:  # noqa: BLE001  (raised to whoever waits)
                for _, result in batch:
                    if not result.done():
                        result.set_exception(error)

    def _next(self) -> list[tuple[Given, asyncio.Future[Made]]]:
        batch: list[tuple[Given, asyncio.Future[Made]]] = []
        while self._waiting and len(batch) < self.size:
            thing, result = self._waiting.popleft()
            if not result.done():
                batch.append((thing, result))
        return batch
