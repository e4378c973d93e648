"""curl, Inspect AI and our own client through the gateway."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from PIL import Image

from api_server import ApiServer
from asking import responses
from holisafe.records import GenerationSettings, Message, Picture, Request
from holisafe.targets import open_target
from serving.served import MODEL, WORD, Served, data_url, gateway, plays, png, shown, streaming


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


def test_inspect_asks_through_the_gateway(served: Served) -> None:
    from inspect_ai.model import ChatMessageUser, ContentImage, ContentText, get_model

    model = get_model(f"openai-api/gate/{MODEL}", base_url=served.url, api_key="none", memoize=False)

    async def ask(text: str) -> object:
        parts = [ContentImage(image=data_url(png())), ContentText(text=text)]
        return await model.generate([ChatMessageUser(content=parts)])

    async def both() -> list[object]:
        return [await ask("Hello"), await ask(f"Please {WORD}")]

    said, blocked = asyncio.run(both())
    assert said.completion == "You said: Hello (1 pictures)"
    assert blocked.stop_reason == "content_filter"
