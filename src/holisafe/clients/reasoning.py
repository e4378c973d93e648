"""How servers of the chat API are told to think, not to think, or for how many tokens at most.

    template     vLLM, SGLang and other servers of open models: the chat template's switch, vLLM's budget
    effort       OpenAI, Gemini's compatible endpoint: an effort, of which none is one; no tokens
    thinking     Anthropic's compatible endpoint: enabled with a budget, or disabled
    openrouter   OpenRouter's own entry

The address says which one a server takes, or the option `reasoning_by`. A server that takes no such field says so, and
its words are told; one that leaves it aside is found by its answers (`metrics.reasoning_heeded`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from ..errors import InputError

Fields = dict[str, Any]

AT_HOSTS = {
    "api.openai.com": "effort",
    "generativelanguage.googleapis.com": "effort",
    "api.anthropic.com": "thinking",
    "openrouter.ai": "openrouter",
}
OTHERS = "template"


def _template(thinks: bool, tokens: int | None) -> Fields:
    switches = {"enable_thinking": thinks, "thinking": thinks}
    return {"chat_template_kwargs": switches, **({"thinking_token_budget": tokens} if tokens else {})}


def _effort(thinks: bool, tokens: int | None) -> Fields:
    if tokens:
        raise InputError("this API takes no number of tokens for a thought: --reasoning on, or reasoning_effort=low")
    return {"reasoning_effort": "medium" if thinks else "none"}


def _thinking(thinks: bool, tokens: int | None) -> Fields:
    if not thinks:
        return {"thinking": {"type": "disabled"}}
    if not tokens:
        raise InputError("this API wants to be told how many tokens a thought may take: --reasoning 2048")
    return {"thinking": {"type": "enabled", "budget_tokens": tokens}}


def _openrouter(thinks: bool, tokens: int | None) -> Fields:
    return {"reasoning": {"max_tokens": tokens} if tokens else {"enabled": thinks}}


WAYS: dict[str, Callable[[bool, int | None], Fields]] = {
    "template": _template,
    "effort": _effort,
    "thinking": _thinking,
    "openrouter": _openrouter,
}


def way(base_url: str) -> str:
    """The key of WAYS that a server takes, by its address."""
    return AT_HOSTS.get(urlsplit(base_url).hostname or "", OTHERS)


def reasoning_fields(by: str, reasoning: str | None, tokens: int | None) -> Fields:
    """What is added to the body of a call. Raises InputError for what the API cannot be told."""
    return {} if reasoning is None else WAYS[by](reasoning == "on", tokens)
