"""Judges: stored responses -> verdicts. One file a family; `open_judge` finds them by the first word of their spec."""

from __future__ import annotations

from ..registry import judges
from ..specs import first_word
from .base import Judge


def open_judge(spec: str) -> Judge:
    """`exact-match`, `string-match:MODE`, `llm/RUBRIC/SPEC` or `human:FILE`.

    Raises InputError for an unknown judge, mode or rubric, a broken file, or a judging model that cannot be opened.
    """
    kind, option = first_word(spec)
    judge: Judge = judges.get(kind).load(option)
    return judge
