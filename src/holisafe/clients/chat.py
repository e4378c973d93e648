"""The client: asks a stream of requests, many at a time, and gives back one response for each.

    requests --> slots (max_in_flight) --> limit (adapts to the server) --> POST chat/completions --> responses

The next request is taken only when a slot is free, so nothing piles up. The transport is aiohttp; whether a call is
made again is decided in one place.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..records import Request, Response
from .answer import Answer, json_object, read_answer
from .body import body, payload
from .estimate import CHARACTERS_PER_TOKEN, estimate
from .faults import NO_CHOICES, BlockedError, HopelessError, NotTakenError, RetryableError, backoff, fault
from .flow import flow
from .limit import Limit
from .options import ChatOptions
from .pictures import SHARED, EncodedPictures
from .wire import post, session

if TYPE_CHECKING:
    from aiohttp import ClientSession

FAILED_IN_A_ROW = 32
"""After so many failed requests without an answer in between nothing more is asked: the server is not there.

Requests that a server refuses for what they hold do not count.
"""

VERSIONED = re.compile(r"/v\d")
"""What an address of the chat API mostly has at its end, and people forget."""

BLOCKED = "error"
"""How a block that came as an error ended: nothing says that it was paid for."""

BORNE = 0.1
"""The share of refused calls that a client which is kept open for hours makes nothing of but trying again."""

UNREACHED = 3
"""Attempts at a server from which nothing was ever heard: one that was there comes back, a wrong address never will."""


class ChatClient:
    """A model behind the chat API. `name` goes into its responses. Another endpoint is another `path`, `payload` (what
    is asked) and `read` (what was answered; None for nothing that can be read).

    What it learns of a server (parameters that it does not take) it keeps from one `respond` to the next.
    `backoff_seconds` is the wait after a first failed attempt; it doubles from there.
    """

    path = "chat/completions"
    payload = staticmethod(payload)

    def __init__(
        self,
        name: str,
        options: ChatOptions,
        *,
        backoff_seconds: float = 0.5,
        pictures: EncodedPictures = SHARED,
    ) -> None:
        self.name, self.options, self.pictures = name, options, pictures
        self.backoff_seconds = backoff_seconds
        self.without: frozenset[str] = frozenset()
        self._failed, self._last_problem, self._heard = 0, "", False
        self._kept: tuple[ClientSession, Limit] | None = None

    @asynccontextmanager
    async def kept_open(self) -> AsyncIterator[None]:
        """Within it, of one event loop, every `respond` shares connections and what the server bears."""
        async with session(self.options) as http:
            self._kept = http, Limit(self.options.max_in_flight, bears=BORNE)
            try:
                yield
            finally:
                self._kept = None

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[tuple[ClientSession, Limit]]:
        """Connections and how many calls may be made on them: those that are kept open, or new ones."""
        if self._kept is not None:
            yield self._kept
            return
        async with session(self.options) as http:
            yield http, Limit(self.options.max_in_flight)

    async def respond(self, requests: AsyncIterable[Request]) -> AsyncIterator[Response]:
        """Answer every request once, in any order; what fails is a response with `finish="error"`.

        When the requests end, what is in flight finishes, also when they end with an exception, which is raised last.
        Closed or cancelled, it drops what is in flight.
        """
        finished: asyncio.Queue[Response | Exception | None] = asyncio.Queue()
        slots = asyncio.Semaphore(self.options.max_in_flight)
        calls: set[asyncio.Task[None]] = set()
        begun = done = 0
        ended: Exception | None = None
        self._failed, self._heard = 0, False

        async def call(http: ClientSession, limit: Limit, request: Request) -> None:
            try:
                finished.put_nowait(await self._answered(http, limit, request))
            except Exception as error:  # noqa: BLE001  (a fault of ours: raised where responses are taken)
                finished.put_nowait(error)

        async def begin(http: ClientSession, limit: Limit) -> None:
            nonlocal begun
            iterator = aiter(requests)
            try:
                while await slots.acquire():
                    request = await anext(iterator)
                    begun += 1
                    task = asyncio.create_task(call(http, limit, request))
                    calls.add(task)
                    task.add_done_callback(calls.discard)
            except StopAsyncIteration:
                finished.put_nowait(None)
            except Exception as error:  # noqa: BLE001
                nonlocal ended
                ended = error
                finished.put_nowait(error)

        async with self.connected() as (http, limit):
            source = asyncio.create_task(begin(http, limit))
            broken: Exception | None = None
            try:
                more = True
                while more or done < begun:
                    response = await finished.get()
                    if response is None:
                        more = False
                        continue
                    if isinstance(response, Exception):
                        broken, more = broken or response, False
                        done += response is not ended
                        source.cancel()
                        continue
                    done += 1
                    yield response
                    slots.release()
                if broken is not None:
                    raise broken
            finally:
                for task in (source, *calls):
                    task.cancel()
                await asyncio.gather(source, *calls, return_exceptions=True)

    async def say(self, request: Request, hear: Callable[[str], None] | None = None) -> Response:
        """Answer one request, giving `hear` each piece of the text as it comes; cancelled, it drops the call.

        A call of which nothing has been heard yet is made again as in `respond`; one that breaks off later is not. The
        answer of a server that does not stream is one piece.
        """
        heard = False

        def pass_on(piece: str) -> None:
            nonlocal heard
            heard = True
            if hear is not None:
                hear(piece)

        self._failed = 0
        async with self.connected() as (http, limit):
            response = await self._answered(http, limit, request, None if hear is None else pass_on)
        if response.text and not heard:
            pass_on(response.text)
        return response

    async def _answered(
        self, http: ClientSession, limit: Limit, request: Request, hear: Callable[[str], None] | None = None
    ) -> Response:
        """One request's response, with as many attempts as it takes and may have."""
        options = self.options if hear is None else replace(self.options, stream=True)
        attempt, problem, own = 0, "", False
        clock = asyncio.get_running_loop().time
        while attempt < self.options.attempts:
            if self._failed >= FAILED_IN_A_ROW:
                problem = f"not asked, for {self._failed} requests in a row failed; the last: {self._last_problem}"
                return self._response(request, error=problem)
            without = self.without
            try:
                content, sent = await body(request, options, without, self.pictures, self.payload)
            except Exception as error:  # noqa: BLE001  (whatever opening a sample's picture raises is that sample's)
                kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
                return self._response(request, error=f"{kind}{error}")
            try:
                async with limit:
                    began = clock()
                    try:
                        answer = await self._call(http, content, sent, hear)
                    except RetryableError as failed:
                        if failed.overloaded:
                            limit.too_many(began, failed.wait)
                        raise
                    limit.went_well()
                self._failed = 0
                why = f"finish_reason {answer.word}" if answer.finish == "filtered" else None
                return self._response(request, answer, error=why, seconds=clock() - began)
            except NotTakenError as refused:
                self.without |= {refused.name}
            except BlockedError as blocked:
                self._failed = 0
                return self._response(request, Answer("", None, "filtered", {}, BLOCKED), error=str(blocked))
            except HopelessError as hopeless:
                problem, own = str(hopeless), not hopeless.every
                break
            except RetryableError as failed:
                attempt, problem = attempt + 1, str(failed)
                if attempt >= (UNREACHED if failed.unreached and not self._heard else self.options.attempts):
                    break
                if attempt < self.options.attempts:
                    pause = backoff(attempt, self.backoff_seconds)
                    await asyncio.sleep(pause if failed.wait is None else failed.wait)
        if not own:
            self._failed, self._last_problem = self._failed + 1, problem
        tried = f" (after {attempt} attempts)" if attempt > 1 else ""
        return self._response(request, error=problem, tried=tried)

    async def _call(
        self, http: ClientSession, content: bytes, sent: frozenset[str], hear: Callable[[str], None] | None = None
    ) -> Answer:
        """One attempt. Raises one of the exceptions of `faults`."""
        heard = 0

        def pass_on(piece: str) -> None:
            nonlocal heard
            heard += len(piece)
            if hear is not None:
                hear(piece)

        try:
            return await self._read(http, content, sent, None if hear is None else pass_on)
        except RetryableError as failed:
            if heard:
                raise HopelessError(f"broke off after {heard} characters: {failed}") from None
            raise

    async def _read(
        self, http: ClientSession, content: bytes, sent: frozenset[str], hear: Callable[[str], None] | None
    ) -> Answer:
        import aiohttp

        try:
            async with asyncio.timeout(self.options.timeout):
                wire = post if hear is None else partial(flow, hear=hear)
                reply = await wire(http, self.options, self.path, content)
        except TimeoutError:
            raise RetryableError(f"no answer within {self.options.timeout:g} s") from None
        except (aiohttp.ClientConnectorCertificateError, aiohttp.InvalidURL) as error:
            raise HopelessError(f"the connection failed: {error}", True) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            unreached = isinstance(error, aiohttp.ClientConnectorError)
            raise RetryableError(
                f"the connection failed: {error or type(error).__name__}", unreached=unreached
            ) from None
        self._heard = True
        completion = json_object(reply.body)
        if reply.status >= 300:
            found = fault(reply.status, reply.headers, reply.body, sent)
            base = self.options.base_url
            if reply.status in (404, 405) and isinstance(found, HopelessError) and not VERSIONED.search(base):
                found = HopelessError(f"{found} (asked at {base}/{self.path}; base_url mostly ends in /v1)", True)
            raise found
        if completion is None:
            raise RetryableError("the answer is no JSON, or was cut short")
        answer = self.read(completion)
        if answer is None or answer.finish == "error":
            found = fault(200, reply.headers, reply.body, sent)
            if answer is None or not isinstance(found, RetryableError):
                raise found
            told = str(found) if str(found) != NO_CHOICES else ""
            if not answer.usage.get("output_tokens", 1):
                told = told or answer.text  # of a model that said nothing: the server's words
            why = f": {told}" if told else ""
            raise RetryableError(f"the answer broke off (finish_reason {answer.word}){why}")
        return answer

    def read(self, completion: Mapping[str, Any]) -> Answer | None:
        return read_answer(completion, self.options.thoughts)

    def _response(
        self,
        request: Request,
        answer: Answer | None = None,
        *,
        error: str | None = None,
        tried: str = "",
        seconds: float | None = None,
    ) -> Response:
        """The record of an answer or, without one, of an error; the key stands in neither, nor does a part of it."""
        said, words = answer or Answer("", None, "error", {}), request.first_words
        if error is not None:
            error = " ".join(self._without_key(error).split())[: 300 - len(tried)] + tried
        return Response(
            sample_id=request.sample_id,
            repeat=request.repeat,
            target=self.name,
            text=self._without_key(said.text),
            finish=said.finish,
            reasoning=None if said.reasoning is None else self._without_key(said.reasoning),
            finish_reason=self._without_key(said.word) if said.word and said.finish == "stop" else None,
            error=error,
            usage=said.usage,
            cost=None if answer is None else self._cost(request, said),
            latency_seconds=None if seconds is None else round(seconds, 4),
            first_words={word: p for word in words if (p := said.likeliest.get(word)) is not None} if words else None,
        )

    def _without_key(self, text: str) -> str:
        return text.replace(self.options.api_key, "[key]") if self.options.api_key else text

    def _cost(self, request: Request, answer: Answer) -> float | None:
        """US dollars; where the server's counts are of no use, as estimated: a budget must not go on for ever."""
        cost = self.options.cost(answer.usage)
        if cost is not None or self.options.input_price is None or answer.word == BLOCKED:
            return cost
        said = len(answer.text) + len(answer.reasoning or "")
        asked = estimate([request], self.options).input_tokens
        return self.options.cost({"input_tokens": asked, "output_tokens": said // CHARACTERS_PER_TOKEN + 1})
