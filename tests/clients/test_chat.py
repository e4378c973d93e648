"""The client against a server that fails on purpose: one record for each request, whatever happens."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from aiohttp import web
from PIL import Image

from api_server import KINDS, ApiServer, Faults, completion, content_of, digest_answer, problem
from holisafe.clients import chat
from holisafe.clients.body import body
from holisafe.clients.chat import FAILED_IN_A_ROW, ChatClient
from holisafe.clients.options import ChatOptions
from holisafe.clients.pictures import EncodedPictures
from holisafe.errors import InputError
from holisafe.records import Message, Picture, Request, Response, to_line

FINISH = {"stop": "stop", "length": "truncated", "content_filter": "filtered"}
SECRET = "sk-8f2a-not-to-be-seen"


def square(number: int) -> Image.Image:
    return Image.new("RGB", (4, 4), (number % 256, number // 256, 0))


def requests(count: int, pictures: int = 50) -> list[Request]:
    """As many requests, each with its own text, over a few pictures."""
    return [
        Request(
            sample_id=f"s{n}",
            messages=(Message("user", f"question {n}", (Picture(f"p{n % pictures}", partial(square, n % pictures)),)),),
        )
        for n in range(count)
    ]


def client(server: ApiServer, **options: Any) -> ChatClient:
    given = {"model": "fake", "base_url": server.url, "timeout": 30.0, **options}
    return ChatClient("openai/fake", ChatOptions(**given), backoff_seconds=0.002, pictures=EncodedPictures())


async def streamed(items: Iterable[Request]) -> AsyncIterator[Request]:
    for item in items:
        yield item


def ask(of: ChatClient, items: Iterable[Request]) -> dict[str, Response]:
    """Every response by its sample; none may come twice."""

    async def collect() -> list[Response]:
        return [response async for response in of.respond(streamed(items))]

    responses = asyncio.run(collect())
    assert max(Counter(response.key for response in responses).values()) == 1
    return {response.sample_id: response for response in responses}


def content(request: Request, of: ChatClient) -> str:
    """What the server calls this request."""
    sent, _ = asyncio.run(body(request, of.options, frozenset(), of.pictures))
    return content_of(json.loads(sent))


def test_two_thousand_pairs_through_every_fault() -> None:
    asked = requests(2000)
    faults = Faults(rate=0.35, seed=3, kinds=tuple(kind for kind in KINDS if kind != "slow"))
    with ApiServer(faults, delay=0.005) as server:
        asking = client(server, max_in_flight=64)
        found = ask(asking, asked)
        stats = server.stats
    assert set(found) == {request.sample_id for request in asked}
    assert set(stats.faults) == set(faults.kinds)
    assert sum(stats.faults.values()) > 700
    for request in asked:
        name, response = content(request, asking), found[request.sample_id]
        choice = digest_answer({}, name)
        assert response.text == choice["message"]["content"]
        assert response.finish == FINISH[choice["finish_reason"]]
        assert response.usage["input_tokens"] > 0
        needed = next(n for n in range(1, 9) if faults.of(name, n) is None)
        assert (stats.attempts[name], stats.completed[name]) == (needed, 1), "tried until it worked, and no more"
    assert stats.most_in_flight <= 64
    assert {response.finish for response in found.values()} == {"stop", "truncated", "filtered"}


def test_slow_answers_are_cut_off_and_asked_again() -> None:
    with ApiServer(Faults(rate=1.0, kinds=("slow",), most=1)) as server:
        found = ask(client(server, timeout=0.3), requests(10))
        assert server.stats.faults["slow"] == 10
    assert {response.finish for response in found.values()} <= {"stop", "truncated", "filtered"}


def test_after_its_attempts_a_call_is_an_error_and_says_how_many() -> None:
    with ApiServer(Faults(rate=1.0, kinds=("500",), most=100)) as server:
        found = ask(client(server, attempts=3), requests(4))
        assert set(server.stats.attempts.values()) == {3}
    assert {(r.finish, r.error) for r in found.values()} == {
        ("error", "500 Internal Server Error: The server had an error (after 3 attempts)")
    }


def test_what_cannot_be_retried_is_asked_once() -> None:
    with ApiServer(respond=lambda *_: problem(404, "The model `fake` does not exist")) as server:
        (response,) = ask(client(server), requests(1)).values()
        assert sum(server.stats.attempts.values()) == 1
    assert response.error == "404 Not Found: The model `fake` does not exist"


def test_when_nothing_works_the_rest_is_not_asked() -> None:
    with ApiServer(respond=lambda *_: problem(401, "Incorrect API key")) as server:
        asking = client(server, max_in_flight=4)
        found = ask(asking, requests(500))
        assert FAILED_IN_A_ROW <= sum(server.stats.attempts.values()) <= FAILED_IN_A_ROW + 4
        assert {response.finish for response in found.values()} == {"error"}
        assert any("in a row failed; the last: 401" in str(response.error) for response in found.values())
        server.respond = None
        assert "error" not in {response.finish for response in ask(asking, requests(3)).values()}, "a new beginning"


def test_requests_refused_for_what_they_hold_do_not_end_the_asking() -> None:
    with ApiServer(respond=lambda *_: problem(400, "The image is too small")) as server:
        found = ask(client(server), requests(FAILED_IN_A_ROW * 2))
        assert len(server.stats.attempts) == FAILED_IN_A_ROW * 2
    assert {response.error for response in found.values()} == {"400 Bad Request: The image is too small"}


def test_a_server_that_is_not_there_is_an_error() -> None:
    server = ApiServer(port=1)
    (response,) = ask(client(server, attempts=2), requests(1)).values()
    assert (response.finish, response.usage) == ("error", {})
    assert str(response.error).startswith("the connection failed: ")


def test_the_wait_that_a_server_asks_for_is_kept() -> None:
    told = iter([web.json_response({}, status=429, headers={"Retry-After": "0.5"})])
    with ApiServer(respond=lambda *_: next(told, None)) as server:
        ask(client(server, max_in_flight=1), requests(3))
        first, *later = server.stats.arrivals
    assert len(later) == 3
    assert later[0] - first >= 0.5


def test_a_crowded_server_gets_fewer_calls_at_once() -> None:
    """One that bears four calls at a time has to refuse few of them, once that is found out."""
    crowd: list[int] = []
    server = ApiServer(delay=0.01)

    def respond(*_: object) -> web.Response | None:
        crowd.append(server.stats.in_flight)
        return problem(429, "Too many") if server.stats.in_flight > 4 else None

    server.respond = respond
    with server:
        found = ask(client(server, max_in_flight=64, attempts=50), requests(300))
    assert {r.finish for r in found.values()} <= {"stop", "truncated", "filtered"}
    assert max(crowd[:64]) > 16
    late = crowd[len(crowd) // 2 :]
    assert sum(at_once > 4 for at_once in late) < len(late) / 3


def test_blocks_by_the_filter_are_neither_errors_nor_asked_again() -> None:
    block = {"code": "content_filter", "innererror": {"code": "ResponsibleAIPolicyViolation"}}
    with ApiServer(respond=lambda *_: problem(400, "The response was filtered", **block)) as server:
        found = ask(client(server), requests(FAILED_IN_A_ROW * 2))
        assert set(server.stats.attempts.values()) == {1}
    assert {(r.finish, r.text, r.usable, r.judgeable) for r in found.values()} == {("filtered", "", True, False)}


def test_parameters_that_a_server_does_not_take_are_found_out_once() -> None:
    asked = [replace(request, answer_schema={"type": "object"}) for request in requests(40)]
    with ApiServer(rejects=("max_tokens", "response_format", "seed")) as server:
        asking = client(server, max_in_flight=1, attempts=1)
        found = ask(asking, asked)
        assert sum(server.stats.attempts.values()) == 40 + 3
        last = server.stats.bodies[-1]
        assert last["max_completion_tokens"] == 512
        assert not {"max_tokens", "response_format", "seed"} & set(last)
        ask(asking, asked[:1])
        assert sum(server.stats.attempts.values()) == 40 + 3 + 1, "kept for later"
    assert "error" not in {response.finish for response in found.values()}


def test_many_calls_may_find_it_out_at_the_same_time() -> None:
    with ApiServer(rejects=("max_tokens", "seed"), delay=0.01) as server:
        found = ask(client(server, max_in_flight=16, attempts=1), requests(40))
    assert "error" not in {response.finish for response in found.values()}


def test_errors_wrapped_in_a_success() -> None:
    told = iter([{"error": {"code": 502, "message": "upstream"}}, {"error": {"code": 403, "message": "no"}}])
    with ApiServer(respond=lambda *_: web.json_response(next(told))) as server:
        (response,) = ask(client(server), requests(1)).values()
    assert response.error == "403 Forbidden: no"


def test_reasoning_usage_and_cost() -> None:
    said = {"message": {"content": "4", "reasoning_content": "2+2"}, "finish_reason": "stop"}
    counted = {**completion("fake", said, 1000, 200)}
    counted["usage"]["completion_tokens_details"] = {"reasoning_tokens": 150}
    with ApiServer(respond=lambda *_: web.json_response(counted)) as server:
        (response,) = ask(client(server, input_price=3.0, output_price=15.0), requests(1)).values()
    assert (response.text, response.reasoning) == ("4", "2+2")
    assert response.usage == {"input_tokens": 1000, "output_tokens": 200, "reasoning_tokens": 150}
    assert response.cost == pytest.approx(0.006)
    assert response.latency_seconds is not None


def test_a_picture_that_cannot_be_opened_costs_its_own_sample_only() -> None:
    def broken() -> Image.Image:
        raise InputError("broken image", where="x.png")

    asked = requests(50)
    for n in range(0, 50, 2):
        asked[n] = replace(asked[n], messages=(Message("user", "?", (Picture(f"b{n}", broken),)),))
    with ApiServer() as server:
        found = ask(client(server), asked)
        assert len(server.stats.attempts) == 25
    assert {found[f"s{n}"].error for n in range(0, 50, 2)} == {"x.png: broken image"}
    assert "error" not in {found[f"s{n}"].finish for n in range(1, 50, 2)}


def test_the_next_request_is_taken_only_when_a_slot_is_free() -> None:
    taken = returned = most = 0

    async def counted() -> AsyncIterator[Request]:
        nonlocal taken, most
        for request in requests(200):
            taken += 1
            most = max(most, taken - returned)
            yield request

    async def collect(asking: ChatClient) -> None:
        nonlocal returned
        async for _ in asking.respond(counted()):
            returned += 1

    with ApiServer(Faults(rate=0.3, kinds=("500",)), delay=0.002) as server:
        asyncio.run(collect(client(server, max_in_flight=8)))
        assert server.stats.most_in_flight <= 8
    assert (taken, most <= 9) == (200, True)


def test_answers_come_while_the_next_request_is_waited_for() -> None:
    """Somebody may want to see an answer before asking the next: nothing waits for the stream to go on."""

    async def converse(asking: ChatClient) -> list[str]:
        heard: asyncio.Queue[Response] = asyncio.Queue()

        async def one_by_one() -> AsyncIterator[Request]:
            for request in requests(3):
                yield request
                await heard.get()

        order = []
        async for response in asking.respond(one_by_one()):
            order.append(response.sample_id)
            heard.put_nowait(response)
        return order

    with ApiServer() as server:
        assert asyncio.run(asyncio.wait_for(converse(client(server)), 20)) == ["s0", "s1", "s2"]


def test_an_error_in_the_stream_of_requests_is_raised() -> None:
    async def failing() -> AsyncIterator[Request]:
        yield requests(1)[0]
        raise ZeroDivisionError

    async def collect(asking: ChatClient) -> None:
        async for _ in asking.respond(failing()):
            pass

    with ApiServer() as server, pytest.raises(ZeroDivisionError):
        asyncio.run(collect(client(server)))


@pytest.mark.parametrize("how", ["cancelled", "closed", "left"])
def test_nothing_is_left_open(how: str, caplog: pytest.LogCaptureFixture) -> None:
    async def leave(asking: ChatClient) -> None:
        responses = asking.respond(streamed(requests(100)))
        async for _ in responses:
            break
        if how == "closed":
            await responses.aclose()  # type: ignore[attr-defined]

    async def cancel(asking: ChatClient) -> None:
        async def collect() -> None:
            async for _ in asking.respond(streamed(requests(100))):
                pass

        task = asyncio.create_task(collect())
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with ApiServer(delay=0.1) as server, warnings.catch_warnings(), caplog.at_level(logging.WARNING, logger="asyncio"):
        warnings.simplefilter("error")
        asyncio.run((cancel if how == "cancelled" else leave)(client(server, max_in_flight=8)))
        gc.collect()
    assert caplog.text == ""


def test_an_answer_that_broke_off_is_asked_again_and_then_an_error_with_its_reason() -> None:
    whole = completion("fake", {"message": {"content": "yes"}, "finish_reason": "stop"}, 1, 1)
    broken = {"choices": [{"finish_reason": "abort", "message": {"content": "Here is ho"}}]}
    blamed = {"choices": [{"finish_reason": "error", "error": {"code": 502, "message": "overloaded"}, "message": {}}]}
    told = iter([broken, blamed, whole])
    with ApiServer(respond=lambda *_: web.json_response(next(told, blamed))) as server:
        (response,) = ask(client(server), requests(1)).values()
        assert (response.text, response.finish) == ("yes", "stop")
        (response,) = ask(client(server, attempts=2), requests(1)).values()
    assert (response.text, response.finish) == ("", "error")
    assert response.error == (
        "the answer broke off (finish_reason error): 502 Bad Gateway: overloaded (after 2 attempts)"
    )


def test_an_unknown_word_for_the_end_is_kept() -> None:
    said = completion("fake", {"message": {"content": "yes"}, "finish_reason": "banana"}, 1, 1)
    with ApiServer(respond=lambda *_: web.json_response(said)) as server:
        (response,) = ask(client(server), requests(1)).values()
    assert (response.text, response.finish, response.finish_reason) == ("yes", "stop", "banana")


@pytest.mark.parametrize(
    "counts", [{"prompt_tokens": -(10**12), "completion_tokens": -5}, {"prompt_tokens": 10**400}, {}]
)
def test_counts_that_are_none_do_not_make_answers_free(counts: dict[str, Any]) -> None:
    said = {**completion("fake", {"message": {"content": "x" * 4000}, "finish_reason": "stop"}, 1, 1), "usage": counts}
    with ApiServer(respond=lambda *_: web.json_response(said)) as server:
        (response,) = ask(client(server, input_price=1.0, output_price=1.0), requests(1)).values()
    assert response.usage == {}
    assert response.cost is not None
    assert 1000e-6 < response.cost < 1500e-6, "4,000 characters and a small picture"


def test_a_fault_of_ours_drops_nothing_that_was_finished_or_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong in one call: the others' answers are given back first, and nothing new is asked."""
    read = chat.read_answer

    def fail(body: dict[str, Any], own: Any) -> Any:
        if "question 5" in body["choices"][0]["message"]["content"]:
            raise ZeroDivisionError
        return read(body, own)

    monkeypatch.setattr(chat, "read_answer", fail)
    found: list[str] = []

    async def collect(asking: ChatClient) -> None:
        async for response in asking.respond(streamed(requests(500))):
            found.append(response.sample_id)  # noqa: PERF401  (what came before the exception counts)

    def echo(asked: dict[str, Any], _: str) -> dict[str, Any]:
        said = asked["messages"][0]["content"][-1]["text"]
        return {"message": {"content": said if said == "question 5" else "ok"}, "finish_reason": "stop"}

    with ApiServer(answer=echo, delay=0.02) as server:
        with pytest.raises(ZeroDivisionError):
            asyncio.run(collect(client(server, max_in_flight=16)))
        assert len(found) == sum(server.stats.completed.values()) - 1
        assert len(found) < 100


def test_a_wrong_address_is_told_soon_and_a_server_that_went_away_is_waited_for() -> None:
    server = ApiServer(port=1)
    found = ask(client(server), requests(8))
    assert {str(response.error).rpartition(" (")[2] for response in found.values()} == {"after 3 attempts)"}


def test_a_key_in_an_answer_is_taken_out_before_anything_is_cut() -> None:
    long = "x" * 290 + SECRET
    said = {"message": {"content": SECRET, "reasoning": SECRET}, "finish_reason": SECRET}
    told = iter([problem(400, long), web.Response(status=400, text=long), problem(400, "y", code=SECRET)])
    last = web.json_response(completion("fake", said, 1, 1))
    with ApiServer(respond=lambda *_: next(told, last)) as server:
        for _ in range(4):
            (response,) = ask(client(server, api_key=SECRET), requests(1)).values()
            assert SECRET[:6] not in to_line(response)
    assert (response.text, response.reasoning, response.finish_reason) == ("[key]", "[key]", "[key]")


def test_the_key_goes_into_the_header_and_nowhere_else() -> None:
    def echo(*_: object) -> web.Response:
        return problem(400, f"Bad request with Authorization: Bearer {SECRET}")

    with ApiServer(respond=echo) as server:
        (response,) = ask(client(server, api_key=SECRET), requests(1)).values()
        assert server.stats.headers[0]["Authorization"] == f"Bearer {SECRET}"
        assert SECRET not in json.dumps(server.stats.bodies)
    assert response.error == "400 Bad Request: Bad request with Authorization: Bearer [key]"
