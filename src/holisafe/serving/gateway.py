"""One request, from its body to its answer: read, decided, asked, read again, and only then delivered."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from ..guards.base import Guard
from ..records import GenerationSettings, Message, Picture, Request, Response
from ..targets.base import Target
from ..visible import one_line
from .chat import ChatBody, check_model, chunk, completion, conversation, event, identity, read_body, read_chat, usage
from .counters import Counters
from .errors import GatewayError
from .moderation import ModerationBody, inputs, result, slot
from .panel import Panel, Seen
from .pictures import UNREADABLE, Intake
from .policy import Decision, Policy, Stage
from .release import Stopped, released
from .sight import Eyes
from .traffic import Traffic
from .upstream import Upstream, opened, pieces

LOG = logging.getLogger("holisafe.serve")
PASS = Decision("pass")
CLIENT_BLOCKS = Decision("block", "flagged")


@dataclass(frozen=True)
class Asked:
    """A request that was read: what is asked of whom, and what the guards and the policy said of it."""

    chat: ChatBody
    request: Request
    told: tuple[Message, ...]
    seen: Seen | None
    decision: Decision
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
        self.target, self.treated, self.policy, self.settings, self.traffic = target, treated, policy, settings, traffic
        self.name = name or target.name.removeprefix("openai/")
        self.panel, self.intake, self.counters = Panel(guards, policy.limits.guard_seconds), Intake(policy), Counters()

    async def __aenter__(self) -> Gateway:
        self._stack = AsyncExitStack()
        self._stack.callback(self.intake.close)
        await self._stack.enter_async_context(self.panel)
        targets = [self.target, *([self.treated] if self.treated is not None else [])]
        ways = await opened(targets, self._stack)
        self.plain, self.calibrating = ways[0], ways[-1]
        self.eyes = Eyes(self.plain)
        self._room = asyncio.Semaphore(self.policy.limits.in_flight)
        self._waiting = 0
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    @asynccontextmanager
    async def room(self) -> AsyncIterator[None]:
        """A place among the requests in flight. Raises GatewayError (429) when too many wait for one already."""
        if self._room.locked() and self._waiting >= self.policy.limits.waiting:
            raise GatewayError(429, "rate_limit_exceeded", "too many requests at once; try again", retry_after=1)
        self._waiting += 1
        try:
            await self._room.acquire()
        finally:
            self._waiting -= 1
        try:
            with self.counters.in_flight.track_inprogress():
                yield
        finally:
            self._room.release()

    async def asked(self, content: bytes) -> Asked:
        """Read and judge a body. Raises GatewayError for one that is not carried out."""
        chat = read_chat(content, self.policy.limits)
        check_model(chat.model, self.name)
        pictures = [await self._pictures(turn.addresses) for turn in chat.messages]
        request = Request(
            sample_id=identity(),
            messages=conversation(chat, pictures, self.settings.system),
            settings=chat.settings(self.settings, self.policy.limits),
            answer_schema=chat.answer_schema,
        )
        told = conversation(chat, pictures, None)
        seen = await self._timed("guard", self.panel.request(told)) if self.panel.guards else None
        asked = self._decide("request", seen, chat.moderation is not None and chat.moderation.blocks("input"))
        if asked.action != "block" and any(pictures):
            await self._check_sight()
        return Asked(chat, request, told, seen, asked, self.calibrating if asked.action == "calibrate" else self.plain)

    async def complete(self, asked: Asked) -> dict[str, Any]:
        """The completion of a request that is not streamed."""
        if asked.decision.action == "block":
            return await self._refused(asked, asked.decision, "request")
        response = await self._timed("upstream", asked.upstream.answer(asked.request))
        if response.finish == "error":
            return await self._without_answer(asked, response)
        seen, decision = await self._judged(asked, response.text)
        if decision.action == "block":
            return await self._refused(asked, decision, "answer", response, seen)
        await self._keep(asked, response, decision, "answer")
        return completion(
            asked.request.sample_id, self.name, response.text, response.finish, response, self._slot(asked, seen)
        )

    async def stream(self, asked: Asked) -> AsyncGenerator[bytes]:
        """The events of a streamed completion. What fails before the first of them is raised as GatewayError."""
        name, wanted = asked.request.sample_id, asked.chat.stream_options
        if asked.decision.action == "block":
            done = await self._refused(asked, asked.decision, "request")
            for piece in self._at_once(done, asked):
                yield piece
            return
        last, begun = (Seen(), PASS), False
        kept, response = "", None

        async def judge(text: str) -> bool:
            nonlocal last, kept
            kept = text
            last = await self._judged(asked, text)
            return last[1].action != "block"

        flow = pieces(asked.upstream, asked.request)
        try:
            async for said in released(flow, judge if self.panel.reads_answers else None, self.policy.stream):
                if isinstance(said, Response):
                    response = said
                    continue
                yield chunk(name, self.name, {"content": said} if begun else {"role": "assistant", "content": said})
                begun = True
        except Stopped:
            stopped = replace(self._nothing(asked), text=kept)
            done = await self._refused(asked, last[1], "answer", stopped, last[0])
            if not begun:
                for piece in self._at_once(done, asked):
                    yield piece
                return
            yield chunk(name, self.name, {}, "filtered", **self._told(asked, last[0]))
            yield event(None)
            return
        except GatewayError as fault:
            if not begun:
                raise
            yield event(fault.to_json())
            return
        finally:
            await flow.aclose()
        assert response is not None
        if response.finish == "error":
            if not begun:
                done = await self._without_answer(asked, response)
                for piece in self._at_once(done, asked):
                    yield piece
                return
            await self._keep(asked, response, last[1], "broken off")
            self.counters.failures.labels("upstream", "broken off").inc()
            yield event(GatewayError(502, "upstream_error", "the model's answer broke off").to_json())
            return
        await self._keep(asked, response, last[1], "answer")
        if not begun:
            yield chunk(name, self.name, {"role": "assistant", "content": ""})
        yield chunk(name, self.name, {}, response.finish, **self._told(asked, last[0]))
        if wanted and wanted.include_usage:
            yield chunk(name, self.name, None, usage=usage(response))
        yield event(None)

    async def moderate(self, content: bytes) -> dict[str, Any]:
        """The answer of `/v1/moderations`."""
        body: ModerationBody = read_body(ModerationBody, content)
        if not self.panel.guards:
            raise GatewayError(404, "no_guard", "this gateway was started without a guard")
        if sum(len(text) for text, _ in inputs(body)) > self.policy.limits.characters:
            raise GatewayError(400, "invalid_value", "too much text", param="input")
        results = []
        for text, addresses in inputs(body):
            if len(addresses) > self.policy.limits.pictures:
                raise GatewayError(400, "invalid_value", "too many pictures", param="input")
            pictures = await self._pictures(addresses)
            seen = await self._timed("guard", self.panel.request([Message("user", text, tuple(pictures))]))
            if seen.faults or seen.blind:
                self._warn("guard", seen.faults or ["no guard here reads pictures"])
                raise GatewayError(503, "guard_unavailable", "the safety check is not available")
            if seen.unread:
                raise GatewayError(400, "not_read", "no guard here reads this kind of input", param="input")
            results.append(result(seen, self.policy, "request"))
        return {"id": identity("modr"), "model": self.panel.name, "results": results}

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
            self._warn("guard", seen.faults or ["no guard here reads pictures"])
            if done == "closed":
                raise GatewayError(503, "guard_unavailable", "the safety check is not available; nothing was delivered")
        self.counters.decisions.labels(stage, found.action).inc()
        return found

    async def _judged(self, asked: Asked, text: str) -> tuple[Seen, Decision]:
        """What the guards and the policy say of an answer."""
        if not self.panel.reads_answers or not text.strip():
            if not self.panel.reads_answers:
                self.counters.unread.labels("answer").inc()
            return Seen(), PASS
        slot = asked.chat.moderation
        seen = await self._timed("guard", self.panel.answer(asked.told, text))
        return seen, self._decide("answer", seen, slot is not None and slot.blocks("output"))

    async def _refused(
        self, asked: Asked, decision: Decision, stage: Stage, response: Response | None = None, seen: Seen | None = None
    ) -> dict[str, Any]:
        """The refusal that takes the place of an answer, which names the reason."""
        said = replace(response or self._nothing(asked), finish="filtered", error=f"blocked: {decision.category}")
        before, after = (decision, PASS) if stage == "request" else (asked.decision, decision)
        await self._keep(replace(asked, decision=before), said, after, f"refusal of the {stage}")
        text = self.policy.refuses_with(decision.category)
        moderation = self._slot(asked, seen)
        return completion(asked.request.sample_id, self.name, text, "filtered", response, moderation, refusal=True)

    async def _without_answer(self, asked: Asked, response: Response) -> dict[str, Any]:
        """What stands for an answer that did not come. Raises GatewayError unless the policy apologises."""
        await self._keep(asked, response, PASS, "error")
        done = self.policy.failures.upstream_down
        self.counters.failures.labels("upstream", done).inc()
        self._warn("upstream", [response.error or "no reason given"])
        if done == "apology":
            return completion(
                asked.request.sample_id,
                self.name,
                self.policy.apology,
                "filtered",
                None,
                self._slot(asked, None),
                refusal=True,
            )
        if "429" in (response.error or "")[:8]:
            raise GatewayError(429, "upstream_rate_limit", "the model takes no more requests now", retry_after=5)
        raise GatewayError(502, "upstream_error", "the model did not answer")

    def _nothing(self, asked: Asked) -> Response:
        return Response(sample_id=asked.request.sample_id, target=self.target.name, text="")

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

    async def _keep(self, asked: Asked, response: Response, answered: Decision, delivered: str) -> None:
        """Log what happened, before it is delivered; a log that cannot be written is counted and said."""
        for kind in ("input_tokens", "output_tokens"):
            self.counters.tokens.labels(kind).inc(response.usage.get(kind, 0))
        if self.traffic is None:
            return
        try:
            await self.traffic.keep(asked.request, response, asked.decision, answered, delivered)
        except Exception as error:  # noqa: BLE001  (the disk's fault is not the client's)
            self.counters.failures.labels("log", "open").inc()
            self._warn("log", [f"{type(error).__name__}: {error}"])

    async def _timed(self, part: str, work: Any) -> Any:
        began = time.perf_counter()
        try:
            return await work
        finally:
            self.counters.seconds.labels(part).observe(time.perf_counter() - began)

    def _warn(self, part: str, reasons: Sequence[str]) -> None:
        for reason in reasons[:3]:
            LOG.warning("%s: %s", part, one_line(reason)[:300])
