"""The client: asks a stream of requests, many at a time, and gives back one response for each.

    requests --> slots (max_in_flight) --> limit (adapts to the server) --> POST chat/completions --> responses

The next request is taken only when a slot is free, so nothing piles up. The transport is the `openai` SDK's over
aiohttp, with bodies built here and its own retries switched off: whether a call is made again is decided in one place.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from typing import TYPE_CHECKING

from ..errors import InputError
from ..records import Request, Response
from .answer import Answer, json_object, read_answer
from .body import body
from .faults import BlockedError, HopelessError, NotTakenError, RetryableError, backoff, fault
from .limit import Limit
from .options import ChatOptions
from .pictures import SHARED, EncodedPictures

if TYPE_CHECKING:
    from openai import AsyncOpenAI

FAILED_IN_A_ROW = 32
"""After so many failed requests without an answer in between nothing more is asked: the server is not there.

Requests that a server refuses for what they hold do not count.
"""


class ChatClient:
    """A model behind the chat API. `name` goes into its responses.

    What it learns of a server (parameters that it does not take) it keeps from one `respond` to the next.
    `backoff_seconds` is the wait after a first failed attempt; it doubles from there.
    """

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
        self._failed, self._last_problem = 0, ""

    async def respond(self, requests: AsyncIterable[Request]) -> AsyncIterator[Response]:
        """Answer every request once, in any order; what fails is a response with `finish="error"`.

        When the requests end, what is in flight finishes. Closed or cancelled, it drops what is in flight.
        """
        from openai import AsyncOpenAI, DefaultAioHttpClient

        finished: asyncio.Queue[Response | Exception | None] = asyncio.Queue()
        slots = asyncio.Semaphore(self.options.max_in_flight)
        limit = Limit(self.options.max_in_flight)
        calls: set[asyncio.Task[None]] = set()
        begun = done = 0
        self._failed = 0

        async def call(http: AsyncOpenAI, request: Request) -> None:
            try:
                finished.put_nowait(await self._answered(http, limit, request))
            except Exception as error:  # noqa: BLE001  (a fault of ours: raised where responses are taken)
                finished.put_nowait(error)

        async def begin(http: AsyncOpenAI) -> None:
            nonlocal begun
            iterator = aiter(requests)
            try:
                while await slots.acquire():
                    request = await anext(iterator)
                    begun += 1
                    task = asyncio.create_task(call(http, request))
                    calls.add(task)
                    task.add_done_callback(calls.discard)
            except StopAsyncIteration:
                finished.put_nowait(None)
            except Exception as error:  # noqa: BLE001
                finished.put_nowait(error)

        async with AsyncOpenAI(
            base_url=self.options.base_url,
            api_key=self.options.api_key or "none",  # a local server without a key
            max_retries=0,
            timeout=None,  # the whole call has one, below
            http_client=DefaultAioHttpClient(timeout=None),
        ) as http:
            source = asyncio.create_task(begin(http))
            try:
                more = True
                while more or done < begun:
                    response = await finished.get()
                    if isinstance(response, Exception):
                        raise response
                    if response is None:
                        more = False
                        continue
                    done += 1
                    yield response
                    slots.release()
            finally:
                for task in (source, *calls):
                    task.cancel()
                await asyncio.gather(source, *calls, return_exceptions=True)

    async def _answered(self, http: AsyncOpenAI, limit: Limit, request: Request) -> Response:
        """One request's response, with as many attempts as it takes and may have."""
        attempt, problem, own = 0, "", False
        clock = asyncio.get_running_loop().time
        while attempt < self.options.attempts:
            if self._failed >= FAILED_IN_A_ROW:
                problem = f"not asked, for {self._failed} requests in a row failed; the last: {self._last_problem}"
                return self._response(request, error=problem)
            without = self.without
            try:
                content, sent = await body(request, self.options, without, self.pictures)
            except Exception as error:  # noqa: BLE001  (whatever opening a sample's picture raises is that sample's)
                kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
                return self._response(request, error=f"{kind}{error}")
            try:
                async with limit:
                    began = clock()
                    try:
                        answer = await self._call(http, content, sent)
                    except RetryableError as failed:
                        if failed.overloaded:
                            limit.too_many(began, failed.wait)
                        raise
                    limit.went_well()
                self._failed = 0
                return self._response(request, answer, seconds=clock() - began)
            except NotTakenError as refused:
                self.without |= {refused.name}
            except BlockedError as blocked:
                self._failed = 0
                return self._response(request, Answer("", None, "filtered", {}), error=str(blocked))
            except HopelessError as hopeless:
                problem, own = str(hopeless), not hopeless.every
                break
            except RetryableError as failed:
                attempt, problem = attempt + 1, str(failed)
                if attempt < self.options.attempts:
                    pause = backoff(attempt, self.backoff_seconds)
                    await asyncio.sleep(pause if failed.wait is None else failed.wait)
        if not own:
            self._failed, self._last_problem = self._failed + 1, problem
        tried = f" (after {attempt} attempts)" if attempt > 1 else ""
        return self._response(request, error=problem[: 300 - len(tried)] + tried)

    async def _call(self, http: AsyncOpenAI, content: bytes, sent: frozenset[str]) -> Answer:
        """One attempt. Raises one of the exceptions of `faults`."""
        import aiohttp
        from openai import APIConnectionError, APIStatusError

        try:
            async with asyncio.timeout(self.options.timeout):
                raw = await http.post("/chat/completions", cast_to=bytes, content=content)
        except TimeoutError:
            raise RetryableError(f"no answer within {self.options.timeout:g} s") from None
        except APIStatusError as error:
            raise fault(error.status_code, error.response.headers, error.response.content, sent) from None
        except APIConnectionError as error:
            raise RetryableError(f"the connection failed: {error.__cause__ or error}") from None
        except (aiohttp.ClientError, OSError) as error:
            raise RetryableError(f"the connection failed: {type(error).__name__}: {error}") from None
        completion = json_object(raw)
        if completion is None:
            raise RetryableError("the answer is no JSON, or was cut short")
        answer = read_answer(completion)
        if answer is None:
            problem = completion.get("error")  # gateways wrap an error in a success
            code = problem.get("code") if isinstance(problem, dict) else None
            if type(code) is int and 400 <= code < 600:
                raise fault(code, {}, raw, sent)
            raise RetryableError("the answer holds no choices")
        return answer

    def _response(
        self, request: Request, answer: Answer | None = None, *, error: str | None = None, seconds: float | None = None
    ) -> Response:
        """The record of an answer or, without one, of an error; the key stands in neither."""
        said = answer or Answer("", None, "error", {})
        if error is not None and self.options.api_key:
            error = error.replace(self.options.api_key, "[key]")
        return Response(
            sample_id=request.sample_id,
            repeat=request.repeat,
            target=self.name,
            text=said.text,
            finish=said.finish,
            reasoning=said.reasoning,
            error=None if error is None else " ".join(error.split())[:300],
            usage=said.usage,
            cost=self.options.cost(said.usage),
            latency_seconds=None if seconds is None else round(seconds, 4),
        )
