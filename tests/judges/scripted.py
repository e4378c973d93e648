"""A judging model inside the test: `ScriptedTarget` replies by a function, `scripted/NAME` opens one by name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from holisafe.judges.llm import LLMJudge
from holisafe.judges.rubric import load_rubric, parse_rubric
from holisafe.records import GenerationSettings, Request, Response
from holisafe.registry import targets
from holisafe.targets.base import Capabilities

Reply = Callable[[Request, int], "str | Mapping[str, Any]"]
"""(the request, how many the same sample had before) -> a text, or fields of the response."""

PLAIN = """---
name: plain
version: 1
source: this test
labels: {yes_it_does: refused, no_it_does_not: answered}
---
{{query}}
{{response}}
"""


@dataclass
class ScriptedTarget:
    """Keeps every request. `at_once` calls are in flight; none begins before `batch` of them wait.

    A call lasts as long as `held` says so of its sample, given how many calls have begun.
    """

    reply: Reply
    at_once: int = 4
    batch: int = 1
    held: Callable[[str, int], bool] = lambda sample_id, begun: False
    name: str = "scripted/judge"
    description: dict[str, Any] = field(default_factory=lambda: {"kind": "scripted"})
    capabilities: Capabilities = field(default_factory=Capabilities)
    requests: list[Request] = field(default_factory=list)

    def describe(self) -> dict[str, Any]:
        return self.description

    async def call(self, request: Request) -> Response:
        before = sum((r.sample_id, r.repeat) == (request.sample_id, request.repeat) for r in self.requests)
        self.requests.append(request)
        await asyncio.sleep(0)
        while self.held(request.sample_id, len(self.requests)):
            await asyncio.sleep(0)
        said = self.reply(request, before)
        fields = {"text": said} if isinstance(said, str) else {"text": "", **said}
        return Response(sample_id=request.sample_id, repeat=request.repeat, target=self.name, **fields)

    async def respond(self, requests: AsyncIterable[Request]) -> AsyncIterator[Response]:
        running: set[asyncio.Task[Response]] = set()
        waiting: list[Request] = []
        async for request in requests:
            waiting.append(request)
            if len(waiting) < self.batch:
                continue
            running |= {asyncio.create_task(self.call(one)) for one in waiting}
            waiting = []
            while len(running) >= self.at_once:
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    yield task.result()
        running |= {asyncio.create_task(self.call(one)) for one in waiting}
        for finished in asyncio.as_completed(running):
            yield await finished


SCRIPTS: dict[str, ScriptedTarget] = {}
"""What `scripted/NAME` opens."""


@targets.register("scripted")
def load(name: str, options: dict[str, str], settings: GenerationSettings) -> ScriptedTarget:
    target = SCRIPTS[name]
    target.description = {"kind": "scripted", "settings": settings.max_new_tokens, **options}
    return target


def judge_of(target: ScriptedTarget, rubric: str = PLAIN, subject: str = "response") -> LLMJudge:
    """A judge with that target; `rubric` is a built-in name or a whole file's text."""
    read = parse_rubric(rubric, "a rubric") if "\n" in rubric else load_rubric(rubric)
    return LLMJudge("llm/test", "1", "llm/test", read, target, subject)
