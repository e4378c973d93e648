"""A completion of the chat API -> the text, its reasoning, how it ended, and the tokens it took."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..records import Finish


class Answer(NamedTuple):
    """What came back. `usage` holds input_tokens, output_tokens and reasoning_tokens as far as the server counts."""

    text: str
    reasoning: str | None
    finish: Finish
    usage: dict[str, int]


def json_object(content: bytes) -> dict[str, Any] | None:
    """A JSON object, or None for anything else."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def read_answer(body: Mapping[str, Any]) -> Answer | None:
    """The first choice of a completion; None when there is none, or it is not one.

    A content of null is an empty answer. `refusal` is the model's own refusal in words: it becomes the text. Reasoning
    is what the server keeps apart, or what stands before `</think>`.
    """
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        return None
    text = _text(message.get("content")) or _text(message.get("refusal"))
    apart = _text(message.get("reasoning_content")) or _text(message.get("reasoning"))
    thought, text = split_thought(text)
    ended = str(choice.get("finish_reason") or "stop")
    if ended == "error":
        return None
    filtered, truncated = ended.startswith("content_filter"), ended in ("length", "max_tokens")
    finish: Finish = "filtered" if filtered else "truncated" if truncated else "stop"
    return Answer(text, "\n".join(part for part in (apart.strip(), thought) if part) or None, finish, _usage(body))


def split_thought(text: str) -> tuple[str, str]:
    """What a reasoning model wrote up to `</think>`, and its answer; the text as it is when there is no such mark."""
    thought, closed, answer = text.partition("</think>")
    if closed:
        return thought.strip().removeprefix("<think>").strip(), answer.strip()
    if text.lstrip().startswith("<think>"):
        return text.strip().removeprefix("<think>").strip(), ""  # cut before the answer began
    return "", text


def _text(content: Any) -> str:
    """Text, whether as a string or as a list of parts."""
    if isinstance(content, list):
        return "".join(str(part.get("text") or part.get("refusal") or "") for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _usage(body: Mapping[str, Any]) -> dict[str, int]:
    usage = body.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    details = usage.get("completion_tokens_details")
    details = details if isinstance(details, dict) else {}
    counts = {
        "input_tokens": usage.get("prompt_tokens"),
        "output_tokens": usage.get("completion_tokens"),
        "reasoning_tokens": details.get("reasoning_tokens"),
    }
    return {name: count for name, count in counts.items() if type(count) is int}
