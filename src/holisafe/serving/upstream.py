"""Who answers: a model behind an API, or one on this machine in batches. One request in, one response out.

With `hear` the answer's text is given away piece by piece as it comes. Cancelled, a call is dropped: a connection is
closed, and a row of a batch on this machine ends at its next token.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, Protocol

from ..calibration.base import Calibrated, stream
from ..records import Request, Response
from ..targets.base import Target, error_response
from .batches import Batcher

Hear = Callable[[str], None]

UNFINISHED = "\ufffd"
"""What the beginning of a letter of several bytes is decoded to."""


class Upstream(Protocol):
    """A target that answers one request at a time, many at once."""

    name: str

    async def answer(self, request: Request, hear: Hear | None = None) -> Response:
        """The answer; a failure is a response with `finish="error"`."""
        ...


class Hosted:
    """A target that only waits for a server, perhaps with methods around it that edit what is asked."""

    def __init__(self, target: Target) -> None:
        self.target, self.name = target, target.name

    async def answer(self, request: Request, hear: Hear | None = None) -> Response:
        inner: Any = innermost(self.target)
        if hasattr(inner, "say") and edits_only(self.target):
            said: Response = await inner.say(edited(self.target, request), hear)
            return replace(said, target=self.name)
        async for response in self.target.respond(stream([request])):
            if hear is not None and response.text:
                hear(response.text)
            return response
        return error_response(request, self.name, "no answer")


class Machine:
    """A model on this machine, in one thread: what waits when it is free is answered together, whatever methods are
    around it."""

    def __init__(self, model: Any) -> None:
        self.model = model
        model.watch = self._watched
        self._live: dict[str, tuple[Hear | None, asyncio.AbstractEventLoop]] = {}
        self._heard: dict[str, str] = {}
        self._batches = Batcher[tuple[Target, Request], Response](self._together, int(model.batch_size), "model")

    def close(self) -> None:
        self._live.clear()
        self._batches.close()

    async def answer(self, target: Target, request: Request, hear: Hear | None) -> Response:
        self._live[request.sample_id] = hear if edits_only(target) else None, asyncio.get_running_loop()
        try:
            response = await self._batches((target, request))
            if hear is not None and response.finish != "error":
                heard = self._heard.get(request.sample_id, "")
                hear(response.text.removeprefix(heard) if response.text.startswith(heard) else "")
            return response
        finally:
            self._live.pop(request.sample_id, None)
            self._heard.pop(request.sample_id, None)

    def _together(self, asked: Sequence[tuple[Target, Request]]) -> list[Response]:
        async def collect(target: Target, requests: Sequence[Request]) -> dict[str, Response]:
            return {one.sample_id: one async for one in target.respond(stream(requests))}

        found = {one.sample_id: error_response(one, target.name, "no answer") for target, one in asked}
        for target in {id(target): target for target, _ in asked}.values():
            found |= asyncio.run(collect(target, [one for its, one in asked if its is target]))
        return [found[one.sample_id] for _, one in asked]

    def _watched(self, request: Request, row: Sequence[int]) -> bool:
        """Called in the model's thread after each token: give away what is new; True ends what nobody waits for."""
        live = self._live.get(request.sample_id)
        if live is None:
            return True
        hear, loop = live
        if hear is not None:
            text = self.model.written(row).lstrip()
            before = self._heard.get(request.sample_id, "")
            said = text.rstrip()  # an answer has no space at its end
            if not text.endswith(UNFINISHED) and text.startswith(before) and said != before:
                self._heard[request.sample_id] = said
                loop.call_soon_threadsafe(hear, said[len(before) :])
        return False


class Local:
    """A target whose model is on this machine."""

    def __init__(self, target: Target, machine: Machine) -> None:
        self.target, self.name, self.machine = target, target.name, machine

    async def answer(self, request: Request, hear: Hear | None = None) -> Response:
        return await self.machine.answer(self.target, request, hear)


class Stepped:
    """`guarded` in front of a server: the guard reads here, in batches, and says which way a request goes."""

    def __init__(self, guarded: Any) -> None:
        self.name = guarded.name
        self._steps = Batcher[Request, int](guarded.steps, 16, "guarded")
        self._ways = [Hosted(way) for way in guarded.ways]

    def close(self) -> None:
        self._steps.close()

    async def answer(self, request: Request, hear: Hear | None = None) -> Response:
        step = await self._steps(request)
        response = await self._ways[step].answer(request, hear)
        return replace(response, target=self.name, calibrated=step > 0)


def innermost(target: Any) -> Any:
    """The target without the methods around it."""
    while isinstance(target, Calibrated):
        target = target.target
    return target


def edits_only(target: Any) -> bool:
    """Whether what the model says is what the target answers: no method around it writes answers again."""
    if isinstance(target, Calibrated):
        ways = getattr(target, "ways", None)
        if ways is not None:
            return all(map(edits_only, ways))
        return type(target).respond is Calibrated.respond and edits_only(target.target)
    return True


def edited(target: Any, request: Request) -> Request:
    """The request as the innermost target is asked it."""
    while isinstance(target, Calibrated):
        request, target = target.edit(request), target.target
    return request


async def opened(targets: Sequence[Any], stack: AsyncExitStack) -> list[Upstream]:
    """Upstreams of targets, in this event loop, open until the stack is closed. Targets around one model share it."""
    found: list[Upstream] = []
    machines: dict[int, Machine] = {}
    for target in targets:
        inner = innermost(target)
        if hasattr(inner, "model"):
            if id(inner) not in machines:
                machines[id(inner)] = Machine(inner)
                stack.callback(machines[id(inner)].close)
            found.append(Local(target, machines[id(inner)]))
        elif hasattr(target, "ways"):
            stepped = Stepped(target)
            stack.callback(stepped.close)
            found.append(stepped)
        else:
            found.append(Hosted(target))
    for inner in {id(inner): inner for inner in map(innermost, targets)}.values():
        if hasattr(inner, "kept_open"):
            await stack.enter_async_context(inner.kept_open())
    return found


async def pieces(one: Upstream, request: Request) -> AsyncGenerator[str | Response]:
    """The answer's text as it comes, and the response last. Closed before its end, it drops the call."""
    told: asyncio.Queue[str | Response | BaseException] = asyncio.Queue()

    async def ask() -> None:
        try:
            told.put_nowait(await one.answer(request, told.put_nowait))
        except Exception as error:  # noqa: BLE001  (raised where the pieces are taken)
            told.put_nowait(error)

    call = asyncio.create_task(ask())
    try:
        while True:
            piece = await told.get()
            if isinstance(piece, BaseException):
                raise piece
            yield piece
            if isinstance(piece, Response):
                return
    finally:
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
