"""The one place that opens an address from a request: of a host that the policy names, and never in a private network.

An address is resolved once, and the connection goes to what was found and looked at: a name that means something else
a moment later gains nothing. The same holds at each redirect, which must lead to a host that is named as well.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Any
from urllib.parse import urljoin, urlsplit

from .errors import GatewayError, refused
from .policy import Fetch

FIELD = "messages.content.image_url.url"
HOPS = 3


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet; of IPv6 that carries an IPv4 address, that one counts too."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    inner = [found]
    if isinstance(found, ipaddress.IPv6Address):
        carried = [found.ipv4_mapped, found.sixtofour, *(found.teredo or ())]
        if found in ipaddress.ip_network("64:ff9b::/96"):
            carried.append(ipaddress.IPv4Address(int(found) & 0xFFFFFFFF))
        inner += [one for one in carried if one is not None]
    return all(one.is_global and not one.is_multicast for one in inner)


def allowed_host(address: str, fetch: Fetch) -> str:
    """The host of an address that may be opened. Raises GatewayError, naming nothing of our network."""
    try:
        parts = urlsplit(address)
        host, usable = (parts.hostname or "").rstrip(".").lower(), parts.port in (None, 443)
    except ValueError:
        host, usable = "", False
    if not fetch.hosts:
        raise refused("addresses are not opened here: send the picture as a data URL", FIELD, "url_not_allowed")
    if not usable or parts.scheme != "https" or parts.username or parts.password or host not in fetch.hosts:
        raise refused("this address is not opened here: send the picture as a data URL", FIELD, "url_not_allowed")
    return host


class Resolver:
    """aiohttp's resolver of names: gives public addresses alone, and fails where a name has any other."""

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_UNSPEC) -> list[Any]:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
        addresses = [(one[0], str(one[4][0])) for one in found]
        if not addresses or not all(is_public(address) for _, address in addresses):
            raise OSError(f"{host} has no public address")
        return [
            {
                "hostname": host,
                "host": address,
                "port": port,
                "family": kind,
                "proto": 0,
                "flags": socket.AI_NUMERICHOST,
            }
            for kind, address in addresses
        ]

    async def close(self) -> None:
        """Nothing is held."""


async def fetched(address: str, fetch: Fetch, most: int) -> bytes:
    """The bytes at an address. Raises GatewayError for one that is not allowed, or does not answer with a picture."""
    allowed_host(address, fetch)
    import aiohttp

    connector = aiohttp.TCPConnector(resolver=Resolver(), use_dns_cache=False)  # type: ignore[arg-type]
    try:
        async with (
            asyncio.timeout(fetch.seconds),
            aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False) as http,
        ):
            for _ in range(HOPS):
                host = allowed_host(address, fetch)
                if _is_address(host) and not is_public(host):  # aiohttp asks no resolver for these
                    raise OSError("a private address")
                async with http.get(address, allow_redirects=False, headers={"Accept": "image/*"}) as response:
                    if response.status in (301, 302, 303, 307, 308):
                        address = urljoin(address, response.headers.get("Location", ""))
                        continue
                    if response.status != 200:
                        raise OSError("no picture")
                    data = bytearray()
                    async for piece in response.content.iter_any():
                        data += piece
                        if len(data) > most:
                            raise GatewayError(413, "image_too_large", f"more than {most:,} bytes", param=FIELD)
                    return bytes(data)
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
        raise refused("the picture's address could not be opened", FIELD, "image_unreachable") from None
    raise refused("the picture's address leads on and on", FIELD, "image_unreachable")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
