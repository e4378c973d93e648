"""The routes, as FastAPI serves them: bodies come in pieces, clients that go are noticed, faults are OpenAI's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from .chat import check_model, event, identity
from .entry import Ended, Entry
from .errors import GatewayError
from .gateway import Gateway
from .keys import Keys
from .ledger import LOG, Ledger

BUFFERED = 256 << 20
"""Bytes of bodies that are held at once while they come in."""

LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")
GONE = 499
"""What proxies write down for a client that went away; nobody receives it."""

Handler = Callable[[Request], Awaitable[Response]]


class GoneError(Exception):
    """The client went away."""


def application(gateway: Gateway, keys: Keys) -> FastAPI:
    """The gateway as an ASGI application."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with gateway:
            yield

    app = FastAPI(title="holisafe serve", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    desk = Desk(gateway, keys)
    app.add_route("/v1/chat/completions", desk.route("chat", desk.chat), methods=["POST"])
    app.add_route("/v1/moderations", desk.route("moderations", desk.moderations), methods=["POST"])
    app.add_route("/v1/models", desk.route("models", desk.models), methods=["GET"])
    app.add_route("/v1/models/{name:path}", desk.route("models", desk.model), methods=["GET"])
    app.add_route("/metrics", desk.route("metrics", desk.metrics), methods=["GET"])
    app.add_route("/health", desk.health, methods=["GET"])

    @app.exception_handler(HTTPException)
    async def _(_: Request, error: HTTPException) -> Response:
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "error")
        return answer(GatewayError(error.status_code, code, "there is nothing of this kind here"))

    return app


class Desk:
    """Takes requests in and gives answers out."""

    def __init__(self, gateway: Gateway, keys: Keys) -> None:
        self.gateway, self.keys, self.limits = gateway, keys, gateway.policy.limits
        self._buffered = 0

    def route(self, name: str, handler: Handler) -> Handler:
        """A handler behind the keys, within the time limit, whose faults are answers."""

        async def handle(request: Request) -> Response:
            began = time.perf_counter()
            try:
                self._admit(request)
                response = await handler(request)
            except GatewayError as fault:
                response = answer(fault)
            except GoneError:
                response = Response(status_code=GONE)
            except TimeoutError:
                response = answer(GatewayError(504, "timeout", f"no answer within {self.limits.seconds:g} s"))
            except Exception as error:  # noqa: BLE001  (ours: told to the operator, and to no client)
                LOG.error("fault of the gateway: %s", type(error).__name__, exc_info=error)
                response = answer(GatewayError(500, "internal_error", "the gateway failed; nothing was delivered"))
            self.gateway.counters.requests.labels(name, str(response.status_code)).inc()
            self.gateway.counters.seconds.labels(name).observe(time.perf_counter() - began)
            return response

        handle.__annotations__ = {"request": Request, "return": Response}
        return handle

    def _admit(self, request: Request) -> None:
        """Raise GatewayError for whoever has no key; without keys, for a page in a browser that calls itself local."""
        if self.keys:
            if not self.keys.opens(request.headers.get("authorization")):
                raise GatewayError(401, "invalid_api_key", "no valid key: send Authorization: Bearer KEY")
        elif request.headers.get("host", "").rpartition(":")[0].lower() not in LOCAL_HOSTS and (
            request.headers.get("host", "").lower() not in LOCAL_HOSTS
        ):
            raise GatewayError(403, "host_not_allowed", "without keys this gateway answers under its local name alone")

    async def chat(self, request: Request) -> Response:
        until = asyncio.get_running_loop().time() + self.limits.seconds
        content, entry = await self._body(request), Entry(identity())
        flow = self.gateway.answers(content, entry)
        try:
            first = await while_there(request, _next(flow), until)
        except BaseException as end:
            await flow.aclose()
            await self.gateway.ledger.close(entry, *ending(end))
            raise
        if isinstance(first, bytes):
            return Events(first, flow, until, self.gateway.ledger, entry)
        await flow.aclose()
        return JSONResponse(first)

    async def moderations(self, request: Request) -> Response:
        until = asyncio.get_running_loop().time() + self.limits.seconds
        content = await self._body(request)

        async def moderate() -> dict[str, Any]:
            async with self.gateway.room:
                return await self.gateway.moderate(content)

        return JSONResponse(await while_there(request, moderate(), until))

    async def models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [self._card()]})

    async def model(self, request: Request) -> Response:
        check_model(request.path_params["name"], self.gateway.name)
        return JSONResponse(self._card())

    def _card(self) -> dict[str, Any]:
        return {"id": self.gateway.name, "object": "model", "created": 0, "owned_by": "holisafe"}

    async def metrics(self, request: Request) -> Response:
        return Response(self.gateway.counters.page(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def health(self, request: Request) -> Response:
        """That it runs; it asks neither guard nor model, and tells nothing about them."""
        return JSONResponse({"status": "ok"})

    async def _body(self, request: Request) -> bytes:
        """The body, within the limits of size and time. Raises GatewayError, and GoneError when the client goes."""
        kind, most = request.headers.get("content-type", "").partition(";")[0].strip().lower(), self.limits.body_bytes
        if kind != "application/json" or request.headers.get("content-encoding", "identity").lower() != "identity":
            raise GatewayError(415, "unsupported_media_type", "send plain application/json")
        told = request.headers.get("content-length", "0")
        too_large = GatewayError(413, "request_too_large", f"more than {most:,} bytes")
        if told.isdecimal() and int(told) > most:
            raise too_large
        parts, size = [], 0
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                async for piece in request.stream():
                    parts.append(piece)
                    size += len(piece)
                    self._buffered += len(piece)
                    if size > most:
                        raise too_large
                    if self._buffered > BUFFERED:
                        raise GatewayError(429, "rate_limit_exceeded", "too much at once; try again", retry_after=1)
        except TimeoutError:
            raise GatewayError(408, "request_timeout", f"no whole body within {self.limits.body_seconds:g} s") from None
        except ClientDisconnect:
            raise GoneError from None
        finally:
            self._buffered -= size
        return b"".join(parts)


def ending(end: BaseException) -> tuple[Ended, str]:
    """How a request ended that ended in an exception, and the error's code."""
    if isinstance(end, GoneError):
        return "cancelled", ""
    if isinstance(end, GatewayError):
        return "error", end.code
    kinds = {TimeoutError: "timeout", asyncio.CancelledError: "stopped"}
    return "error", next((code for kind, code in kinds.items() if isinstance(end, kind)), "internal_error")


class Events(StreamingResponse):
    """Server-sent events. A client that does not take them in time loses the rest, and its place."""

    def __init__(self, first: bytes, flow: AsyncGenerator[Any], until: float, ledger: Ledger, entry: Entry) -> None:
        super().__init__(self._events(first), media_type="text/event-stream", headers={"Cache-Control": "no-store"})
        self.flow, self.until, self.ledger, self.entry = flow, until, ledger, entry

    async def _events(self, first: bytes) -> AsyncIterator[bytes]:
        yield first
        try:
            async for piece in self.flow:
                yield piece
        except Exception as error:  # noqa: BLE001  (the status is sent: all that is left to say)
            LOG.error("fault of the gateway in a stream: %s", type(error).__name__, exc_info=error)
            await self.ledger.close(self.entry, *ending(error))
            yield event(GatewayError(500, "internal_error", "the gateway failed; the rest was not delivered").to_json())

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        end: BaseException = GoneError()  # without another reason it is the client who did not hear the end
        try:
            async with asyncio.timeout_at(self.until):
                await super().__call__(scope, receive, send)
        except TimeoutError as late:
            end = late
            with suppress(TimeoutError, OSError, RuntimeError):
                async with asyncio.timeout(1):
                    told = GatewayError(504, "timeout", "the answer took too long; the rest was not delivered")
                    await send({"type": "http.response.body", "body": event(told.to_json()), "more_body": False})
        except asyncio.CancelledError as stopped:
            end = stopped
            raise
        finally:
            await self.flow.aclose()
            await self.ledger.close(self.entry, *ending(end))


async def _next(flow: AsyncGenerator[Any]) -> Any:
    return await anext(flow)


async def while_there(request: Request, work: Coroutine[Any, Any, Any], until: float) -> Any:
    """What the work comes to. It is dropped, and GoneError raised, when the client goes; TimeoutError at the time
    `until` of the loop's clock."""
    mine, gone = cast("asyncio.Task[Any]", asyncio.current_task()), False

    async def watch() -> None:
        nonlocal gone
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone = True
        mine.cancel()

    watching = asyncio.create_task(watch())
    try:
        async with asyncio.timeout_at(until):
            return await work
    except asyncio.CancelledError:
        if gone and mine.uncancel() == 0:
            raise GoneError from None
        raise
    finally:
        watching.cancel()


def answer(fault: GatewayError) -> Response:
    """A fault in OpenAI's form."""
    return JSONResponse(fault.to_json(), status_code=fault.status, headers=fault.headers)
