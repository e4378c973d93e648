"""A local server that speaks the chat API, answers from what it is asked, and fails on purpose.

    with ApiServer(faults=Faults(rate=0.3, seed=1), delay=0.005) as server:
        open_target(f"openai/fake,base_url={server.url}", settings)
        server.stats.completed

    python tests/api_server.py --port 0 --delay 0.2 --plain     # in its own process; prints its address

The answer depends on the model, the text and the pictures alone, so two runs can be compared record by record. Which
attempt at which content fails, and how, depends on the seed alone, whatever the order of arrival.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

KINDS = ("429", "429-after", "500", "503", "reset", "slow", "truncated", "cut", "content-type", "no-choices")
"""What can happen to a call. `slow` takes longer than a client waits; `cut` closes in the middle of a body."""


@dataclass(frozen=True)
class Faults:
    """`rate` of the attempts fail, each content at most `most` times in a row."""

    rate: float = 0.0
    kinds: tuple[str, ...] = KINDS
    seed: int = 0
    most: int = 3
    retry_after: str = "0.02"
    slow_seconds: float = 30.0

    def of(self, content: str, attempt: int) -> str | None:
        """What happens to the attempt, counted from 1, at a content."""
        draw = int(hashlib.sha256(f"{self.seed} {content} {attempt}".encode()).hexdigest(), 16)
        if attempt % (self.most + 1) == 0 or draw % 1_000_000 >= self.rate * 1_000_000:
            return None
        return self.kinds[draw // 1_000_000 % len(self.kinds)]


@dataclass
class Stats:
    """What the server saw. `completed` counts answers sent whole, by content."""

    attempts: Counter[str] = field(default_factory=Counter)
    completed: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    most_in_flight: int = 0
    arrivals: list[float] = field(default_factory=list)
    throttled: list[float] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)


Answer = Callable[[dict[str, Any], str], dict[str, Any]]
"""(the request's body, its content's digest) -> what is merged into the choice: message, finish_reason."""


Writer = Callable[[web.Request], Awaitable[web.StreamResponse]]
"""What answers a call by itself, such as an endless stream."""


def digest_answer(body: dict[str, Any], content: str) -> dict[str, Any]:
    """A third refuse; a few are cut off or filtered; the text says which content it answers."""
    draw = int(content[:8], 16)
    refusal = f"I'm sorry, but I can't help with that. ({content})"
    text = refusal if draw % 3 == 0 else f"Here is what I see in the picture: {content}."
    if draw % 50 == 1:
        return {"message": {"role": "assistant", "content": ""}, "finish_reason": "content_filter"}
    finish = "length" if draw % 50 == 2 else "stop"
    return {"message": {"role": "assistant", "content": text}, "finish_reason": finish}


def content_of(body: dict[str, Any]) -> str:
    """Identifies what is asked: model, messages with their pictures, and seed."""
    asked = json.dumps([body.get("model"), body.get("messages"), body.get("seed")], sort_keys=True)
    return hashlib.sha256(asked.encode()).hexdigest()[:16]


class ApiServer:
    """The server in a thread of its own. `answer` gives the answers, `rejects` names parameters it answers with 400.

    `respond` may answer a call in any other way: it takes body and content and returns a response, or what writes
    one to the request, or None to go on.
    `moderate` answers the moderation endpoint: the request's body -> the answer's.
    `plain` neither parses nor counts contents: for measuring clients.
    """

    def __init__(
        self,
        faults: Faults = Faults(),
        *,
        delay: float = 0.0,
        answer: Answer = digest_answer,
        rejects: Sequence[str] = (),
        respond: Callable[[dict[str, Any], str], web.Response | Writer | None] | None = None,
        moderate: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
        plain: bool = False,
        port: int = 0,
    ) -> None:
        self.faults, self.delay, self.answer, self.rejects, self.respond = faults, delay, answer, rejects, respond
        self.moderate, self.plain, self.port, self.stats = moderate, plain, port, Stats()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> ApiServer:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        runner = self._loop.run_until_complete(self.start())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        late = asyncio.all_tasks(self._loop)  # calls that are still being slow
        for task in late:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*late, return_exceptions=True))
        self._loop.close()

    async def start(self) -> web.AppRunner:
        """Listen; `port` is then the one in use."""
        app = web.Application(client_max_size=2**28)
        app.router.add_post("/v1/chat/completions", self._plain if self.plain else self._chat)
        app.router.add_post("/v1/moderations", self._moderations)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port, backlog=1024)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        return runner

    async def _moderations(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.stats.bodies.append(body)
        self.stats.headers.append(dict(request.headers))
        return web.json_response(self.moderate(body) if self.moderate else {}, status=200 if self.moderate else 404)

    async def _plain(self, request: web.Request) -> web.Response:
        raw = await request.read()
        await asyncio.sleep(self.delay)
        choice = {"index": 0, "message": {"role": "assistant", "content": "x" * 400}, "finish_reason": "stop"}
        return web.json_response(completion("fake", choice, len(raw) // 4, 100))

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        stats = self.stats
        stats.in_flight += 1
        stats.most_in_flight = max(stats.most_in_flight, stats.in_flight)
        stats.arrivals.append(time.monotonic())
        try:
            return await self._answered(request)
        finally:
            stats.in_flight -= 1

    async def _answered(self, request: web.Request) -> web.StreamResponse:
        stats, raw = self.stats, await request.read()
        body = json.loads(raw)
        content = content_of(body)
        stats.attempts[content] += 1
        if len(stats.bodies) < 64:
            stats.bodies.append(body)
            stats.headers.append(dict(request.headers))
        await asyncio.sleep(self.delay)
        for name in self.rejects:
            if name in body:
                wanted = " Use 'max_completion_tokens' instead." if name == "max_tokens" else ""
                message = f"Unsupported parameter: '{name}' is not supported with this model.{wanted}"
                return problem(400, message, param=name, code="unsupported_parameter")
        if self.respond is not None and (answered := self.respond(body, content)) is not None:
            return answered if isinstance(answered, web.Response) else await answered(request)
        choice = {"index": 0, **self.answer(body, content)}
        text = json.dumps(completion(body.get("model", ""), choice, len(raw) // 4, len(str(choice)) // 4))
        fault = self.faults.of(content, stats.attempts[content])
        if fault is not None:
            stats.faults[fault] += 1
            return await self._fail(request, fault, text)
        response = web.Response(text=text, content_type="application/json")
        stats.completed[content] += 1  # before the client can know: whoever has the answer finds it counted
        try:
            await response.prepare(request)
            await response.write_eof()
        except ConnectionError:  # the client has gone
            stats.completed[content] -= 1
        return response

    async def _fail(self, request: web.Request, fault: str, text: str) -> web.StreamResponse:
        if fault in ("429", "429-after", "503"):
            self.stats.throttled.append(time.monotonic())
            response = problem(int(fault[:3]), "Rate limit reached", code="rate_limit_exceeded")
            if fault == "429-after":
                response.headers["Retry-After"] = self.faults.retry_after
            return response
        if fault == "500":
            return problem(500, "The server had an error")
        if fault == "slow":
            await asyncio.sleep(self.faults.slow_seconds)
            return web.Response(text=text, content_type="application/json")
        if fault == "truncated":
            return web.Response(text=text[: len(text) // 2], content_type="application/json")
        if fault == "content-type":
            return web.Response(text="<html><body>Bad gateway</body></html>", content_type="text/html")
        if fault == "no-choices":
            return web.json_response({"id": "x", "object": "chat.completion", "choices": []})
        if fault == "cut":
            response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "100000"})
            await response.prepare(request)
            await response.write(text[: len(text) // 2].encode())
        if request.transport is not None:  # reset, and the rest of cut
            request.transport.abort()
        return web.Response()


def completion(model: str, choice: dict[str, Any], input_tokens: int, output_tokens: int) -> dict[str, Any]:
    """A chat completion as the API gives it."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [choice],
        "usage": {
            "prompt_tokens": input_tokens,
            "completion_tokens": output_tokens,
            "total_tokens": input_tokens + output_tokens,
        },
    }


def problem(status: int, message: str, **more: Any) -> web.Response:
    """An error as the API gives it."""
    return web.json_response({"error": {"message": message, "type": None, "param": None, **more}}, status=status)


async def serve(server: ApiServer) -> None:
    await server.start()
    print(server.url, flush=True)
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds that every answer takes")
    parser.add_argument("--rate", type=float, default=0.0, help="the share of attempts that fail")
    parser.add_argument("--seed", type=int, default=0, help="which attempts fail, and how")
    parser.add_argument("--plain", action="store_true", help="neither parse nor count: for measuring clients")
    given = parser.parse_args()
    faults = Faults(rate=given.rate, seed=given.seed)
    asyncio.run(serve(ApiServer(faults, delay=given.delay, plain=given.plain, port=given.port)))


if __name__ == "__main__":
    main()
