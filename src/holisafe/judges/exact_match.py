"""Right or wrong against a reference answer, after taking away what does not matter in a short answer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from ..records import Sample, Verdict
from ..registry import judges
from .base import Judge, Judged, verdict, without_option
from .plain import bare

_FINAL = " .!?,;:。、।؟"
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


@dataclass
class ExactMatch:
    """The judge of questions with one right answer. Invalid without a reference, and for an empty response."""

    name: str = "exact-match"
    version: str = "3"
    quick: ClassVar[bool] = True

    def applies(self, sample: Sample) -> bool:
        return sample.has_answer_key

    def judge(self, items: Iterable[Judged]) -> Iterator[Verdict]:
        for sample, response, _ in items:
            reference, label, invalid = sample.reference or "", None, None
            if not reference.strip():
                invalid = "the sample has no reference"
            elif not response.text.strip():
                invalid = "empty response"
            else:
                label = "correct" if is_match(response.text, reference) else "incorrect"
            yield verdict(self, response, label, invalid)


@judges.register(
    "exact-match",
    alone=True,
    summary="equal to the reference but for wrapping, case, articles, final punctuation, spaces",
)
def load(option: str | None) -> Judge:
    """`exact-match`, which takes no option."""
    return without_option(ExactMatch(), option)


def is_match(answer: str, reference: str) -> bool:
    """Whether the two say the same, by `normalise`."""
    return normalise(answer) == normalise(reference)


def normalise(answer: str) -> str:
    """Bare as `plain.bare` says; case folded; articles and final punctuation removed; runs of spaces made one.

    What would leave nothing is not removed: the answers "A" and "the" differ, and so do "?" and "!".
    """
    folded = " ".join(bare(answer).casefold().split())
    ended = bare(folded.rstrip(_FINAL)) or folded
    return " ".join(_ARTICLES.sub(" ", ended).split()) or ended
