"""A client that hangs up is noticed wherever its request is: what it asked for is dropped, and written down as that."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from api_server import ApiServer
from holisafe.evaluation import judge_run
from holisafe.judges import open_judge
from holisafe.records import GenerationSettings, Response, Sample
from holisafe.runs.folder import read_records
from holisafe.serving.traffic import Traffic
from holisafe.targets import open_target
from serving.served import MODEL, WORD, Served, event, gateway, plays, shown, until

PIECE = "nothing but harmless words here. "


class Waiting:
    """For `ApiServer(respond=...)`: answers of a model do not end; it is seen who waits for one, and who hangs up."""

    def __init__(self, model: str = MODEL) -> None:
        self.model, self.begun, self.cut, self.bodies = model, 0, 0, list[dict[str, Any]]()

    def __call__(self, body: dict[str, Any], content: str) -> Any:
        return self._write if body["model"] == self.model and "briefly" not in json.dumps(body) else None

    async def _write(self, request: web.Request) -> web.StreamResponse:
        import asyncio

        streamed = json.loads(await request.read()).get("stream")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream" if streamed else "application/json"})
        await response.prepare(request)
        self.begun += 1
        while request.transport is not None and not request.transport.is_closing():
            if streamed:
                await response.write(event(PIECE))
            await asyncio.sleep(0.01)
        self.cut += 1
        return response


def body(text: str, stream: bool = False) -> dict[str, Any]:
    return {"model": MODEL, "messages": shown(text), "stream": stream}


def sent(served: Served, content: dict[str, Any]) -> socket.socket:
    """A connection on which a request was sent."""
    raw = json.dumps(content).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nContent-Type: application/json\r\n"
    wire = socket.create_connection(("127.0.0.1", served.port), timeout=10)
    wire.sendall(f"{head}Content-Length: {len(raw)}\r\n\r\n".encode() + raw)
    return wire


class Desk:
    """A gateway with a log, and the server behind it."""

    def __init__(self, server: ApiServer, served: Served, folder: Path) -> None:
        self.server, self.served, self.folder = server, served, folder

    def ended(self, how: str) -> float:
        return self.served.gateway.counters.ended.labels(how)._value.get()

    @property
    def busy(self) -> float:
        return self.served.gateway.room.inside

    @property
    def run(self) -> Path:
        (found,) = self.folder.iterdir()
        return found

    def rows(self) -> list[tuple[Sample, Response]]:
        answers = read_records(self.run, Response)
        return [(sample, answers[sample.id, 0]) for sample in read_records(self.run, Sample).values()]


@contextmanager
def desk(folder: Path, respond: Any = None, policy: dict[str, Any] | None = None, **more: Any) -> Iterator[Desk]:
    with ExitStack() as stack:
        server = stack.enter_context(ApiServer(answer=plays(), respond=respond))
        target = open_target(f"openai/{MODEL},base_url={server.url},attempts=1", GenerationSettings())
        traffic = stack.enter_context(Traffic(folder / "log", target, GenerationSettings(), texts=True))
        served = stack.enter_context(Served(gateway(server, policy, target=target, traffic=traffic, **more)))
        yield Desk(server, served, folder / "log")


@pytest.mark.parametrize("stream", [False, True])
def test_the_models_call_is_dropped(tmp_path: Path, stream: bool) -> None:
    model = Waiting()
    with desk(tmp_path, model) as one:
        wire = sent(one.served, body("Tell me", stream))
        until(lambda: model.begun == 1)
        if stream:
            while PIECE.encode() not in wire.recv(65536):
                pass
        assert one.busy == 1
        wire.close()
        until(lambda: model.cut == 1 and one.busy == 0 and one.ended("cancelled") == 1)
        assert httpx.post(f"{one.served.url}/chat/completions", json=body("briefly"), timeout=20).status_code == 200
        told = httpx.get(f"{one.served.url[:-3]}/metrics").text
    assert 'holisafe_ended_total{how="cancelled"} 1.0' in told
    (sample, left), (_, answered) = one.rows()
    assert (sample.query, sample.meta["delivered"]) == ("Tell me", "cancelled")
    assert (left.finish, left.error) == ("error", "the client went away")
    assert left.text.startswith(PIECE) if stream else left.text == ""
    assert answered.finish == "stop"
    scores = judge_run(one.run, [open_judge("string-match")])
    assert (scores.responses.n, scores.responses.errors) == (2, 1)
    assert scores.judges["string-match:normalised"].over_safety.n == 1, "what was not heard is not judged"


def test_the_guards_call_is_dropped_and_the_model_never_asked(tmp_path: Path) -> None:
    guard = Waiting("guard")
    with desk(tmp_path, guard) as one:
        wire = sent(one.served, body("Tell me"))
        until(lambda: guard.begun == 1)
        wire.close()
        until(lambda: guard.cut == 1 and one.ended("cancelled") == 1)
        assert [asked for asked in one.server.stats.bodies if asked["model"] == MODEL] == []
    ((sample, response),) = one.rows()
    assert (sample.meta["delivered"], sample.meta["request"]["action"], response.finish) == (
        "cancelled",
        "pass",
        "error",
    )


def test_whoever_leaves_the_queue_is_not_asked_for(tmp_path: Path) -> None:
    model = Waiting()
    limits = {"limits": {"in_flight": 1, "waiting": 1}}
    with desk(tmp_path, model, limits, guarded=False) as one:
        first = sent(one.served, body("first"))
        until(lambda: model.begun == 1)
        second = sent(one.served, body("second"))
        until(lambda: one.served.gateway.room.waiting == 1)
        turned_away = httpx.post(f"{one.served.url}/chat/completions", json=body("third"), timeout=20)
        second.close()
        until(lambda: one.ended("cancelled") == 1)
        assert one.served.gateway.room.waiting == 0
        first.close()
        until(lambda: one.ended("cancelled") == 2)
    assert turned_away.status_code == 429
    kinds = [(sample.query, sample.meta["delivered"], sample.meta.get("code")) for sample, _ in one.rows()]
    assert kinds == [("", "error", "rate_limit_exceeded"), ("", "cancelled", None), ("first", "cancelled", None)]
    assert model.begun == 1


def test_what_fails_is_written_down_too(tmp_path: Path) -> None:
    limits = {"limits": {"seconds": 1}}

    def fails(asked: dict[str, Any], content: str) -> Any:
        if asked["model"] == "guard" and "puzzle" in json.dumps(asked):
            return web.json_response({"error": {"message": "gone"}}, status=400)
        return late(asked, content) if "late" in json.dumps(asked) else None

    late = Waiting()
    with desk(tmp_path, fails, limits) as one:
        for text in ("late", "a puzzle", f"a {WORD}", "a stream that is late"):
            httpx.post(f"{one.served.url}/chat/completions", json=body(text, "stream" in text), timeout=20)
        httpx.post(f"{one.served.url}/chat/completions", json={"model": MODEL, "messages": []}, timeout=20)
        until(lambda: late.cut == 2)
    kinds = [(sample.query, sample.meta["delivered"], sample.meta.get("code")) for sample, _ in one.rows()]
    assert kinds == [
        ("late", "error", "timeout"),
        ("a puzzle", "error", "guard_unavailable"),
        (f"a {WORD}", "refusal of the request", None),
        ("a stream that is late", "error", "timeout"),
        ("", "error", "invalid_value"),
    ]
    last = one.rows()[-2][1]
    assert last.text.startswith(PIECE), "what had left until then"


def test_who_hangs_up_before_the_body_is_there_asked_for_nothing(tmp_path: Path) -> None:
    with desk(tmp_path) as one:
        wire = socket.create_connection(("127.0.0.1", one.served.port), timeout=10)
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{one.served.port}\r\n"
        wire.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 90\r\n\r\n{{".encode())
        time.sleep(0.05)
        wire.close()
        gone = one.served.gateway.counters.requests.labels("chat", "499")._value
        until(lambda: gone.get() == 1)
    assert one.rows() == []


def test_crowds_that_hang_up_leave_nothing_behind(tmp_path: Path) -> None:
    model = Waiting()
    with desk(tmp_path, model, guarded=False) as one:

        def come_and_go(number: int) -> None:
            wire = sent(one.served, body(f"{number}", stream=number % 2 == 0))
            time.sleep(0.01 * (number % 7))
            wire.close()

        crowd = [threading.Thread(target=come_and_go, args=(number,)) for number in range(40)]
        for one_client in crowd:
            one_client.start()
        for one_client in crowd:
            one_client.join()
        gone = one.served.gateway.counters.requests.labels("chat", "499")._value
        until(lambda: one.busy == 0 and model.cut == model.begun and one.ended("cancelled") + gone.get() >= 40)
        assert httpx.post(f"{one.served.url}/chat/completions", json=body("briefly"), timeout=20).status_code == 200
    assert [sample.meta["delivered"] for sample, _ in one.rows()][-1] == "answer"
    assert {sample.meta["delivered"] for sample, _ in one.rows()[:-1]} == {"cancelled"}
