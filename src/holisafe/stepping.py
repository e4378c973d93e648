"""Asynchronous work in code that is not asynchronous: to its end, or one item of a stream at a time.

All of it also works where an event loop is running, as in a notebook: then it is done in a thread of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any, Protocol, TypeVar

Item = TypeVar("Item")


class Finished(Protocol):
    """Runs a coroutine to its end."""

    def __call__(self, work: Coroutine[Any, Any, Item], /) -> Item: ...


def each(stream: AsyncIterator[Item]) -> Iterator[Item]:
    """The stream's items. What the stream has begun stays under way between them, and goes on at the next.

    One task reads the whole stream, at most one item ahead, so that time limits and task groups inside it hold. Its
    exception is raised here. Leaving the loop early cancels what is under way.
    """
    with event_loop() as finished:
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

        reader = finished(begin())
        while found := finished(step()):
            yield from found


@contextmanager
def event_loop() -> Iterator[Finished]:
    """Gives a function that finishes a coroutine and returns its result, all of them in one event loop.

    An exception on the way here, such as KeyboardInterrupt, cancels the coroutine. At the end what is under way is
    cancelled.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        with asyncio.Runner() as runner:
            yield runner.run
        return
    with ThreadPoolExecutor(1) as thread:
        runner = asyncio.Runner()
        loop = thread.submit(copy_context().run, runner.get_loop).result()  # what is shown there stands in this cell

        def finished(work: Coroutine[Any, Any, Item]) -> Item:
            future = thread.submit(runner.run, work)
            try:
                return future.result()
            except BaseException:
                if not future.done():
                    loop.call_soon_threadsafe(_cancel_all, loop)
                raise

        try:
            yield finished
        finally:
            thread.submit(runner.close).result()


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    for task in asyncio.all_tasks(loop):
        task.cancel()
