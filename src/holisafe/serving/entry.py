"""What is known of one request, from its arrival until it is written down."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ..records import Request, Response
from .policy import Decision

PASS = Decision("pass")

Ended = Literal[
    "answer", "refusal of the request", "refusal of the answer", "apology", "broken off", "cancelled", "error"
]
"""What its client got. `cancelled`: it went away before the end. `error`: a fault in OpenAI's form, perhaps after the
beginning of a stream."""


@dataclass
class Entry:
    """`request` is None until the body was read; `left` are the pieces of a stream that were sent; `code` is the one of
    the error that took the place of an answer."""

    id: str
    request: Request | None = None
    asked: Decision = PASS
    answered: Decision = PASS
    response: Response | None = None
    left: list[str] = field(default_factory=list)
    ended: Ended | None = None
    code: str = ""
