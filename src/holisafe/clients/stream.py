"""A completion that came as a stream of server-sent events -> the same completion in one piece.

Some models are only served so, and some gateways stream whatever was asked.
"""

from __future__ import annotations

import json
import re
from itertools import groupby
from typing import Any

from ..thoughts import thinks, wording
from .answer import APART, ENDINGS, json_object
from .faults import RetryableError

STREAMED = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:data|event|id|retry)?:")
"""How a stream begins, a comment by which a server keeps the connection alive included; no JSON does."""

SAID = ("content", "refusal", *APART)
"""The parts of a message that grow, piece by piece."""


def in_one_piece(content: bytes) -> bytes:
    """A stream as the JSON of the completion that it makes up; anything else as it is.

    Raises RetryableError for a stream that ends before the answer does: by no `[DONE]`, finish reason or error.
    """
    if not STREAMED.match(content):
        return content
    told: dict[str, Any] = {}
    choice: dict[str, Any] = {}
    pieces: dict[str, list[Any]] = {}
    ended = False
    for line in content.splitlines():
        field, _, data = line.partition(b":")
        if field.strip(b"\xef\xbb\xbf ") != b"data":
            continue
        if data.strip() == b"[DONE]":
            ended = True
            continue
        event = json_object(data) or {}
        told |= _known(event)
        choices = event.get("choices")
        for part in choices if isinstance(choices, list) else ():
            if isinstance(part, dict) and part.get("index") in (None, choice.get("index", part.get("index"))):
                choice |= _known(part)
                for name, piece in _known(part.get("delta")).items():
                    pieces.setdefault(name, []).append(piece)
    if not (ended or told.get("error") or any(choice.get(name) for name in ("error", *ENDINGS))):
        raise RetryableError("the answer was cut short")
    if pieces:
        choice["message"] = {name: _joined(pieces[name]) for name in SAID if name in pieces}
    return json.dumps({**told, "choices": [choice] if choice and "error" not in told else []}).encode()


def _known(value: Any) -> dict[str, Any]:
    """An object's fields that say something; a later null takes nothing back."""
    return {name: item for name, item in value.items() if item is not None} if isinstance(value, dict) else {}


def _joined(pieces: list[Any]) -> Any:
    """A text, or the parts of a content: a thought that came in many pieces is one."""
    parts = [part for piece in pieces for part in (piece if isinstance(piece, list) else [piece])]
    if all(isinstance(part, str) for part in parts):
        return "".join(parts)
    return [
        {"type": "thinking" if thought else "text", "text": "".join(map(wording, group))}
        for thought, group in groupby(parts, thinks)
    ]
