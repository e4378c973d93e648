"""Servers that send elsewhere, too much, or compressed: a real one on this machine, and bounded memory."""

from __future__ import annotations

import asyncio
import gzip
import json
import resource
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from api_server import ApiServer, completion
from clients.test_chat import ask, client, requests

DONE = json.dumps(completion("fake", {"message": {"content": "yes"}, "finish_reason": "stop"}, 1, 1)).encode()
MB = 1_000_000


def sending(body: bytes, **headers: str) -> Callable[..., web.Response]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda *_: web.Response(body=body, headers={"Content-Type": "application/json", **named})


def compressed(data: bytes, wbits: int) -> bytes:
    packing = zlib.compressobj(wbits=wbits)
    return packing.compress(data) + packing.flush()


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (DONE, "identity"),
        (gzip.compress(DONE), "gzip"),
        (gzip.compress(DONE), "X-GZIP"),
        (compressed(DONE, 15), "deflate"),
        (compressed(DONE, -15), "deflate"),
    ],
)
def test_compressed_answers_are_read(body: bytes, encoding: str) -> None:
    with ApiServer(respond=sending(body, Content_Encoding=encoding)) as server:
        (response,) = ask(client(server), requests(1)).values()
        assert server.stats.headers[0]["Accept-Encoding"] == "gzip, deflate"
    assert (response.text, response.error) == ("yes", None)


def bomb(wbits: int, megabytes: int = 500) -> bytes:
    """So many megabytes of zeros, packed piece by piece: the test itself must not need them."""
    packing = zlib.compressobj(wbits=wbits)
    return b"".join([*(packing.compress(b"0" * MB) for _ in range(megabytes)), packing.flush()])


@pytest.mark.parametrize(
    ("body", "encoding", "problem"),
    [
        (bomb(31), "gzip", "longer than 8,000,000 bytes (option max_bytes takes more)"),
        (bomb(15), "deflate", "longer than 8,000,000 bytes"),
        (gzip.compress(bomb(31)), "gzip, gzip", "compressed as 'gzip, gzip', which was not asked for"),
        (b"\x28\xb5\x2f\xfd" * 100, "zstd", "compressed as 'zstd', which was not asked for"),
        (b"0" * 100, "br", "compressed as 'br'"),
        (b" " * 9 * MB, "identity", "longer than 8,000,000 bytes"),
        (gzip.compress(DONE)[:-9], "gzip", "was cut short"),
        (b"not gzip at all", "gzip", "compression is broken"),
    ],
)
def test_a_bomb_is_one_error_and_takes_no_memory(body: bytes, encoding: str, problem: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with ApiServer(respond=sending(body, Content_Encoding=encoding)) as server:
        (response,) = ask(client(server, attempts=2), requests(1)).values()
        tried = sum(server.stats.attempts.values())
    assert response.finish == "error"
    assert problem in str(response.error)
    assert tried == (2 if "after 2" in str(response.error) else 1)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "kilobytes"


def endless(status: int) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def write(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=status, headers={"Content-Type": "application/json"})
        await response.prepare(request)
        while request.transport is not None and not request.transport.is_closing():
            await response.write(b" " * 65536)
            await asyncio.sleep(0)
        return response

    return write


@pytest.mark.parametrize("status", [200, 400, 500])
def test_an_endless_answer_ends(status: int) -> None:
    with ApiServer(respond=lambda *_: endless(status)) as server:
        (response,) = ask(client(server), requests(1)).values()
    assert response.error == "the answer is longer than 8,000,000 bytes (option max_bytes takes more)"


def test_the_limit_can_be_raised_and_lowered() -> None:
    with ApiServer(respond=sending(DONE + b" " * 9 * MB)) as server:
        (response,) = ask(client(server, max_bytes=10 * MB), requests(1)).values()
        assert response.text == "yes"
        (response,) = ask(client(server, max_bytes=100), requests(1)).values()
        assert "longer than 100 bytes" in str(response.error)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_nothing_is_asked_of_another_origin(status: int) -> None:
    with ApiServer() as other:
        there = {"Location": f"{other.url}/chat/completions?secret=1"}
        with ApiServer(respond=lambda *_: web.Response(status=status, headers=there)) as server:
            (response,) = ask(client(server, api_key="sk-8f2a"), requests(1)).values()
        assert not other.stats.attempts
    assert response.finish == "error"
    assert f"{other.url}/chat/completions" in str(response.error)
    assert "secret" not in str(response.error)


@pytest.mark.parametrize(
    "place", ["", "//", "http://[", "http://a:b", "javascript:1", "\ud800", "http://127.0.0.1:1/x"]
)
def test_a_redirect_to_nowhere_is_an_error(place: str) -> None:
    headers = {"Location": place.encode("utf-8", "replace").decode()}
    with ApiServer(respond=lambda *_: web.Response(status=307, headers=headers)) as server:
        (response,) = ask(client(server), requests(1)).values()
    assert response.finish == "error"


def test_a_redirect_to_the_same_origin_is_followed_but_not_for_ever() -> None:
    def respond(*_: Any) -> web.Response | None:
        calls.append(1)
        if len(calls) == 2:
            return None
        return web.Response(status=308, headers={"Location": "/v1/chat/completions?moved=1"})

    calls: list[int] = []
    with ApiServer(respond=respond) as server:
        (response,) = ask(client(server), requests(1)).values()
        assert response.finish != "error"
        calls.extend([1, 1])
        (response,) = ask(client(server), requests(1)).values()
        assert response.error == "the server redirected 3 times in a row"
