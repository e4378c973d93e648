"""`evaluate` where an event loop is running already, as in a notebook."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from holisafe.evaluation import evaluate, judge_run
from holisafe.judges import open_judge
from holisafe.records import Response
from holisafe.runs.folder import read_records
from holisafe.stepping import each, event_loop
from judges.scripted import ScriptedTarget, judge_of
from stored_run import contents
from toy_plugin import ToyTarget, load_benchmark

TEST = load_benchmark(None).only("test")


def judges() -> list[Any]:
    return [open_judge("string-match:normalised"), judge_of(ScriptedTarget(lambda request, before: '{"a": 1}'))]


async def measured(out: Path, **options: Any) -> None:
    await asyncio.sleep(0)
    evaluate(TEST, ToyTarget("toy/a", delay=0.001), judges(), out, **options)


def test_it_measures_what_it_measures_elsewhere(tmp_path: Path) -> None:
    asyncio.run(measured(tmp_path / "inside"))
    evaluate(TEST, ToyTarget("toy/a", delay=0.001), judges(), tmp_path / "outside")
    assert contents(tmp_path / "inside") == contents(tmp_path / "outside")

    async def judged() -> None:
        judge_run(tmp_path / "inside", judges(), rejudge_invalid=True)

    asyncio.run(judged())


@pytest.mark.parametrize("stage", ["responses", "llm/test"])
@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupt_stops_it_and_the_same_call_goes_on(tmp_path: Path, stage: str, times: int) -> None:
    def interrupt(what: str, done: int, total: int) -> None:
        if what == stage and done == 20:
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)

    async def interrupted() -> None:  # the loop's own handler, which a notebook has not got, is set aside
        signal.signal(signal.SIGINT, signal.default_int_handler)
        await measured(tmp_path / "run", progress=interrupt)

    with pytest.raises(KeyboardInterrupt, match="the same command again goes on"):
        asyncio.run(interrupted())
    kept = len(read_records(tmp_path / "run", Response))
    assert kept >= 20
    asyncio.run(measured(tmp_path / "run"))
    evaluate(TEST, ToyTarget("toy/a", delay=0.001), judges(), tmp_path / "calm")
    assert contents(tmp_path / "run") == contents(tmp_path / "calm")


def test_streams_and_their_exceptions_come_through() -> None:
    async def numbers() -> Any:
        for number in range(3):
            await asyncio.sleep(0)
            yield number
        raise KeyError("three")

    async def inside() -> list[int]:
        stream = each(numbers())
        found = [next(stream), next(stream), next(stream)]
        with pytest.raises(KeyError, match="three"):
            next(stream)
        return found

    assert asyncio.run(inside()) == [0, 1, 2]


def test_leaving_cancels_what_is_under_way() -> None:
    ended: list[str] = []

    async def endless() -> Any:
        try:
            while True:
                yield 1
                await asyncio.sleep(0.001)
        finally:
            ended.append("closed")

    async def inside() -> None:
        for _ in each(endless()):
            break
        with event_loop() as finished:
            assert await_twice(finished) == (1, 2)

    asyncio.run(inside())
    assert ended == ["closed"]


def await_twice(finished: Any) -> tuple[int, int]:
    async def said(number: int) -> int:
        await asyncio.sleep(0)
        return number

    return finished(said(1)), finished(said(2))
