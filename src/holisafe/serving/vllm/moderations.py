"""`POST /v1/moderations` on vLLM's own server, in the gateway's form.

    {"input": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,..."}}, {"type": "text", "text": ...}]}

Pictures come as data URLs; addresses are not opened. Keys are vLLM's (`--api-key` covers every address under /v1).
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Awaitable, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from ...guard.attach import labels_in
from ...records import Picture
from ...taxonomy import SAFE
from ..errors import GatewayError
from ..moderating import moderated
from ..panel import Panel, Seen
from ..pictures import Intake
from ..policy import Policy
from .guard import served_guard
from .registering import ARCHITECTURE

STATE = "holisafe_moderating"
"""The attribute of the app's state that holds who reads; None where nobody does."""


class Moderations:
    """The entry point of `vllm.endpoint_plugins`."""

    name = "holisafe"
    required_tasks = ("classify",)

    def attach_router(self, app: FastAPI) -> None:
        app.add_api_route("/v1/moderations", moderations, methods=["POST"])

    async def init_state(self, engine_client: Any, state: Any, args: Namespace) -> None:
        config = engine_client.model_config.hf_config
        reads = ARCHITECTURE in config.architectures and SAFE in labels_in(config)
        name = (args.served_model_name or [args.model])[0]
        setattr(state, STATE, await Moderating(engine_client, name).opened() if reads else None)


class Moderating:
    """The served guard, alone on its panel, and a policy without rules: flagged is what the guard calls unsafe."""

    def __init__(self, client: Any, name: str) -> None:
        self.policy = Policy()
        self.intake = Intake(self.policy)
        self.panel = Panel([served_guard(client, name)], self.policy.limits.guard_seconds)

    async def opened(self) -> Moderating:
        await self.panel.__aenter__()  # for as long as the server runs
        return self

    async def answer(self, content: bytes) -> dict[str, Any]:
        return await moderated(content, self.panel, self.policy, self.pictures, untimed)

    async def pictures(self, addresses: Sequence[str]) -> list[Picture]:
        return [await self.intake.picture(address) for address in addresses]

    async def body(self, request: Request) -> bytes:
        """Raises GatewayError for more bytes than are taken."""
        parts, size = [], 0
        async for piece in request.stream():
            parts.append(piece)
            size += len(piece)
            if size > self.policy.limits.body_bytes:
                raise GatewayError(413, "request_too_large", f"more than {self.policy.limits.body_bytes:,} bytes")
        return b"".join(parts)


async def moderations(request: Request) -> Response:
    reads: Moderating | None = getattr(request.app.state, STATE, None)
    try:
        if reads is None:
            raise GatewayError(
                404, "no_guard", "no guard with a label `safe` is served here, by --config-format holisafe"
            )
        return JSONResponse(await reads.answer(await reads.body(request)))
    except GatewayError as fault:
        return JSONResponse(fault.to_json(), status_code=fault.status, headers=fault.headers)


async def untimed(part: str, work: Awaitable[Seen]) -> Seen:
    return await work
