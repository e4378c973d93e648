"""uvicorn with what it lacks: who never ends a request's head is let go, and nothing is written down of requests."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from ..errors import InputError
from .policy import Limits

BACKLOG = 1024
MOST_CONNECTIONS = 2048
KEEP_ALIVE = 15
"""Seconds that a connection may stay open between requests."""


def protocol(limits: Limits) -> type[H11Protocol]:
    """uvicorn's HTTP protocol, which gives a client so many seconds for the head of a request."""

    class Timely(H11Protocol):
        _alarm: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._wind()

        def data_received(self, data: bytes) -> None:
            before = self.cycle
            if self._alarm is None and (before is None or before.response_complete):
                self._wind()
            super().data_received(data)
            if self.cycle is not before:
                self._stop()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop()
            super().connection_lost(exc)

        def _wind(self) -> None:
            self._alarm = self.loop.call_later(limits.header_seconds, self.transport.abort)

        def _stop(self) -> None:
            if self._alarm is not None:
                self._alarm.cancel()
                self._alarm = None

    return Timely


def serve(app: FastAPI, limits: Limits, host: str, port: int) -> None:
    """Serve until stopped. Prints the address once clients can connect. Raises InputError where the port is taken."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s")
    config = uvicorn.Config(
        app,
        http=protocol(limits),
        ws="none",
        lifespan="on",
        loop="asyncio",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE,
        limit_concurrency=max(MOST_CONNECTIONS, 4 * (limits.in_flight + limits.waiting)),
        backlog=BACKLOG,
        timeout_graceful_shutdown=10,
    )
    listening = bound(host, port)
    server = Announced(config, f"http://{_shown(host)}:{listening.getsockname()[1]}/v1")
    with listening:
        server.run(sockets=[listening])
    if not server.started:
        raise InputError("the gateway could not be started")


class Announced(uvicorn.Server):
    """A server that says where it is as soon as it is there."""

    def __init__(self, config: uvicorn.Config, address: str) -> None:
        super().__init__(config)
        self.address = address

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            print(f"Serving at {self.address}", flush=True)


def bound(host: str, port: int) -> socket.socket:
    """A socket at an address of this machine. Raises InputError where there is none, or another process has it."""
    try:
        family, kind, number, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, number)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place)
    except OSError as error:
        raise InputError(f"cannot listen at {host} port {port} ({error.strerror or error})") from None
    return listening


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
