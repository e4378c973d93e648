"""How likely a model says Yes rather than No: from the probabilities of its answer's first word."""

from __future__ import annotations

from collections.abc import Mapping

YES, NO = ("Yes", "yes"), ("No", "no")
WORDS = (*YES, *NO)
"""The spellings that count, each with and without a space before it."""


def chance_of_yes(first_words: Mapping[str, float] | None) -> float | None:
    """P(Yes) / (P(Yes) + P(No)) over their spellings; None where a model's likeliest words are neither. A word that is
    not among the likeliest counts as none."""
    told = first_words or {}
    yes, no = (sum(told.get(word, 0.0) for word in words) for words in (YES, NO))
    return yes / (yes + no) if yes + no > 0 else None
