"""An answer that is heard as it comes, against the same answer in one piece."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web

from api_server import ApiServer, Faults, digest_answer
from clients.test_chat import SECRET, ask, client, requests
from holisafe.records import Response

WORDS = ["Grüß ", "dich, ", "你好 ", "𝐤😀", " and", " goodbye."]


def lines(words: list[str]) -> list[bytes]:
    deltas = [{"role": "assistant", "content": None}, {"reasoning_content": "Hm."}, *({"content": w} for w in words)]
    events = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    events.append({"choices": [{"index": 1, "delta": {"content": "another choice"}, "finish_reason": None}]})
    events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]})
    events.append({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}})
    return [b": hello\n\n", *(f"data: {json.dumps(e, ensure_ascii=False)}\r\n\r\n".encode() for e in events)]


def writing(pieces: list[bytes], ends: bool = True) -> Any:
    async def write(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
            await asyncio.sleep(0)
        if ends:
            await response.write(b"data: [DONE]\n\n")
        elif request.transport is not None:
            request.transport.abort()
        return response

    return write


def hear(server: ApiServer, **options: Any) -> tuple[list[str], Response]:
    heard: list[str] = []
    response = asyncio.run(client(server, **options).say(requests(1)[0], heard.append))
    return heard, response


@pytest.mark.parametrize("size", [1, 3, 50, 10_000])
def test_pieces_are_heard_whole_however_the_bytes_are_cut(size: int) -> None:
    content = b"".join(lines(WORDS))
    pieces = [content[at : at + size] for at in range(0, len(content), size)]
    with ApiServer(respond=lambda body, _: writing(pieces)) as server:
        heard, response = hear(server)
    assert heard == WORDS
    assert (response.text, response.reasoning, response.finish) == ("".join(WORDS), "Hm.", "truncated")
    assert response.usage == {"input_tokens": 7, "output_tokens": 3}
    assert server.stats.bodies[0]["stream"] is True


def test_a_server_that_does_not_stream_is_heard_in_one_piece() -> None:
    with ApiServer() as server:
        heard, response = hear(server)
        (other,) = ask(client(server), requests(1)).values()
    assert heard == [response.text]
    assert (response.text, response.finish) == (other.text, other.finish)


def test_what_failed_before_anything_was_heard_is_asked_again() -> None:
    with ApiServer(Faults(rate=1.0, kinds=("500", "429", "reset"), most=2), answer=digest_answer) as server:
        heard, response = hear(server)
    assert sum(server.stats.attempts.values()) == 3
    assert heard == [response.text] != [""]


def test_what_broke_off_is_an_error_and_not_asked_again() -> None:
    with ApiServer(respond=lambda body, _: writing(lines(WORDS)[:4], ends=False)) as server:
        heard, response = hear(server)
    assert heard == WORDS[:1]
    assert response.finish == "error"
    assert "broke off after" in str(response.error)
    assert sum(server.stats.attempts.values()) == 1


def test_an_answer_without_end_is_cut_off() -> None:
    endless = [f"data: {json.dumps({'choices': [{'index': 0, 'delta': {'content': 'x' * 900}}]})}\n\n".encode()] * 50
    with ApiServer(respond=lambda body, _: writing(endless)) as server:
        heard, response = hear(server, max_bytes=10_000)
    assert "longer than 10,000 bytes" in str(response.error)
    assert len(heard) < 20


def test_connections_that_are_kept_open_are_used_again() -> None:
    ports: set[Any] = set()

    def respond(body: Any, _: str) -> Any:
        async def write(request: web.Request) -> web.StreamResponse:
            assert request.transport is not None
            ports.add(request.transport.get_extra_info("peername"))
            return web.json_response({"choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}]})

        return write

    async def twice(kept: bool) -> None:
        of = client(server, api_key=SECRET)

        async def each() -> None:
            for request in requests(3):
                await of.say(request, lambda piece: None)

        if kept:
            async with of.kept_open():
                await each()
        else:
            await each()

    with ApiServer(respond=respond) as server:
        asyncio.run(twice(kept=True))
        assert len(ports) == 1
        asyncio.run(twice(kept=False))
        assert len(ports) == 4
