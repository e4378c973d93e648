"""Right or wrong on a question with lettered choices, whatever way the answer names its choice.

The choice is found as the published harnesses find it (MMMU's `parse_multi_choice_response`, VLMEvalKit's option
matching), by the first of these rules that finds any; where it finds several, none is chosen:

    said      "the answer is B", "Answer: (B)", "option B"; of several the last
    begun     the answer begins with it: "B", "(B)", "B.", "B) a tree", "**B**"; or is it, in lower case: "b"
    bracketed "... so it must be (B)"
    alone     a capital that stands by itself; "A" and "I" only where they cannot be words
    in words  the text of exactly one choice occurs in the answer, where the question lists its choices by letters

They guess at random where nothing is found; here that is `incorrect`: a refusal names no choice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from ..records import Sample, Verdict
from ..registry import judges
from .base import Judge, Judged, verdict, without_option
from .exact_match import normalise
from .plain import bare

LONGEST_CHOICE = 1000
"""So many characters of an answer are compared with the words of a choice."""

_REFERENCE = re.compile(r"\W*([A-Za-z])(?:\W.*)?", re.DOTALL)
_SAID = re.compile(r"\b(?:answer|option|choice)\b(?: (?:is|would be|was|:))?[\s:=(\[\"']{0,8}([A-Z])\b(?!['’])")
_IS_IT = re.compile(r"[\s(\[]{0,8}([a-z])[)\].:,\s]{0,8}")
_BEGUN = re.compile(r"[\s(\[]{0,8}([A-Z])(?=[)\].:,\s]*$|[)\].:]|,\s)")
_BRACKETED = re.compile(r"[(\[]([A-Z])[)\]]")
_IN_A_WORD = r"[^\W぀-鿿가-힯]|['’]"  # Chinese, Japanese and Korean put no space around a letter
_ALONE = re.compile(rf"(?<!{_IN_A_WORD})(?:([B-HJ-Z])(?!{_IN_A_WORD})|(A(?=\W*$|,|\s+(?:or|and)\b)|I(?=\W*$)))")
_LISTED = re.compile(r"[(\[]?([A-Z])[)\].:]\s*(\S.*)")


@dataclass
class MultipleChoice:
    """The judge of questions whose reference is a letter. Invalid without one, and for an empty response."""

    name: str = "multiple-choice"
    version: str = "3"
    quick: ClassVar[bool] = True

    def applies(self, sample: Sample) -> bool:
        return sample.has_answer_key

    def judge(self, items: Iterable[Judged]) -> Iterator[Verdict]:
        for sample, response, _ in items:
            right = _REFERENCE.fullmatch(sample.reference or "")
            if right is None:
                yield verdict(self, response, None, "the reference is not a letter")
            elif not response.text.strip():
                yield verdict(self, response, None, "empty response")
            else:
                found = chosen(response.text, listed(sample.query))
                label = "correct" if found == right[1].upper() else "incorrect"
                yield replace(verdict(self, response, label), choice=found)


@judges.register(
    "multiple-choice", alone=True, summary="the lettered choice that the answer names, against the reference's letter"
)
def load(option: str | None) -> Judge:
    """`multiple-choice`, which takes no option."""
    return without_option(MultipleChoice(), option)


def listed(question: str) -> dict[str, str]:
    """{LETTER: what it stands for} of the choices that a question lists, one a line: `A. a tree`, `(A) a tree`."""
    lines = map(_LISTED.fullmatch, map(str.strip, question.splitlines()))
    return {line[1]: line[2] for line in lines if line}


def chosen(answer: str, choices: dict[str, str]) -> str | None:
    """The letter that an answer names, by the first rule that finds any; None where that are several, or none does."""
    said = bare(answer)
    if found := list(_SAID.finditer(said)):
        return _meant(said, found[-1], choices)
    if begun := _BEGUN.match(said):
        return begun[1]
    if whole := _IS_IT.fullmatch(said):
        return whole[1].upper()
    alone = [first or second for first, second in _ALONE.findall(said)]
    for letters in (_BRACKETED.findall(said), alone, _named(said, choices)):
        if letters:
            return str(letters[0]) if len(set(letters)) == 1 else None
    return None


def _meant(said: str, letter: re.Match[str], choices: dict[str, str]) -> str:
    """The letter said, unless it is the article of a choice's own words: "the answer is A car" of "B. a car"."""
    rest = said[letter.start(1) : letter.start(1) + LONGEST_CHOICE]
    if re.match(r"[AI]\s+\w", rest):
        words = normalise(rest.splitlines()[0])
        beginning = [name for name, text in choices.items() if re.match(rf"{re.escape(normalise(text))}(?!\w)", words)]
        if beginning:
            return max(beginning, key=lambda name: len(choices[name]))
    return letter[1]


def _named(answer: str, choices: dict[str, str]) -> list[str]:
    """The choices whose text occurs in an answer, but for those inside another: "a car" in "a red car"."""
    words, said = {letter: normalise(text) for letter, text in choices.items()}, normalise(answer)
    found = {letter: text for letter, text in words.items() if _within(text, said)}
    return [
        letter
        for letter, text in found.items()
        if not any(other != text and _within(text, other) for other in found.values())
    ]


def _within(text: str, longer: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(text)}(?!\w)", longer) is not None
