"""A call's bytes: one POST to one address, and no more of its answer than is allowed.

Whatever a server sends, at most `max_bytes` are taken off the wire and at most as many come out of its compression.
Redirects are followed to the same origin only, so that neither prompts nor keys go where nobody sent them.
"""

from __future__ import annotations

import ssl
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from .faults import HopelessError, RetryableError
from .options import ChatOptions
from .stream import in_one_piece

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

REDIRECTS = (301, 302, 303, 307, 308)
HOPS = 3
"""Redirects in a row that are followed."""


class Reply(NamedTuple):
    """What a server answered: the body is whole, decompressed, and no stream any more."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def session(options: ChatOptions) -> ClientSession:
    """Connections to a server: no cookies, nothing from the environment but the proxy that the options name."""
    from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector

    accept = "text/event-stream" if options.stream else "application/json"
    headers = {"Content-Type": "application/json", "Accept": accept, "Accept-Encoding": "gzip, deflate"}
    if options.api_key:
        headers["Authorization"] = f"Bearer {options.api_key}"
    secure = ssl.create_default_context()
    with suppress(ImportError):  # where a system has no certificates of its own
        import certifi

        secure.load_verify_locations(certifi.where())
    return ClientSession(
        connector=TCPConnector(limit=options.max_in_flight, ssl=secure),
        timeout=ClientTimeout(total=None),  # the whole call has one
        cookie_jar=DummyCookieJar(),
        auto_decompress=False,
        headers=headers,
    )


async def post(http: ClientSession, options: ChatOptions, path: str, content: bytes) -> Reply:
    """POST to an endpoint of the API. Raises HopelessError for a redirect elsewhere and for an answer that is too long.

    Raises RetryableError for an answer that was cut short.
    """
    async with sent(http, options, path, content) as response:
        return await whole(response, options)


async def whole(response: ClientResponse, options: ChatOptions) -> Reply:
    """What is left of an answer, in one piece."""
    return Reply(response.status, response.headers, in_one_piece(await _body(response, options.max_bytes)))


@asynccontextmanager
async def sent(
    http: ClientSession, options: ChatOptions, path: str, content: bytes, headers: Mapping[str, str] | None = None
) -> AsyncIterator[ClientResponse]:
    """A POST to an endpoint, of whose answer the head is there. Raises HopelessError for a redirect elsewhere."""
    from yarl import URL

    url = URL(f"{options.base_url}/{path}")
    for _ in range(HOPS):
        async with http.post(
            url, data=content, allow_redirects=False, proxy=options.proxy, headers=headers
        ) as response:
            there = response.headers.get("Location", "")
            if response.status not in REDIRECTS:
                yield response
                return
        try:
            target = url.join(URL(there))
        except ValueError:
            target = URL()
        if response.status == 303 or not there or target.origin() != url.origin():
            elsewhere = str(target.with_query(None).with_user(None))[:200] if target.host else "nowhere"
            problem = f"{response.status}: the server sends to {elsewhere}, where nobody asked to; base_url says where"
            raise HopelessError(problem, True)
        url = target
    raise HopelessError(f"the server redirected {HOPS} times in a row", True)


async def _body(response: ClientResponse, most: int) -> bytes:
    too_long = f"the answer is longer than {most:,} bytes (option max_bytes takes more)"
    parts, size = [], 0
    async for chunk in response.content.iter_any():
        parts.append(chunk)
        size += len(chunk)
        if size > most:
            raise HopelessError(too_long, True)
    raw = b"".join(parts)
    compression = response.headers.get("Content-Encoding", "").strip().lower()
    if not raw or compression in ("", "identity"):
        return raw
    if compression not in ("gzip", "x-gzip", "deflate"):
        raise HopelessError(f"the answer is compressed as {compression[:40]!r}, which was not asked for", True)
    bare = compression == "deflate" and raw[0] & 0x0F != 8  # without zlib's header, as some servers take the name
    unpacking = zlib.decompressobj(-zlib.MAX_WBITS if bare else zlib.MAX_WBITS | 32)
    try:
        unpacked = unpacking.decompress(raw, most + 1)
    except zlib.error:
        raise RetryableError("the answer's compression is broken") from None
    if len(unpacked) > most:
        raise HopelessError(too_long, True)
    if not unpacking.eof:
        raise RetryableError("the answer was cut short")
    return unpacked
