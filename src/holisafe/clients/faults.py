"""What a call that brought no answer means: try again, give up, or a block by the provider's content filter.

Bodies are read without trust: whatever type or depth an error has, there is a reason to tell, and nothing is raised.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

from .answer import first_choice, json_object
from .error_words import is_block, refuses, texts

LONGEST_WAIT = 600.0
"""Seconds. A server that asks for more is not waited for: its calls are errors, and a later sitting makes them."""

RETRYABLE = frozenset({200, 408, 409, 425, 429})
"""Besides 5xx. 409 is what some gateways answer while a model is loading; 200 with an error inside says nothing."""

OVERLOADED = frozenset({429, 503, 529})
"""What means that fewer calls should be in flight."""

NOBODYS = frozenset({401, 403, 404, 405})
"""What is the matter with the key, the model or the address rather than with one request."""

NO_CHOICES = "the answer holds no choices"

WAY_OUT = {
    "temperature": "temperature=none leaves it out",
    "reasoning_effort": "leave --reasoning, or the option reasoning_effort, out",
    **dict.fromkeys(
        ("chat_template_kwargs", "thinking_token_budget", "thinking", "reasoning"),
        "leave --reasoning out, or let reasoning_by=template, effort, thinking or openrouter say how it is told",
    ),
}
"""What is never dropped in silence: the user is told how."""

STREAM_ONLY = re.compile(r"only supports? stream|stream must be (set to )?true|enable the stream", re.IGNORECASE)
"""How models say that they answer in pieces alone."""


NEVER = re.compile(
    r"""(image|vision|multimodal)\w* ([ ]\w+){0,3}? [ ](is|are)[ ]not[ ]supported
    | do(es)?[ ]not[ ]support ([ ]\w+){0,2}? [ ](image|vision|multimodal) | required[ ]for[ ](image|vision)
    | (exceeds?|longer[ ]than) ([ ][\w']+){0,4}? [ ]context""",
    re.IGNORECASE | re.VERBOSE,
)
"""What some servers call a fault of theirs (500) though no attempt will mend it: no eyes, or no room for the prompt."""


class RetryableError(Exception):
    """A call that may succeed when made again. `wait` is what the server asks for, in seconds.

    `unreached`: nothing at all was heard from the server.
    """

    def __init__(
        self, problem: str, wait: float | None = None, overloaded: bool = False, unreached: bool = False
    ) -> None:
        super().__init__(problem)
        self.wait, self.overloaded, self.unreached = wait, overloaded, unreached


class HopelessError(Exception):
    """A call that would fail again, and with it every other one when the fault is not its own (`every`)."""

    def __init__(self, problem: str, every: bool = False) -> None:
        super().__init__(problem)
        self.every = every


class BlockedError(Exception):
    """The provider's content filter blocked the request."""


class NotTakenError(Exception):
    """The server does not take a parameter, of which `name` is the name; the call can do without."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def fault(status: int, headers: Mapping[str, str], content: bytes, sent: frozenset[str]) -> Exception:
    """The exception that an answer without a completion stands for. `sent` are the parameters one can do without.

    The status is the one inside the body where that holds one.
    """
    body = json_object(content)
    error = _error(body or {})
    inner = error.get("code", error.get("status"))
    if status == 200 and isinstance(inner, str | int) and re.fullmatch("[45][0-9][0-9]", str(inner)):
        status = int(inner)
    told = list(texts(body)) if body is not None else [("", content[:2000].decode("utf-8", "replace"))]
    said = _message(error, told) or (NO_CHOICES if status == 200 else "no reason given")
    if is_block(status, told):
        return BlockedError(said)
    if status in (200, 400, 422, 500):
        for name in sorted(sent):
            if refuses(name, error, told):
                return NotTakenError(name)
        for name, way_out in WAY_OUT.items():
            if refuses(name, error, told):
                said = f"{said} ({way_out})"
        if STREAM_ONLY.search(said):
            said = f"{said} (stream=true does so)"
    problem = said if status == 200 else f"{status} {_phrase(status)}: {said}"
    if status == 401:
        return HopelessError("401 Unauthorized: the server does not accept the key", True)  # it may repeat the key
    if status == 429 and "insufficient_quota" in (error.get("code"), error.get("type")):
        return HopelessError(problem, True)
    if status in RETRYABLE or (status >= 500 and not NEVER.search(said)):
        wait = asked_wait(headers)
        if wait is not None and wait > LONGEST_WAIT:
            return HopelessError(f"{problem} (the server asks for a wait of {wait:,.0f} s)", True)
        return RetryableError(problem, wait, status in OVERLOADED)
    return HopelessError(problem, status in NOBODYS)


def _error(body: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a body that is the error: a choice's own, the one under `error`, else all of it."""
    for holder in (first_choice(body), body):
        found = holder.get("error") if isinstance(holder, dict) else None
        if isinstance(found, list) and found:
            found = found[0]
        if isinstance(found, dict):
            return found
        if found:
            return {**body, "message": found}
    return dict(body)


def _message(error: Mapping[str, Any], told: list[tuple[str, str]]) -> str:
    """The reason in words: the error's own message, or the first text that reads like one."""
    own = error.get("message")
    if isinstance(own, str) and own.strip():
        return " ".join(own[:10_000].split())
    names = ("message", "msg", "detail", "error", "error_message", "status_msg", "reason", "blockreason", "code", "")
    by_name = {name: text for name, text in reversed(told) if text.strip()}
    return " ".join(next((by_name[name] for name in names if name in by_name), "").split())


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "error"


def asked_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait: `retry-after-ms`, or `Retry-After` in seconds or as an HTTP date."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        text = headers.get(name, "")
        try:
            wait = float(text) / unit
        except ValueError:
            if not text or unit != 1.0:
                continue
            try:
                wait = parsedate_to_datetime(text).timestamp() - time.time()
            except (ValueError, OverflowError):
                continue
        if wait == wait:  # not NaN
            return max(0.0, wait)
    return None


def backoff(attempt: int, base: float, longest: float = 60.0) -> float:
    """Seconds to wait after the attempt of that number, from 1: doubling, with a random half of it taken off or not."""
    return float(min(longest, base * 2 ** (attempt - 1)) * random.uniform(0.5, 1.0))
