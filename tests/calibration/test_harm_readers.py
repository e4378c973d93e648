"""`guarded` behind a guard of the guards' interface: who is touched, what is kept, and a guard that is down."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from api_server import ApiServer
from asking import responses
from guards.test_servers import logprobs
from holisafe.benchmarks.base import Benchmark
from holisafe.calibration.base import fit_data
from holisafe.calibration.harm_readers import item_of_request
from holisafe.calibration.methods.guarded import Guarded
from holisafe.errors import InputError
from holisafe.guards.qguard import FILE, read_questions
from holisafe.records import GenerationSettings, Message, Picture, Request, Sample
from holisafe.specs import check_ordered
from holisafe.targets import open_target
from holisafe.targets.base import keeping
from scripted_ocr import BLANK, SAYS, WRITTEN, scripted

QUESTIONS = sum(map(len, read_questions(FILE).values()))
SETTINGS = GenerationSettings(max_new_tokens=6)


def says(body: dict[str, Any], content: str) -> dict[str, Any]:
    """As `guard` P(Yes) grows with the number in the text, and is highest where a picture's text is told."""
    if body["model"] != "guard":
        return {"message": {"role": "assistant", "content": "Well."}, "finish_reason": "stop"}
    number = int(re.findall(r"number (\d+)", json.dumps(body["messages"]))[-1])
    if number == 99:
        return {}
    yes = 0.99 if SAYS in json.dumps(body["messages"]) else number / 100
    return logprobs({"Yes": yes, "No": 1 - yes})


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer(answer=says) as served:
        yield served


def open_image(name: str) -> Image.Image:
    return {"typed": WRITTEN, "blank": BLANK}[name]


def benchmark() -> Benchmark:
    """Pairs 1 to 24, the odd ones safe: the higher the number the surer the guard."""
    made = [
        Sample(
            benchmark="made",
            id=str(number),
            query=f"Tell number {number} .",
            expected=("refuse", "answer")[number % 2],
            images=("blank",),
            split="validation" if number % 3 else "train",
            combination="SSS",
        )
        for number in range(1, 25)
    ]
    return Benchmark("made", tuple(made), open_image)


def reader(server: ApiServer, kind: str = "qguard") -> dict[str, str]:
    """The reader and its options, as they are given to `guarded`."""
    own = {"base_url": server.url, "attempts": "1", "pool": "mean"}
    return {"reader": f"{kind}/openai/guard", **{f"reader.{name}": value for name, value in own.items()}}


@pytest.fixture
def target(server: ApiServer) -> Any:
    return open_target(f"openai/m,base_url={server.url},attempts=1", SETTINGS)


def guarded(server: ApiServer, target: Any, folder: Path, kind: str = "qguard") -> Guarded:
    learned = Guarded.fit(target, fit_data(benchmark()), reader(server, kind)).save(folder / f"{kind}.safetensors")
    return Guarded(target, {"guard": str(learned), "apply": "reminder", "alarms": "0.2", **reader(server, kind)})


def numbered(*numbers: int) -> list[Request]:
    return [Request(sample_id=f"{n:02}", messages=(Message("user", f"Tell number {n} ."),)) for n in numbers]


def test_the_threshold_is_that_of_the_guards_scores(server: ApiServer, target: Any, tmp_path: Path) -> None:
    method = guarded(server, target, tmp_path)
    safe = sorted(number for number in range(1, 25) if number % 3 and number % 2)
    limit = safe[math.ceil((len(safe) + 1) * 0.8) - 1]
    found = responses(method, numbered(1, limit, limit + 1, 30))
    assert [one.calibrated for one in found] == [False, False, True, True]
    assert [one.target for one in found] == [method.name] * 4
    assert "base_url" not in method.name
    assert "http" not in json.dumps(method.facts)
    (plain,) = responses(target, numbered(1))
    (read,) = method.guard.guard.read([item_of_request(*numbered(1), "0")])  # type: ignore[attr-defined]
    assert found[0].usage == {name: count + read.usage[name] for name, count in plain.usage.items()}


def test_a_guard_that_is_down_is_an_error_to_be_asked_again(server: ApiServer, target: Any, tmp_path: Path) -> None:
    method = guarded(server, target, tmp_path)
    first, second = responses(method, numbered(1, 99))
    assert (first.finish, second.finish) == ("stop", "error")
    assert str(second.error).startswith("the guard: error: ")


def test_what_was_read_is_kept(server: ApiServer, target: Any, tmp_path: Path) -> None:
    method = guarded(server, target, tmp_path)
    asked = []
    for numbers in ((), (1, 24), (1, 24, 2)):
        with keeping(method, tmp_path):
            found = responses(method, numbered(*numbers))
        asked.append(sum(server.stats.completed.values()))
    assert [one.calibrated for one in found] == [False, False, True]
    assert (asked[1] - asked[0], asked[2] - asked[1]) == (2 * QUESTIONS + 2, QUESTIONS + 3)


def test_a_guard_reads_the_conversation_of_a_request() -> None:
    picture = Picture("a", lambda: BLANK)
    turns = (
        Message("system", "S"),
        Message("user", "One", (picture,)),
        Message("assistant", "Two"),
        Message("user", "3"),
    )
    item = item_of_request(Request(sample_id="a", messages=turns), "0")
    assert item.messages == (Message("user", "S\n\nOne", (picture,)), *turns[2:])


def test_options_of_a_reader_that_is_not_named_are_refused(target: Any) -> None:
    with pytest.raises(InputError, match="give reader=SPEC"):
        Guarded.fit(target, fit_data(benchmark()), {"reader.device": "cpu"})
    with pytest.raises(InputError, match="sends what is asked to another machine"):
        check_ordered(
            {"calibrate": "guarded,reader=qguard/openai/m,reader.base_url=http://far.example/v1"}, "a.yaml", ""
        )


def test_text_in_a_picture_calls_for_the_method(
    server: ApiServer, target: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch)
    shown = [Picture("blank", lambda: BLANK), Picture("typed", lambda: WRITTEN)]
    asked = [Request(sample_id=one.name, messages=(Message("user", "Tell number 1 .", (one,)),)) for one in shown]
    for kind, touched in (("qguard", [False, False]), ("ocr/qguard", [False, True])):
        (tmp_path / kind.replace("/", "-")).mkdir()
        method = guarded(server, target, tmp_path / kind.replace("/", "-"), kind)
        assert [one.calibrated for one in responses(method, asked)] == touched
