"""What a judging model replied -> one of its rubric's words, read from one declared place or not at all."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from typing import Any, Literal

Form = Literal["json", "line"]
"""`json`: the whole reply is one object with a "verdict". `line`: the last line reads `VERDICT: word`."""

_CODE_FENCE = re.compile(r"```(?:json)?(?=[\s{])(.*)```", re.DOTALL | re.IGNORECASE)
_END_TOKEN = re.compile(r"(?:<\|[a-z_]{1,40}\|>|</?s>|<eos>|<end_of_turn>)\Z", re.IGNORECASE)
_BACKSLASH = re.compile(r'(\\["\\/bfnrtu])|\\')
"""An escape of JSON, or a backslash that is none, as in a formula."""
LONGEST_TOKEN = 50
_EMPHASIS = " \t*_`\"'"


class UnreadableError(Exception):
    """The reply is not in the form asked for; the message says how."""


def read_reply(text: str, words: Collection[str], form: Form) -> str:
    """The word that the reply declares its verdict to be, in any case. Raises UnreadableError for any other reply.

    A reply that is nothing but the word declares it too. Other places are never searched: a reply that quotes what it
    judges may hold any number of verdicts.
    """
    text = text.strip().removeprefix("\ufeff")
    end = len(text)
    while ended := _END_TOKEN.search(text, max(0, end - LONGEST_TOKEN), end):
        end = ended.start()
        while end and text[end - 1].isspace():
            end -= 1
    text = text[:end]
    if not text:
        raise UnreadableError("empty")
    if (alone := _word(text)) in words:  # nothing else is said that it could be taken from
        return alone
    word = _word(_from_json(text) if form == "json" else _from_last_line(text))
    if word not in words:
        raise UnreadableError(f"its verdict is none of {', '.join(words)}")
    return word


def _word(said: Any) -> str:
    return said.strip(_EMPHASIS + ".\n").lower() if isinstance(said, str) else ""


def _from_json(text: str) -> Any:
    """The value of "verdict" in the object that the reply is; one Markdown code fence around it is let pass, and so are
    line ends and stray backslashes in its reason."""
    fenced = _CODE_FENCE.fullmatch(text)
    text = _BACKSLASH.sub(lambda found: found[1] or r"\\", fenced[1] if fenced else text)
    try:
        value = json.loads(text, object_pairs_hook=_once, strict=False)
    except (ValueError, RecursionError):
        raise UnreadableError("not one JSON object") from None
    if not isinstance(value, dict) or "verdict" not in value:
        raise UnreadableError("no JSON object with a verdict")
    return value["verdict"]


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, unless it names two verdicts."""
    if sum(name == "verdict" for name, _ in pairs) > 1:
        raise UnreadableError("two verdicts")
    return dict(pairs)


def _from_last_line(text: str) -> str:
    """The word on the last line; a line before it that declares something else makes the reply ambiguous."""
    lines = [line.strip(_EMPHASIS + ".").partition(":") for line in text.splitlines() if line.strip()]
    heads = [head.strip(_EMPHASIS).lower() for head, _, _ in lines]
    declared = [said.strip(_EMPHASIS) for head, (_, _, said) in zip(heads, lines, strict=True) if head == "verdict"]
    if heads[-1] != "verdict":
        raise UnreadableError("its last line is no verdict")
    if len({word.lower() for word in declared}) > 1:
        raise UnreadableError("two verdicts")
    return declared[-1]
