"""curl, Inspect AI and our own client through the gateway."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from api_server import ApiServer
from asking import responses
from holisafe.records import GenerationSettings, Message, Picture, Request
from holisafe.targets import open_target
from serving.served import MODEL, WORD, Served, data_url, gateway, plays, png, shown, streaming, until
from serving.test_leaving import Waiting


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    pieces = [f"word {number} " for number in range(60)]
    with ApiServer(answer=plays(), respond=streaming(pieces)) as server, Served(gateway(server)) as running:
        yield running


def curl(*arguments: str) -> str:
    if shutil.which("curl") is None:
        pytest.skip("no curl here")
    done = subprocess.run(["curl", "-sS", "--max-time", "20", *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def posted(served: Served, path: str, body: object, *more: str) -> str:
    kind = ("-H", "Content-Type: application/json")
    return curl(*more, *kind, "-d", json.dumps(body), f"{served.url}/{path}")


def test_curl_asks_streams_and_moderates(served: Served) -> None:
    body = {"model": MODEL, "messages": shown("Hi", data_url(png()))}
    said = json.loads(posted(served, "chat/completions", body))["choices"][0]["message"]["content"]
    assert said == "You said: Hi (1 pictures)"
    lines = posted(served, "chat/completions", {**body, "stream": True}, "-N").split("\n\n")
    assert lines[-2] == "data: [DONE]"
    assert len(lines) > 5
    flagged = json.loads(posted(served, "moderations", {"input": WORD}))["results"][0]
    assert flagged["flagged"]
    assert flagged["category_applied_input_types"]["S1"] == ["text"]
    assert json.loads(posted(served, "chat/completions", {"model": MODEL}))["error"]["param"] == "messages"
    assert json.loads(curl(f"{served.url[:-3]}/health")) == {"status": "ok"}
    told = curl(f"{served.url[:-3]}/metrics")
    assert 'holisafe_decisions_total{action="pass",stage="request"}' in told
    assert WORD not in told


def test_our_own_client_reads_answers_and_blocks(served: Served) -> None:
    target = open_target(f"openai/{MODEL},base_url={served.url}", GenerationSettings())
    picture = Picture("red", lambda: Image.new("RGB", (8, 8), "red"))
    asked = [
        Request(sample_id=text, messages=(Message("user", text, (picture,)),), settings=GenerationSettings())
        for text in ("Hello", f"Please {WORD}")
    ]
    said, blocked = responses(target, asked)
    assert (said.text, said.finish) == ("You said: Hello (1 pictures)", "stop")
    assert blocked.finish == "filtered"


@pytest.fixture
def crowded() -> Iterator[tuple[Served, Waiting]]:
    """A gateway with one place, whose model never answers."""
    waiting = Waiting()
    limits = {"limits": {"in_flight": 1, "waiting": 0}}
    with (
        ApiServer(answer=plays(), respond=waiting) as server,
        Served(gateway(server, limits, guarded=False)) as running,
    ):
        yield running, waiting


def has_left(served: Served, waiting: Waiting, times: int) -> None:
    """Wait until so many clients went away, and their calls of the model with them."""
    ended = served.gateway.counters.ended.labels("cancelled")._value
    until(lambda: ended.get() == times and waiting.cut == waiting.begun == times)


def test_curl_is_told_to_wait_and_may_go(crowded: tuple[Served, Waiting]) -> None:
    served, waiting = crowded
    body = json.dumps({"model": MODEL, "messages": shown("Hi")})
    ask = ["curl", "-sS", "-i", "-H", "Content-Type: application/json", "-d", body, f"{served.url}/chat/completions"]
    if shutil.which("curl") is None:
        pytest.skip("no curl here")
    with subprocess.Popen(ask, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as first:
        until(lambda: waiting.begun == 1)
        told = subprocess.run(ask, capture_output=True, text=True, check=True).stdout
        first.terminate()
    assert told.startswith("HTTP/1.1 429")
    assert "retry-after: 1" in told.lower()
    has_left(served, waiting, 1)


def inspect(served: Served, **more: object) -> Any:
    from inspect_ai.model import GenerateConfig, get_model

    where = {"base_url": served.url, "api_key": "none", "memoize": False, **more}
    return get_model(f"openai-api/gate/{where.pop('model', MODEL)}", config=GenerateConfig(max_retries=0), **where)


def turn(text: str, picture: str) -> list[Any]:
    from inspect_ai.model import ChatMessageUser, ContentImage, ContentText

    return [ChatMessageUser(content=[ContentImage(image=picture), ContentText(text=text)])]


@pytest.mark.parametrize("stream", [False, True])
def test_inspect_asks_through_the_gateway(served: Served, stream: bool) -> None:
    async def both() -> list[Any]:
        async with inspect(served, stream=stream) as model:
            return [await model.generate(turn(text, data_url(png()))) for text in ("Hello", f"Please {WORD}")]

    said, blocked = asyncio.run(both())
    assert said.completion.startswith("word 0 word 1 " if stream else "You said: Hello (1 pictures)")
    assert (said.stop_reason, blocked.stop_reason) == ("stop", "content_filter")


def test_inspect_is_told_of_errors(served: Served) -> None:
    async def ask(picture: str, **more: object) -> Any:
        async with inspect(served, **more) as model:
            return await model.generate(turn("Hello", picture))

    with pytest.raises(Exception, match="404 - there is no such model"):
        asyncio.run(ask(data_url(png()), model="other"))
    with pytest.raises(Exception, match="400 - the picture cannot be read"):
        asyncio.run(ask(data_url(b"no picture")))


def test_inspect_is_told_to_wait_and_may_go(crowded: tuple[Served, Waiting]) -> None:
    served, waiting = crowded

    async def ask() -> None:
        async with inspect(served) as model:
            await model.generate("Hello")

    async def both() -> None:
        first = asyncio.create_task(ask())
        while waiting.begun == 0:
            await asyncio.sleep(0.01)
        with pytest.raises(Exception, match="RateLimitError"):
            await ask()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first

    asyncio.run(both())
    has_left(served, waiting, 1)
