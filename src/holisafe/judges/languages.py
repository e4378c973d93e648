"""Which language an answer is in, as far as that can be told: phrases of one language say nothing about another.

Told by `py3langid` (139 languages, a naive Bayes model over byte n-grams); plain English by its commonest words.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import islice
from typing import Any

LONGEST, SHORTEST, SURE = 600, 20, 0.9
"""So many characters are looked at; fewer than so many letters, or a guess less sure than that, tell nothing."""

_COMMON = re.compile(r"\b(?:the|is|are|of|and|to|that|this|it|you|with|for)\b", re.IGNORECASE)
_DENSE = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
"""Scripts that say in one letter what takes others several."""

NO_LANGUAGE = "zxx"
DIALECTS = {"ary": "ar", "arz": "ar", "wuu": "zh", "yue": "zh", "lzh": "zh"}


def language(text: str) -> str | None:
    """The ISO 639-1 code of a text's language, None where it is too short or too mixed to tell."""
    start = text[:LONGEST]
    if start.isascii() and (start.count(" the ") > 1 or len(list(islice(_COMMON.finditer(start), 2))) == 2):
        return "en"
    letters = sum(map(str.isalpha, start)) + 4 * len(_DENSE.findall(start))
    if letters < SHORTEST:
        return None
    code, probability = _identifier().classify(start)
    return DIALECTS.get(code, str(code)) if probability >= SURE and code != NO_LANGUAGE else None


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
