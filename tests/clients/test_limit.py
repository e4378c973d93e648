"""The adaptive limit, on a clock of its own: cuts, recovers, holds everyone back, loses no slot."""

from __future__ import annotations

import asyncio
import random

import pytest

from clients.virtual_clock import run
from holisafe.clients.limit import Limit


async def hold(limit: Limit, seconds: float, log: list[float] | None = None) -> None:
    async with limit:
        assert limit.in_use <= limit.most
        if log is not None:
            log.append(asyncio.get_running_loop().time())
        await asyncio.sleep(seconds)


def test_never_more_at_once_than_allowed_and_first_come_first_served() -> None:
    async def main() -> list[float]:
        began: list[float] = []
        limit = Limit(3)
        await asyncio.gather(*(hold(limit, 1.0, began) for _ in range(10)))
        assert limit.in_use == 0
        return began

    assert run(main()) == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]


def test_a_wait_holds_back_every_call_and_calls_of_one_wave_cut_once() -> None:
    async def main() -> None:
        loop, limit, began = asyncio.get_running_loop(), Limit(8), []
        await asyncio.sleep(1.0)
        for _ in range(8):  # the whole wave, begun at 1, is told so at 2
            loop.call_at(2.0, limit.too_many, 1.0, 5.0)
        await asyncio.sleep(1.5)
        assert limit.allowed == 4
        await asyncio.gather(*(hold(limit, 1.0, began) for _ in range(8)))
        assert began == [7, 7, 7, 7, 8, 8, 8, 8]
        limit.too_many(6.5, None)  # begun after the cut: counts, and without a wait holds nobody back
        assert limit.allowed == 2
        limit.too_many(6.5, 0.5)
        assert limit.allowed == 2
        for _ in range(20):
            limit.too_many(loop.time(), None)
            await asyncio.sleep(0.1)
        assert limit.allowed == 1

    run(main())


def test_a_few_refusals_at_random_are_borne_where_that_is_allowed() -> None:
    async def main() -> None:
        loop, limit = asyncio.get_running_loop(), Limit(64, bears=0.1)
        for number in range(1000):
            await asyncio.sleep(0.01)
            if number % 50 == 0:
                limit.too_many(loop.time(), None)
            else:
                limit.went_well()
        assert limit.allowed == 64
        for _ in range(8):
            await asyncio.sleep(0.01)
            limit.too_many(loop.time(), None)
        assert limit.allowed < 8, "a crowded server is still noticed"

    run(main())


def test_it_recovers_by_one_a_round_up_to_the_most() -> None:
    async def main() -> list[float]:
        limit, allowed = Limit(6), []
        limit.too_many(0.0, None)
        for _ in range(5):
            for _ in range(int(limit.allowed)):
                limit.went_well()
            allowed.append(limit.allowed)
        return allowed

    first, second, third, *rest = run(main())
    assert 3.8 < first < 4
    assert 4.5 < second < 5
    assert 5.3 < third < 6
    assert rest == [6, 6]


@pytest.mark.parametrize("seed", range(5))
def test_no_slot_is_lost_to_cancelled_calls(seed: int) -> None:
    rng = random.Random(seed)

    async def main() -> None:
        limit = Limit(4)
        tasks = [asyncio.create_task(hold(limit, rng.random())) for _ in range(60)]
        for _ in range(40):
            await asyncio.sleep(rng.random() / 10)
            rng.choice(tasks).cancel()
            if rng.random() < 0.2:
                limit.too_many(asyncio.get_running_loop().time(), rng.random())
            limit.went_well()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert limit.in_use == 0

    run(main())


def test_a_slot_given_to_a_call_cancelled_in_the_same_moment_goes_on_to_the_next() -> None:
    async def main() -> None:
        limit, began = Limit(1), []
        async with limit:
            first, second = (asyncio.create_task(hold(limit, 1.0, began)) for _ in range(2))
            await asyncio.sleep(0)
        first.cancel()  # to which the slot has just been given
        await asyncio.wait_for(second, 10)
        assert (limit.in_use, len(began)) == (0, 1)

    run(main())
