"""A gateway that real clients can reach, in front of the tests' own server, which plays the model and the guard.

    with ApiServer(answer=plays()) as server, Served(gateway(server)) as served:
        openai.OpenAI(base_url=served.url, api_key="x").chat.completions.create(...)

The guard is Llama Guard over the same server: asked as model `guard` it calls unsafe whatever holds the word WORD.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import uvicorn
from aiohttp import web
from PIL import Image

from api_server import ApiServer
from holisafe.guards import open_guard
from holisafe.records import GenerationSettings
from holisafe.serving.app import application
from holisafe.serving.gateway import Gateway
from holisafe.serving.keys import Keys
from holisafe.serving.policy import Policy
from holisafe.serving.server import bound, protocol
from holisafe.targets import open_target

WORD = "kaboom"
MODEL = "model"


def texts(message: dict[str, Any]) -> str:
    content = message["content"]
    return content if isinstance(content, str) else " ".join(part["text"] for part in content if part["type"] == "text")


def pictures(body: dict[str, Any]) -> int:
    shown = [m["content"] for m in body["messages"] if isinstance(m["content"], list)]
    return sum(part["type"] == "image_url" for parts in shown for part in parts)


def plays(says: Callable[[dict[str, Any]], str] | None = None) -> Callable[[dict[str, Any], str], dict[str, Any]]:
    """As `guard` the server judges the last turn; else it says what `says` says, or what it was asked last."""

    def answer(body: dict[str, Any], content: str) -> dict[str, Any]:
        asked = texts(body["messages"][-1])
        if body["model"] == "guard":
            said = "unsafe\nS1" if WORD in asked.replace(" ", "").replace("\n", "").lower() else "safe"
        else:
            said = says(body) if says else f"You said: {asked} ({pictures(body)} pictures)"
        return {"message": {"role": "assistant", "content": said}, "finish_reason": "stop"}

    return answer


def guard(server: ApiServer, model: str = "guard", **options: Any) -> Any:
    more = "".join(f",{name}={value}" for name, value in options.items())
    return open_guard(f"llama-guard/openai/{model},base_url={server.url},attempts=1{more}")


def gateway(server: ApiServer, policy: dict[str, Any] | None = None, *, guarded: bool = True, **more: Any) -> Gateway:
    """In front of the server's model, with its guard."""
    target = more.pop("target", None) or open_target(
        f"openai/{MODEL},base_url={server.url},attempts=2", GenerationSettings()
    )
    guards = more.pop("guards", None) or ([guard(server)] if guarded else [])
    return Gateway(target, guards, Policy.model_validate(policy or {}), **more)


def streaming(pieces: Sequence[str | bytes], pause: float = 0.0, model: str = MODEL) -> Any:
    """For `ApiServer(respond=...)`: the model's answer in these pieces; bytes are written as they are."""

    def respond(body: dict[str, Any], content: str) -> Any:
        if body["model"] != model or not body.get("stream"):
            return None

        async def write(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await response.prepare(request)
            for piece in pieces:
                data = piece if isinstance(piece, bytes) else event(piece)
                await response.write(data)
                await asyncio.sleep(pause)
            await response.write(event("", "stop") + b"data: [DONE]\n\n")
            return response

        return write

    return respond


def event(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


def png(size: tuple[int, int] = (8, 8), colour: str = "red") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def data_url(data: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def shown(text: str, *urls: str) -> list[dict[str, Any]]:
    """A user's message with pictures."""
    parts: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]


def until(holds: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


class Served:
    """The gateway behind uvicorn, in a thread of its own."""

    def __init__(self, of: Gateway, keys: Sequence[str] = ()) -> None:
        self.gateway = of
        config = uvicorn.Config(
            application(of, Keys(list(keys))),
            http=protocol(of.policy.limits),
            ws="none",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
        )
        self.server = uvicorn.Server(config)
        self._socket = bound("127.0.0.1", 0)
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self._socket]}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Served:
        self._thread.start()
        while not self.server.started:
            assert self._thread.is_alive()
            threading.Event().wait(0.005)
        return self

    def __exit__(self, *error: object) -> None:
        self.server.should_exit = True
        self._thread.join(10)
        self._socket.close()
