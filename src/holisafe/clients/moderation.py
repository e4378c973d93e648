"""The client for `POST /v1/moderations`: texts and pictures in, what was flagged out, with the chat client's limits.

    {"model", "input": [{"type": "text", "text"}, {"type": "image_url", "image_url": {"url"}}]}
    {"results": [{"flagged", "categories": {NAME: bool}, "category_scores": {NAME: number}}]}

A response's text is the first result as JSON, for whoever asked to read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..records import Request
from .answer import Answer
from .chat import ChatClient
from .options import ChatOptions


def moderation_payload(request: Request, options: ChatOptions, url: str) -> dict[str, Any]:
    """The pictures of a request's messages, each message's before its text."""
    parts: list[dict[str, Any]] = []
    for message in request.messages:
        parts += [{"type": "image_url", "image_url": {"url": url}} for _ in message.pictures]
        if message.text.strip():
            parts.append({"type": "text", "text": message.text})
    return {"model": options.model, "input": parts}


class ModerationClient(ChatClient):
    """A moderation endpoint. It counts no tokens, so it has no cost that could be known here."""

    path = "moderations"
    payload = staticmethod(moderation_payload)

    def read(self, completion: Mapping[str, Any]) -> Answer | None:
        results = completion.get("results")
        if not isinstance(results, list) or len(results) != 1:
            return None
        return Answer(json.dumps(results[0], ensure_ascii=False), None, "stop", {})
