"""How an answer ended, in any provider's words: a full stop, no more room, a block by a filter, or broken off.

Providers write one thing in many ways (`content_filter`, `content-filter`, `FinishReason.SAFETY`), so a word is looked
at without its case and punctuation. Only a word that is known to be a full stop is one; an unknown word is told apart,
so that it can be kept, counted and said.

Sources: the chat APIs of OpenAI, Azure, Anthropic, Google (Gemini, Vertex AI), Bedrock, Mistral, Cohere, DeepSeek,
Zhipu, watsonx, Hugging Face TGI, llama.cpp, Ollama, vLLM and SGLang; OpenRouter's, LiteLLM's and Inspect AI's words.
"""

from __future__ import annotations

import re

from .records import Finish

ENDINGS: dict[Finish, re.Pattern[str]] = {
    "filtered": re.compile(
        r"contentfilter|filtered|safety|moderat|guardrail|block|sensitive|prohibited|polic(y|ies)|violat|censor|toxic|spii"
        r"|inspection|inappropriate|unsafe|recitation|refus|modelarmor|jailbreak|flagged|highrisk|contentrisk|harmful"
    ),
    "truncated": re.compile(
        r"length|truncat|max(imum)?[a-z]*token|tokenbudget|outputtokens|contextwindow|contextsize|contextoverflow|repetition"
        r"|(?<!time)(?<!rate)(?<!quota)limit"
    ),
    "error": re.compile(
        r"error|abort|cancel|timeout|timedout|limit|fail|interrupt|disconnect|overload|unavailable|malformed|insufficient"
        r"|exception|unexpected|notfinished|incomplete|inprogress|quota|outofmemory|evict|preempt|unload|crash|killed|missingthoughtsignature"
    ),
    "stop": re.compile(
        r"\A(null|none|stop(ped|words?|strings?|sequences?|token|criteria)?|(eos|eot|eog|eom)(token)?|(end(of)?(turn|text|sequence)?)"
        r"|word|completed?|completion|finish(ed)?|done|success|normal|(tool|function)(calls?|uses?)|json)\Z"
    ),
}
"""How an answer ended -> the letters that say so, looked for in this order; a full stop is the whole word."""


def ending(word: object) -> Finish | None:
    """How an answer ended by its provider's word for it; None for a word that is not known. No word is a full stop.

    >>> [ending(word) for word in ("end_turn", "MAX_TOKENS", "FinishReason.SAFETY", "abort", "maybe")]
    ['stop', 'truncated', 'filtered', 'error', None]
    """
    if word is None or word == "":
        return "stop"
    letters = re.sub("[^a-z]", "", str(word)[:200].lower()) if isinstance(word, str) else ""
    letters = re.sub(r"\A(finish|stop)reason(?=.)", "", letters)
    return next((finish for finish, words in ENDINGS.items() if words.search(letters)), None)


def worst(*words: object) -> tuple[Finish, str | None]:
    """How an answer ended by several words for it, such as a gateway's and its provider's: the worst that is known.

    With it the word that says so; for a full stop, a word that is not known, if there is one.
    """
    told = {ending(word): str(word)[:100] for word in reversed(words)}
    finish = next((finish for finish in ("error", "filtered", "truncated") if finish in told), None)
    return (finish, told[finish]) if finish else ("stop", told.get(None))
