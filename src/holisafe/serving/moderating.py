"""A body of `/v1/moderations`, read by guards."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from ..records import Message, Picture
from .chat import identity, read_body
from .errors import GatewayError
from .ledger import warn
from .moderation import ModerationBody, inputs, result
from .panel import Panel, Seen
from .policy import Policy


async def moderated(
    content: bytes,
    panel: Panel,
    policy: Policy,
    pictures: Callable[[Sequence[str]], Awaitable[list[Picture]]],
    timed: Callable[[str, Awaitable[Seen]], Awaitable[Seen]],
) -> dict[str, Any]:
    """The answer, in OpenAI's form. `pictures` opens what a request shows by its addresses, `timed` waits for a part's
    work. Raises GatewayError for what is not read."""
    body: ModerationBody = read_body(ModerationBody, content)
    if not panel.guards:
        raise GatewayError(404, "no_guard", "this gateway was started without a guard")
    if sum(len(text) for text, _ in inputs(body)) > policy.limits.characters:
        raise GatewayError(400, "invalid_value", "too much text", param="input")
    results = []
    for text, addresses in inputs(body):
        if len(addresses) > policy.limits.pictures:
            raise GatewayError(400, "invalid_value", "too many pictures", param="input")
        shown = await pictures(addresses)
        seen = await timed("guard", panel.request([Message("user", text, tuple(shown))]))
        if seen.faults or seen.blind:
            warn("guard", seen.faults or ["no guard here reads pictures"])
            raise GatewayError(503, "guard_unavailable", "the safety check is not available")
        if seen.unread:
            raise GatewayError(400, "not_read", "no guard here reads this kind of input", param="input")
        results.append(result(seen, policy, "request"))
    return {"id": identity("modr"), "model": panel.name, "results": results}
