"""What LiteLLM makes of a gateway, as JSON. Runs in LiteLLM's own environment:  asks.py '{"url": ..., ...}'"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it asks the network on import

import litellm

GIVEN = json.loads(sys.argv[1])


def options(text: str, picture: str | None = None, **more: Any) -> dict[str, Any]:
    parts: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": picture}}] if picture else []
    parts.append({"type": "text", "text": text})
    model = more.pop("model", "openai/model")
    where = {"api_base": more.pop("url", GIVEN["url"]), "api_key": more.pop("key", "none"), "max_retries": 0}
    return {"model": model, "messages": [{"role": "user", "content": parts}], "timeout": 20, **where, **more}


def said(reply: Any) -> dict[str, Any]:
    (choice,) = reply.choices
    return {"text": choice.message.content, "finish": choice.finish_reason, "tokens": reply.usage.total_tokens}


def streamed(text: str) -> dict[str, Any]:
    pieces = list(litellm.completion(**options(text, stream=True, stream_options={"include_usage": True})))
    choices = [piece.choices[0] for piece in pieces if piece.choices]
    texts = [choice.delta.content for choice in choices if choice.delta.content]
    return {"text": "".join(texts), "pieces": len(texts), "finish": choices[-1].finish_reason}


def failed(ask: Callable[[], Any]) -> list[Any]:
    try:
        ask()
    except Exception as error:  # noqa: BLE001  (which it is, is what is asked)
        return [type(error).__name__, getattr(error, "status_code", None)]
    return []


async def left(stream: bool) -> str:
    """Asks for what never comes, and goes away."""

    async def ask() -> None:
        reply = await litellm.acompletion(**options("Never", url=GIVEN["endless"], stream=stream))
        async for _ in reply:
            asyncio.current_task().cancel()  # type: ignore[union-attr]

    task = asyncio.create_task(ask())
    if not stream:
        await asyncio.sleep(0.5)
        task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return "cancelled"
    return "answered"


def crowded() -> list[Any]:
    """A second request where there is room for one."""

    async def both() -> list[Any]:
        first = asyncio.create_task(litellm.acompletion(**options("Never", url=GIVEN["narrow"])))
        await asyncio.sleep(0.5)
        try:
            return await asyncio.to_thread(failed, lambda: litellm.completion(**options("Hi", url=GIVEN["narrow"])))
        finally:
            first.cancel()

    return asyncio.run(both())


def moderation(text: str) -> dict[str, Any]:
    (result,) = litellm.moderation(input=text, model="any", api_base=GIVEN["url"], api_key="none").results
    return {"flagged": result.flagged, "S1": result.category_applied_input_types.get("S1")}


print(
    json.dumps(
        {
            "chat": said(litellm.completion(**options("Hello"))),
            "picture": said(litellm.completion(**options("Hello", GIVEN["picture"]))),
            "refused": said(litellm.completion(**options(f"a {GIVEN['word']}"))),
            "stream": streamed("Hello"),
            "refused stream": streamed(f"a {GIVEN['word']}"),
            "moderations": [moderation("Hello"), moderation(GIVEN["word"])],
            "no such model": failed(lambda: litellm.completion(**options("Hi", model="openai/other"))),
            "no picture": failed(lambda: litellm.completion(**options("Hi", "data:image/png;base64,AAAA"))),
            "not carried out": failed(lambda: litellm.completion(**options("Hi", n=2))),
            "no key": failed(lambda: litellm.completion(**options("Hi", url=GIVEN["locked"]))),
            "down": failed(lambda: litellm.completion(**options("Hi", url=GIVEN["down"]))),
            "too many": crowded(),
            "left": [asyncio.run(left(stream)) for stream in (False, True)],
        }
    )
)
