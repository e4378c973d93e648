"""Asking a target some requests, outside of a run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from holisafe.records import Request, Response


def responses(target: Any, requests: Iterable[Request]) -> list[Response]:
    """All responses, in the order of sample and repeat."""

    async def give() -> Any:
        for request in requests:
            yield request

    async def collect() -> list[Response]:
        return [response async for response in target.respond(give())]

    return sorted(asyncio.run(collect()), key=lambda one: (one.sample_id, one.repeat))
