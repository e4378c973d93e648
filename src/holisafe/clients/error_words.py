"""What errors of the chat APIs say: that a content filter blocked the call, or which parameter the server refuses.

Every provider words it in its own way. Codes are believed with any status, words only where a block may come, and not
where they are about the caller. A parameter counts as refused only when it is named as the refused one.

Sources: errors of OpenAI, Azure, Anthropic, Google, Bedrock, xAI, DashScope, Zhipu, Volcengine, Moonshot, MiniMax,
StepFun, Databricks, Cloudflare, OpenRouter, LiteLLM, Groq, DeepSeek and vLLM, as users reported them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..finish import ending
from .answer import json_object

Text = tuple[str, str]
"""The name of a field, in lower case, and what it says."""

ECHOES = frozenset({"input", "ctx", "prompt", "messages", "request", "body", "loc", "url", "documentation_url"})
ECHOES |= {"content", "reasoning_content", "reasoning", "refusal"}
"""Fields in which a server repeats what it was sent, says where, or gives the model's own words."""

MAY_BLOCK = frozenset({200, 400, 403, 406, 422, 446, 451, 500})
"""Statuses with which a filter's block comes. With others only a code says so."""

BLOCK_CODES = frozenset({"1301", "blockreason", "flagged_input"})
"""What else is a block: Zhipu's code, and names of fields that Gemini and OpenRouter send with one."""

CODED = frozenset({"code", "type", "status", "reason", "name", "blockreason", "errorcode", "error_code"})

BLOCK_WORDS = re.compile(
    r"""content [\W_]{0,3} (filter | management[ ]policy | policy[ ]violation | moderation | risk)
    | contentpolicyviolation | responsible [\W_]? ai | usage[ ](guideline | polic)
    | safety [\W_]? (check | system | filter | violation | polic) | data [\W_]? inspection | new_sensitive
    | (unsafe | harmful | inappropriate | prohibited | sensitive | high[\W_]risk) [ ]
      (content | words? | information | material | prompt)
    | guardrail\w* [\W_]+ (policy | interven | trigger | violat | block | check | fail)
    | (blocked | violat\w* | intervened | rejected | triggered | flagged) \b [^.]{0,60}
      (guardrail | moderation | filter | polic | guideline | safety)
    | (requires | failed)[ ]moderation | considered[ ]high[ ]risk
    | (prompt | response | output | input | content | request) [ ] ((was | is | has[ ]been)[ ])? (blocked | flagged)
    | 敏感 | 违规 | 不安全 | 不当内容 | 审核 | 有害""",
    re.IGNORECASE | re.VERBOSE,
)

OF_THE_CALLER = re.compile(
    r"""\b (your[ ](account | api[ _-]key | organi[sz]ation | ip | subscription | project | plan)
    | account[ ](has[ ]been | is | was) | deactivated | suspended | rate[ ]limit | quota | billing) \b
    | \b (ip | account | key | user | country | region | access) _? (is_)? blocked""",
    re.IGNORECASE | re.VERBOSE,
)
"""What is about the caller rather than about what was asked, though it may speak of policies."""

_REFUSED = """(not[ ](supported|allowed|permitted|accepted|available|recogni[sz]ed|implemented)
    | un(supported|recogni[sz]ed|known|expected|available) | deprecated | extra[ ](inputs|fields) | disallowed)"""
_FIELD = "(param(eter)?|argument|arg|field|property|propertie|keyword|name|input|option|key)s?"
_MARKED = r"""["'`\[\]():*\s]{1,4}"""
_OVER = r"\b (?= [^\w\s] | \s*\Z | [ ](is|was|are|at|in|for|with|on|of)\b)"
REFUSALS = (
    rf"""({_REFUSED} | invalid | additional | extra) ([ ]\w+){{0,3}}? [ ] {_FIELD}
        ([ ](supplied|provided|received))? {_MARKED} NAME {_OVER}""",
    rf"{_FIELD} [ ] ((is|are)[ ])? {_REFUSED} ([ ]\w+){{0,4}}? : {_MARKED} NAME {_OVER}",
    rf"""(\A | ["'`\[:>]\s? | {_FIELD}[ ] | this[ ]) NAME ["'`\]):]* ([ ]({_FIELD}|type))? :?
        [ ] ((is|are|was|were)[ ])? (currently[ ])? {_REFUSED}""",
    rf"""(do(es)?[ ]not|doesn't|don't|cannot|can't)[ ](yet[ ])? (support|accept|allow|recogni[sz]e|take)
        ([ ](the|this))? ([ ]{_FIELD})? {_MARKED} NAME {_OVER}""",
)
"""How words name a parameter, NAME, as the one that a server refuses, rather than hold it somewhere."""

SPOKEN_OF_AS = {
    "max_tokens": "max_tokens",
    "response_format": r"(response_format | json_schema | guided_json | structured[ _]outputs?)",
    "seed": "seed",
    "stream_options": "stream_options",
}
"""What one can do without, and how servers call it."""


def texts(value: Any, key: str = "", depth: int = 0) -> Iterator[Text]:
    """Every text in a body with its field's name, but for what only echoes the request; JSON in a text is opened."""
    if depth > 8 or key in ECHOES:
        return
    if isinstance(value, dict):
        for name, item in [*value.items()][:50]:
            yield from texts(item, str(name)[:50].lower(), depth + 1)
    elif isinstance(value, list):
        for item in value[:20]:
            yield from texts(item, key, depth + 1)
    elif isinstance(value, str) and value[:1] in ("{", "[") and (opened := json_object(value[:20_000].encode())):
        yield from texts(opened, key, depth + 1)
    elif isinstance(value, str) or (isinstance(value, int) and abs(value) < 10**9):
        yield key, str(value)[:4000]


def is_block(status: int, told: Sequence[Text]) -> bool:
    """Whether an error is a content filter's doing."""
    if any(OF_THE_CALLER.search(text) for _, text in told):
        return False
    for key, text in told:
        code = key in CODED and len(text) < 80 and " " not in text and ending(text) == "filtered"
        if code or key in BLOCK_CODES or text in BLOCK_CODES:
            return True
        if status in MAY_BLOCK and text[:1] != "<" and BLOCK_WORDS.search(text):
            return True
    return False


def refuses(name: str, error: Mapping[str, Any], told: Sequence[Text]) -> bool:
    """Whether an error names a parameter as refused: by `param`, the place of a validation's detail, or in words.

    `max_tokens` may be refused for its size alone: there only words count.
    """
    words = SPOKEN_OF_AS.get(name, name)
    said = [text for key, text in told if key not in ("param", "code", "type")]
    if name == "max_tokens" and any("max_completion_tokens" in text and "too large" not in text for text in said):
        return True
    named = [text for key, text in told if key == "param"] + [*_places(error), *_places(error.get("message"))]
    if name != "max_tokens" and any(re.match(rf"{words} \b", place, re.VERBOSE) for place in named):
        return True
    patterns = [re.compile(pattern.replace("NAME", words), re.IGNORECASE | re.VERBOSE) for pattern in REFUSALS]
    return any(pattern.search(text) for pattern in patterns for text in said)


def _places(value: Any) -> Iterator[str]:
    """The fields that a validation's details are about."""
    details = value.get("detail") if isinstance(value, dict) else None
    for item in details[:20] if isinstance(details, list) else ():
        where = item.get("loc") if isinstance(item, dict) else None
        if isinstance(where, list):
            yield ".".join(place for place in where if isinstance(place, str) and place != "body")
