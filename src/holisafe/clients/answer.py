"""A completion of the chat API -> the text, its reasoning, how it ended, and the tokens it took."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..finish import worst
from ..records import Finish
from ..thoughts import Marks, part, spoken

MOST_TOKENS = 10**8
"""No call takes more: a count beyond, or below zero, is no count."""

APART = ("reasoning_content", "reasoning", "thinking", "reasoning_details", "thinking_blocks")
"""Where servers keep a message's reasoning apart, OpenRouter and LiteLLM in lists: the first that holds some counts."""


ENDINGS = ("finish_reason", "native_finish_reason", "finishReason")
"""Where a choice says how it ended: beside or instead of its own word, a gateway's provider's, or Google's."""


class Answer(NamedTuple):
    """What came back. `usage` holds input_tokens, output_tokens and reasoning_tokens as far as the server counts.

    `word` is the server's for how it ended, where that is no full stop: of an answer that broke off, its reason.
    `likeliest` are the first tokens that it might have begun with, each with its probability, where the server tells.
    """

    text: str
    reasoning: str | None
    finish: Finish
    usage: dict[str, int]
    word: str | None = None
    likeliest: Mapping[str, float] = {}


def json_object(content: bytes) -> dict[str, Any] | None:
    """A JSON object, which some servers put into a list; None for anything else."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, list) and value:
        value = value[0]
    return value if isinstance(value, dict) else None


def first_choice(body: Mapping[str, Any]) -> Any:
    """The choice numbered 0, or the first that is there; None without any."""
    choices = body.get("choices")
    found = choices if isinstance(choices, list) else []
    numbered = (one for one in found if isinstance(one, dict) and one.get("index") == 0)
    return next(numbered, found[0] if found else None)


def read_answer(body: Mapping[str, Any], own: Marks | None = None) -> Answer | None:
    """The first choice of a completion; None when there is none, or it is not one.

    A content of null is an empty answer, a number its digits. `refusal` is the model's own refusal in words: it becomes
    the text. Reasoning is what the server keeps apart, and what `thoughts` finds in the text. An answer that broke off
    ends in "error".
    """
    choice = first_choice(body)
    if not isinstance(choice, dict):
        return None
    message = choice.get("message")
    finish, word = worst(*(choice.get(name) for name in ENDINGS))
    if not isinstance(message, dict):
        return Answer("", None, finish, _usage(body), word) if finish in ("filtered", "error") else None
    content = message.get("content")
    text, thought = spoken(json.dumps(content) if type(content) in (int, float) else content)
    parted = part(text or spoken(message.get("refusal"))[0], own)
    apart = next((said for name in APART if (said := "\n".join(filter(None, spoken(message.get(name))))).strip()), "")
    if finish == "stop" and parted.unfinished:
        finish = "truncated"
    reasoning = "\n".join(filter(None, (apart.strip(), thought, parted.reasoning)))
    return Answer(parted.text, reasoning or None, finish, _usage(body), word, _likeliest(choice))


def _likeliest(choice: Mapping[str, Any]) -> dict[str, float]:
    """Of a choice with log-probabilities, the likeliest first tokens without spaces around them, each with the
    probability that the answer begins so. Spellings that differ in spaces alone are one."""
    found: Any = choice.get("logprobs")
    for name in ("content", 0, "top_logprobs"):
        there = name in found if isinstance(found, dict) else isinstance(found, list) and found and name == 0
        found = found[name] if there else None
    sums: dict[str, float] = {}
    for entry in found if isinstance(found, list) else []:
        told: dict[str, Any] = entry if isinstance(entry, dict) else {}
        token, value = told.get("token"), told.get("logprob")
        if isinstance(token, str) and isinstance(value, int | float) and value <= 0:
            sums[token.strip()] = sums.get(token.strip(), 0.0) + math.exp(value)
    return sums


def _usage(body: Mapping[str, Any]) -> dict[str, int]:
    usage = body.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    details = usage.get("completion_tokens_details")
    details = details if isinstance(details, dict) else {}
    counts = {
        "input_tokens": usage.get("prompt_tokens", usage.get("input_tokens")),
        "output_tokens": usage.get("completion_tokens", usage.get("output_tokens")),
        "reasoning_tokens": details.get("reasoning_tokens"),
    }
    return {name: count for name, count in counts.items() if type(count) is int and 0 <= count <= MOST_TOKENS}
