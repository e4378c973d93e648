"""A request as the bytes that the chat API takes.

Pictures stand in it as marks until the rest is JSON, and are then spliced in as they are: base64 needs no escaping,
and scanning 100 KB of it for every call would take longer than everything else the client does.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from typing import Any

from ..records import Message, Request
from .options import ChatOptions
from .pictures import EncodedPictures

MARK = secrets.token_hex(16)
"""Stands for a picture's address. It never leaves the process, so that no text can hold it."""

OPTIONAL = frozenset({"max_tokens", "response_format", "seed", "stream_options"})
"""What a call can do without where a server does not take it; `max_tokens` is then sent as `max_completion_tokens`."""

Payload = Callable[[Request, ChatOptions, str], dict[str, Any]]
"""(request, options, what stands for every picture's address) -> the JSON object that is sent."""

MOST_TOKENS_TOLD = 20
"""How many of the likeliest first tokens a server tells of; of others nothing is known."""


def payload(request: Request, options: ChatOptions, url: str) -> dict[str, Any]:
    """What is asked, every picture's address being `url`. A seed is the settings' plus the number of the repeat."""
    generation = options.generation(request.settings)
    asked: dict[str, Any] = {
        "model": options.model,
        "messages": [_message(message, options.detail, url) for message in request.messages],
        "max_tokens": generation["max_new_tokens"] + (generation["reasoning_tokens"] or 0),
        "seed": generation["seed"] + request.repeat,
    }
    if options.stream:
        asked |= {"stream": True, "stream_options": {"include_usage": True}}
    for name in ("temperature", "reasoning_effort"):
        if generation[name] is not None:
            asked[name] = generation[name]
    if request.first_words:
        asked |= {"logprobs": True, "top_logprobs": MOST_TOKENS_TOLD}
    asked |= options.reasoning(request.settings)
    if request.template:
        asked["chat_template_kwargs"] = {**asked.get("chat_template_kwargs", {}), **request.template}
    if request.answer_schema is not None:
        schema = {"name": "answer", "strict": True, "schema": dict(request.answer_schema)}
        asked["response_format"] = {"type": "json_schema", "json_schema": schema}
    return asked


async def body(
    request: Request,
    options: ChatOptions,
    without: frozenset[str],
    pictures: EncodedPictures,
    asking: Payload = payload,
) -> tuple[bytes, frozenset[str]]:
    """The request's JSON as `asking` shapes it, its pictures in the order of the messages, and which of `OPTIONAL` it
    holds. Raises whatever opening a picture raises."""
    asked = asking(request, options, MARK)
    if "max_tokens" in without:
        asked["max_completion_tokens"] = asked.pop("max_tokens")
    for name in without:
        asked.pop(name, None)
    start, *rest = json.dumps(asked, separators=(",", ":")).encode().split(MARK.encode())
    shown = [picture for message in request.messages for picture in message.pictures]
    parts = [start]
    for picture, following in zip(shown, rest, strict=True):
        parts += [await pictures.url(picture, options.encoding), following]
    return b"".join(parts), OPTIONAL & asked.keys()


def _message(message: Message, detail: str | None, url: str) -> dict[str, Any]:
    if not message.pictures:
        return {"role": message.role, "content": message.text}
    shown = {"url": url} if detail is None else {"url": url, "detail": detail}
    content: list[dict[str, Any]] = [{"type": "image_url", "image_url": shown} for _ in message.pictures]
    if message.text.strip():  # several servers refuse an empty text
        content.append({"type": "text", "text": message.text})
    return {"role": message.role, "content": content}
