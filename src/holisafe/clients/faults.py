"""What a call that brought no answer means: try again, give up, or a block by the provider's content filter."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

from .answer import json_object

LONGEST_WAIT = 600.0
"""Seconds. A server that asks for more is not waited for: its calls are errors, and a later sitting makes them."""

RETRYABLE = frozenset({408, 409, 425, 429})
"""Besides 5xx. 409 is what some gateways answer while a model is loading."""

OVERLOADED = frozenset({429, 503, 529})
"""What means that fewer calls should be in flight."""

NOBODYS = frozenset({401, 403, 404, 405})
"""What is the matter with the key, the model or the address rather than with one request."""

FILTERED = frozenset(
    {"content_filter", "content_policy_violation", "moderation_blocked", "ResponsibleAIPolicyViolation"}
)
"""Codes of errors that are a provider's filter at work: Azure's, OpenAI's, and what gateways pass on."""


SPOKEN_OF_AS = {
    "max_tokens": {"max_completion_tokens"},
    "response_format": {"response_format", "json_schema", "guided_json"},
    "seed": {"seed"},
}
"""Words by which servers name a parameter that they do not take; `max_tokens` may be refused for its size alone."""


class RetryableError(Exception):
    """A call that may succeed when made again. `wait` is what the server asks for, in seconds."""

    def __init__(self, problem: str, wait: float | None = None, overloaded: bool = False) -> None:
        super().__init__(problem)
        self.wait, self.overloaded = wait, overloaded


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
    """The exception that an answer with an error status stands for. `sent` are the parameters one can do without."""
    body = json_object(content) or {}
    found = body.get("error", body)
    error: dict[str, Any] = found if isinstance(found, dict) else {"message": found}
    message = error.get("message") or error.get("detail") or body.get("detail")
    said = str(message) if message else content[:200].decode("utf-8", "replace")
    if _is_filter(error):
        return BlockedError(said)
    if status in (400, 422):
        named = _named(error, body)
        for name in sorted(sent):
            if SPOKEN_OF_AS[name] & named:
                return NotTakenError(name)
    problem = f"{status} {_phrase(status)}: {' '.join(said.split())}"
    if status == 401:
        return HopelessError("401 Unauthorized: the server does not accept the key", True)  # it may repeat the key
    if status == 429 and "insufficient_quota" in (error.get("code"), error.get("type")):
        return HopelessError(problem, True)
    if status in RETRYABLE or status >= 500:
        wait = asked_wait(headers)
        if wait is not None and wait > LONGEST_WAIT:
            return HopelessError(f"{problem} (the server asks for a wait of {wait:,.0f} s)", True)
        return RetryableError(problem, wait, status in OVERLOADED)
    return HopelessError(problem, status in NOBODYS)


def _named(error: Mapping[str, Any], body: Mapping[str, Any]) -> set[str]:
    """The words in which an error says what it is about: `param`, `loc` of each detail, or its message."""
    words = str(error.get("param") or "")
    for said in (error.get("message"), error.get("detail"), body.get("detail")):
        details = said.get("detail") if isinstance(said, dict) else said
        if isinstance(details, list):  # one for each fault, each with an echo of the whole input
            words += " ".join(f" {item.get('loc')}" for item in details if isinstance(item, dict))
        elif isinstance(details, str):
            words += f" {details}"
    return set(re.findall(r"[a-z]+(?:_[a-z]+)*", words))


def _is_filter(error: Mapping[str, Any]) -> bool:
    inner, metadata = error.get("innererror"), error.get("metadata")
    codes = {error.get("code"), error.get("type"), inner.get("code") if isinstance(inner, dict) else None}
    if codes & FILTERED:
        return True
    if error.get("code") == "invalid_prompt" and "usage policy" in str(error.get("message")):
        return True
    return isinstance(metadata, dict) and "flagged_input" in metadata


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
