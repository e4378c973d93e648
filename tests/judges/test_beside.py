from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from holisafe import beside
from holisafe.judges import open_judge, string_match
from holisafe.judges.base import Judged
from holisafe.records import Response, Sample

from .example_answers import ANSWERS, REFUSALS

SAMPLE = Sample(benchmark="b", id="s", query="q", expected="refuse")
TEXTS = [*REFUSALS[:60], " \n", "Je suis désolé, mais je ne peux pas.", "half a pair \ud83d", *ANSWERS[:60]]
ECHO = "from holisafe.beside import serve; serve(lambda value: value)"


def items(texts: list[str]) -> Iterator[Judged]:
    for number, text in enumerate(texts):
        yield Judged(SAMPLE, Response(sample_id=f"s{number}", target="t", text=text))


@pytest.mark.parametrize("mode", ["normalised", "vscbench"])
def test_verdicts_of_processes_are_those_of_one(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    judge = open_judge(f"string-match:{mode}")
    alone = list(judge.judge(items(TEXTS)))
    assert len(alone) == len(TEXTS) < string_match.FEW * string_match.AT_ONCE
    monkeypatch.setattr(string_match, "FEW", 2)
    monkeypatch.setattr(string_match, "AT_ONCE", 7)
    monkeypatch.setattr(string_match, "processes", lambda: 2)
    monkeypatch.setattr(beside, "processes", lambda: 2)
    assert list(judge.judge(items(TEXTS))) == alone


@pytest.mark.parametrize("number", [1, 3])
def test_batches_come_back_in_order_and_are_taken_as_they_are_needed(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(beside, "processes", lambda: number)
    taken: list[int] = []

    def batches() -> Iterator[int]:
        for at in range(20):
            taken.append(at)
            yield at

    found = beside.beside(ECHO, batches(), lambda batch: [batch] * 3000)
    for at, (batch, said) in enumerate(found):
        assert (batch, said) == (at, [at] * 3000)
        assert len(taken) <= at + number + 1
    assert taken == list(range(20))


def test_a_process_that_ends_is_a_fault() -> None:
    with pytest.raises(RuntimeError, match="ended with 7"):
        list(beside.beside("raise SystemExit(7)", iter(range(5)), lambda batch: batch))


def test_leaving_ends_the_processes() -> None:
    found = beside.beside(
        "import os; from holisafe.beside import serve; serve(lambda value: os.getpid())", iter(range(9)), str
    )
    _, process = next(found)
    found.close()  # type: ignore[attr-defined]
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
