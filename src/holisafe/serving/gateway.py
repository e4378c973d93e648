"""One request, from its body to its answer: read, decided, asked, read again, and only then delivered."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from typing import Any

from ..guards.base import Guard
from ..records import GenerationSettings, Message, Picture, Request, Response
from ..targets.base import Target
from .chat import ChatBody, check_model, chunk, completion, conversation, event, read_chat, usage
from .counters import Counters
from .entry import PASS, Entry
from .errors import GatewayError
from .ledger import Ledger, warn
from .moderating import moderated
from .moderation import slot
from .panel import Panel, Seen
from .pictures import UNREADABLE, Intake
from .policy import Decision, Policy, Stage
from .release import Stopped, released
from .room import Room
from .sight import model_eyes
from .traffic import Traffic
from .upstream import Upstream, opened, pieces

CLIENT_BLOCKS = Decision("block", "flagged")


@dataclass(frozen=True)
class Asked:
    """A request that was read: what is asked of whom, and what the guards and the policy said of it."""

    chat: ChatBody
    entry: Entry
    request: Request
    told: tuple[Message, ...]
    seen: Seen | None
    upstream: Upstream


class Gateway:
    """A target with guards before and behind it. Enter it in the event loop that serves.

    `treated` answers what the policy calibrates. `name` is the model's for clients.
    """

    def __init__(
        self,
        target: Target,
        guards: Sequence[Guard] = (),
        policy: Policy = Policy(),
        *,
        treated: Target | None = None,
        settings: GenerationSettings = GenerationSettings(),
        name: str | None = None,
        traffic: Traffic | None = None,
    ) -> None:
        self.target, self.treated, self.policy, self.settings = target, treated, policy, settings
        self.name = name or target.name.removeprefix("openai/")
        self.panel, self.intake, self.counters = Panel(guards, policy.limits.guard_seconds), Intake(policy), Counters()
        self.ledger = Ledger(self.counters, traffic, target.name)

    async def __aenter__(self) -> Gateway:
        self._stack = AsyncExitStack()
        self._stack.callback(self.intake.close)
        await self._stack.enter_async_context(self.panel)
        targets = [self.target, *([self.treated] if self.treated is not None else [])]
        ways = await opened(targets, self._stack)
        self.plain, self.calibrating = ways[0], ways[-1]
        self.eyes = model_eyes(self.plain)
        self.room = Room(self.policy.limits.in_flight, self.policy.limits.waiting)
        self.counters.in_flight.set_function(lambda: self.room.inside)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    async def answers(self, content: bytes, entry: Entry) -> AsyncGenerator[bytes | dict[str, Any]]:
        """A completion, or the events of one; the request has its place among those in flight until it is closed.
        Raises GatewayError for what is not answered; who closes this, or is raised something, closes the entry."""
        async with self.room:
            asked = await self.asked(content, entry)
            if not asked.chat.stream:
                yield await self.complete(asked)
                return
            async with aclosing(self.stream(asked)) as events:
                async for one in events:
                    yield one

    async def asked(self, content: bytes, entry: Entry) -> Asked:
        """Read and judge a body. Raises GatewayError for one that is not carried out."""
        chat = read_chat(content, self.policy.limits)
        check_model(chat.model, self.name)
        pictures = [await self._pictures(turn.addresses) for turn in chat.messages]
        request = Request(
            sample_id=entry.id,
            messages=conversation(chat, pictures, self.settings.system),
            settings=chat.settings(self.settings, self.policy.limits),
            answer_schema=chat.answer_schema,
        )
        entry.request = request
        told = conversation(chat, pictures, None)
        seen = await self._timed("guard", self.panel.request(told)) if self.panel.guards else None
        entry.asked = self._decide("request", seen, chat.moderation is not None and chat.moderation.blocks("input"))
        if entry.asked.action != "block" and any(pictures):
            await self._check_sight()
        way = self.calibrating if entry.asked.action == "calibrate" else self.plain
        return Asked(chat, entry, request, told, seen, way)

    async def complete(self, asked: Asked) -> dict[str, Any]:
        """The completion of a request that is not streamed."""
        entry = asked.entry
        if entry.asked.action == "block":
            return await self._refused(asked, "request")
        entry.response = response = await self._timed("upstream", asked.upstream.answer(asked.request))
        if response.finish == "error":
            return await self._without_answer(asked, response)
        seen = await self._judged(asked, response.text)
        if entry.answered.action == "block":
            return await self._refused(asked, "answer", seen)
        await self.ledger.close(entry, "answer")
        return completion(
            asked.request.sample_id, self.name, response.text, response.finish, response, self._slot(asked, seen)
        )

    async def stream(self, asked: Asked) -> AsyncGenerator[bytes]:
        """The events of a streamed completion. What fails before the first of them is raised as GatewayError."""
        entry, name, wanted = asked.entry, asked.request.sample_id, asked.chat.stream_options
        if entry.asked.action == "block":
            done = await self._refused(asked, "request")
            for piece in self._at_once(done, asked):
                yield piece
            return
        seen, kept, response = Seen(), "", None

        async def judge(text: str) -> bool:
            nonlocal seen, kept
            kept = text
            seen = await self._judged(asked, text)
            return entry.answered.action != "block"

        flow = pieces(asked.upstream, asked.request)
        try:
            async for said in released(flow, judge if self.panel.reads_answers else None, self.policy.stream):
                if isinstance(said, Response):
                    entry.response = response = said
                    continue
                delta = {"content": said} if entry.left else {"role": "assistant", "content": said}
                entry.left.append(said)
                yield chunk(name, self.name, delta)
        except Stopped:
            entry.response = replace(self.ledger.nothing(entry), text=kept)
            done = await self._refused(asked, "answer", seen)
            if not entry.left:
                for piece in self._at_once(done, asked):
                    yield piece
                return
            yield chunk(name, self.name, {}, "filtered", **self._told(asked, seen))
            yield event(None)
            return
        except GatewayError as fault:
            if not entry.left:
                raise
            await self.ledger.close(entry, "error", fault.code)
            yield event(fault.to_json())
            return
        finally:
            await flow.aclose()
        assert response is not None
        if response.finish == "error":
            if not entry.left:
                done = await self._without_answer(asked, response)
                for piece in self._at_once(done, asked):
                    yield piece
                return
            await self.ledger.close(entry, "broken off")
            self.counters.failures.labels("upstream", "broken off").inc()
            yield event(GatewayError(502, "upstream_error", "the model's answer broke off").to_json())
            return
        await self.ledger.close(entry, "answer")
        if not entry.left:
            yield chunk(name, self.name, {"role": "assistant", "content": ""})
        yield chunk(name, self.name, {}, response.finish, **self._told(asked, seen))
        if wanted and wanted.include_usage:
            yield chunk(name, self.name, None, usage=usage(response))
        yield event(None)

    async def moderate(self, content: bytes) -> dict[str, Any]:
        """The answer of `/v1/moderations`."""
        return await moderated(content, self.panel, self.policy, self._pictures, self._timed)

    async def _pictures(self, addresses: Sequence[str]) -> list[Picture]:
        found = []
        for address in addresses:
            try:
                found.append(await self.intake.picture(address))
            except GatewayError as fault:
                if fault.code != UNREADABLE or self.policy.failures.unreadable_image == "closed":
                    raise
                self.counters.failures.labels("picture", "open").inc()
        return found

    async def _check_sight(self) -> None:
        if await self.eyes.look() != "unseen":
            return
        done = self.policy.failures.image_unseen
        self.counters.failures.labels("sight", done).inc()
        if done == "closed":
            raise GatewayError(502, "image_not_seen", "pictures do not reach the model; nothing was asked")

    def _decide(self, stage: Stage, seen: Seen | None, client_blocks: bool) -> Decision:
        """What the policy says. Raises GatewayError where a guard failed and the policy is closed."""
        if seen is None or seen.unread:
            self.counters.unread.labels(stage).inc()
        if seen is None:
            return PASS
        found = self.policy.decide(stage, seen.findings)
        if client_blocks and found.action != "block" and any(one.unsafe for one in seen.findings):
            found = CLIENT_BLOCKS
        if (seen.faults or seen.blind) and found.action != "block":
            done = self.policy.failures.guard_down
            self.counters.failures.labels("guard", done).inc()
            warn("guard", seen.faults or ["no guard here reads pictures"])
            if done == "closed":
                raise GatewayError(503, "guard_unavailable", "the safety check is not available; nothing was delivered")
        self.counters.decisions.labels(stage, found.action).inc()
        return found

    async def _judged(self, asked: Asked, text: str) -> Seen:
        """What the guards say of an answer; what the policy says of it then stands in the entry."""
        asked.entry.answered = PASS
        if not self.panel.reads_answers or not text.strip():
            if not self.panel.reads_answers:
                self.counters.unread.labels("answer").inc()
            return Seen()
        slot = asked.chat.moderation
        seen: Seen = await self._timed("guard", self.panel.answer(asked.told, text))
        asked.entry.answered = self._decide("answer", seen, slot is not None and slot.blocks("output"))
        return seen

    async def _refused(self, asked: Asked, stage: Stage, seen: Seen | None = None) -> dict[str, Any]:
        """The refusal that takes the place of an answer, which names the reason."""
        entry = asked.entry
        category = (entry.asked if stage == "request" else entry.answered).category
        said = entry.response or self.ledger.nothing(entry)
        entry.response = replace(said, finish="filtered", error=f"blocked: {category}")
        await self.ledger.close(entry, "refusal of the request" if stage == "request" else "refusal of the answer")
        text, moderation = self.policy.refuses_with(category), self._slot(asked, seen)
        return completion(entry.id, self.name, text, "filtered", entry.response, moderation, refusal=True)

    async def _without_answer(self, asked: Asked, response: Response) -> dict[str, Any]:
        """What stands for an answer that did not come. Raises GatewayError unless the policy apologises."""
        done = self.policy.failures.upstream_down
        self.counters.failures.labels("upstream", done).inc()
        warn("upstream", [response.error or "no reason given"])
        if done == "apology":
            await self.ledger.close(asked.entry, "apology")
            text, moderation = self.policy.apology, self._slot(asked, None)
            return completion(asked.entry.id, self.name, text, "filtered", None, moderation, refusal=True)
        if "429" in (response.error or "")[:8]:
            raise GatewayError(429, "upstream_rate_limit", "the model takes no more requests now", retry_after=5)
        raise GatewayError(502, "upstream_error", "the model did not answer")

    def _at_once(self, done: dict[str, Any], asked: Asked) -> list[bytes]:
        """A completion that is all there, as events."""
        choice = done["choices"][0]
        more = {"moderation": done["moderation"]} if "moderation" in done else {}
        events = [
            chunk(done["id"], self.name, choice["message"]),
            chunk(done["id"], self.name, {}, "filtered", **more),
        ]
        if asked.chat.stream_options and asked.chat.stream_options.include_usage:
            events.append(chunk(done["id"], self.name, None, usage=done["usage"]))
        return [*events, event(None)]

    def _slot(self, asked: Asked, seen: Seen | None) -> dict[str, Any] | None:
        if asked.chat.moderation is None:
            return None
        model = self.panel.name
        return {
            "input": slot(asked.seen, self.policy, "request", model),
            "output": slot(seen, self.policy, "answer", model),
        }

    def _told(self, asked: Asked, seen: Seen) -> dict[str, Any]:
        found = self._slot(asked, seen)
        return {} if found is None else {"moderation": found}

    async def _timed(self, part: str, work: Any) -> Any:
        began = time.perf_counter()
        try:
            return await work
        finally:
            self.counters.seconds.labels(part).observe(time.perf_counter() - began)
