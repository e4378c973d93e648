"""Judges: stored responses -> verdicts. One file a family; `open_judge` finds them by the first word of their spec."""

from __future__ import annotations

from ..registry import judges
from ..specs import first_word
from .base import Judge
from .thought import OfReasoning, parted


def open_judge(spec: str) -> Judge:
    """`exact-match`, `string-match:MODE`, `llm/RUBRIC/SPEC` or `human:FILE`; each with `,of=reasoning` judges thoughts.

    Raises InputError for an unknown judge, mode or rubric, a broken file, or a judging model that cannot be opened.
    """
    plain, subject = parted(spec)
    kind, option = first_word(plain)
    judge: Judge = judges.get(kind).load(option)
    if subject != "reasoning":
        return judge
    own = getattr(judge, "of_reasoning", None)  # of one that tells its model what it judges
    return own() if own is not None else OfReasoning(judge)
