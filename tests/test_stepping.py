"""Asynchronous streams driven by synchronous loops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from holisafe.stepping import each


async def numbers(upto: int, log: list[str], delay: float = 0.0) -> AsyncIterator[int]:
    try:
        for number in range(upto):
            await asyncio.sleep(delay)
            log.append(f"made {number}")
            yield number
    finally:
        log.append("closed")


def test_everything_comes_in_order_and_at_most_two_ahead() -> None:
    log: list[str] = []
    for number in each(numbers(50, log)):
        log.append(f"got {number}")
        assert sum(line.startswith("made") for line in log) - number <= 3
    assert [line for line in log if line.startswith("got")] == [f"got {number}" for number in range(50)]
    assert log.count("closed") == 1


@pytest.mark.parametrize("count", [0, 1, 2])
def test_short_streams_end(count: int) -> None:
    assert list(each(numbers(count, []))) == list(range(count))


def test_an_exception_comes_out_after_what_was_made_before() -> None:
    async def failing() -> AsyncIterator[int]:
        yield 1
        yield 2
        raise KeyError("three")

    stream = each(failing())
    assert [next(stream), next(stream)] == [1, 2]
    with pytest.raises(KeyError, match="three"):
        next(stream)


def test_a_cancellation_that_leaks_out_of_the_stream_is_no_deadlock() -> None:
    async def leaking() -> AsyncIterator[int]:
        yield 1
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        list(each(leaking()))


def test_leaving_early_closes_the_stream() -> None:
    log: list[str] = []
    for number in each(numbers(1_000, log, delay=0.001)):
        if number == 3:
            break
    assert log[-1] == "closed"
    assert len(log) < 10


def test_time_limits_and_task_groups_around_a_yield_hold() -> None:
    async def inside() -> AsyncIterator[int]:
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            tasks = [group.create_task(asyncio.sleep(0.001, number)) for number in range(5)]
            for task in tasks:
                yield await task

    assert list(each(inside())) == [0, 1, 2, 3, 4]


def test_a_task_group_whose_member_fails_ends_the_stream() -> None:
    async def broken() -> None:
        await asyncio.sleep(0.002)
        raise OSError("gone")

    async def inside() -> AsyncIterator[int]:
        async with asyncio.TaskGroup() as group:
            group.create_task(broken())
            number = 0
            while True:
                yield number
                number += 1
                await asyncio.sleep(0.001)

    with pytest.raises(ExceptionGroup) as raised:
        list(each(inside()))
    assert str(raised.value.exceptions[0]) == "gone"
