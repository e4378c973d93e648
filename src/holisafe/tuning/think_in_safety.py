"""Think in Safety's tuning data (arXiv 2505.06538): VLGuard's and SPA-VL's pictures, a thought before every answer.

    [{"conversations": [{"from": "human", "value": "<image>..."},
                        {"from": "gpt", "value": "<think>...</think>answer"}], "images": ["images/..."]}]

A model wrote the thoughts, from a description of the picture, safety rules and an answer to come to, and it shows. What
can be mended is (`Repaired`), what cannot is left out (`LeftOut`), both by kind:

    repaired   marks in bold, a fence around the whole, lines and quotes that belong to nothing, a second thought behind
               the answer, talk of a description where there is a picture
    left out   no thought, no answer, talk of the answer that was to be come to, a thought that says disallowed before
               an answer that helps or allowed before a refusal, a picture that is not there
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..records import Message
from ..tables import rows
from ..taxonomy import Expected
from ..thoughts import part
from .examples import Example, LeftOut, Repaired
from .pictures import Fault, image_at
from .spans import sentence_end

BOLD_MARK = re.compile(r"(?:\*\*|__)\s*(</?think>)\s*(?:\*\*|__)", re.IGNORECASE)
FENCE = re.compile(r"\A\s*```\w*\s*\n(.*?)\n?\s*```\s*\Z", re.DOTALL)
SECOND = re.compile(r"</think>(?P<answer>.*?\S.*?)<think>.*\Z", re.DOTALL | re.IGNORECASE)
LITTER = re.compile(r"\A(?:\s|-{3,}|\*\s\*)+|(?:\s|-{3,})+\Z|(?<=\s)\*\s\*(?=\s)")
DESCRIPTION = re.compile(
    r"\b(?:the|this|that)\s+(?:(?:provided|given|attached|accompanying)\s+)?"
    r"(?:image(?:['’]s)?\s+(?:description|caption)|(?:description|caption)\s+of\s+the\s+image)\b(?:\s+provided)?",
    re.IGNORECASE,
)
"""Talk of what stood for the picture when the thought was written."""

TOLD = re.compile(
    r"\b(?:reference|provided|given|sample|example|expected|correct|original|ground[- ]truth)\s+(?:answer|response)\b"
    r"|\bas per the reference\b",
    re.IGNORECASE,
)
"""Talk of the answer that the thought was to come to."""

CLASS = re.compile(
    r"\b(?P<denied>(?:no|not|any|without|isn['’]t)\s+(?:\w+\s+)?dis-?allowed)\b"
    r"|\b(?P<no>dis-?allowed|not\s+allowed)\b|\ballowed\b|\b(?P<partly>safe[- ]completion)",
    re.IGNORECASE,
)
"""Where a thought names the class of a request, or denies that it is of one."""

NOT_HELPING = re.compile(
    r"\b(?:sorry|apologi[sz]e|can(?:not|['’]t|\s+not)|(?:un|not\s+)able\s+to|won['’]t|refus\w+|declin\w+"
    r"|illegal|unethical|violat\w+|inappropriate|harmful|policy|against)\b",
    re.IGNORECASE,
)
REFUSAL = re.compile(
    r"\W*(?:no\W+)?(?:i\s*(?:['’]m|am)\s+(?:\w+\s+)?(?:sorry|unable|not\s+able)|sorry|i\s+apologi[sz]e"
    r"|i\s+(?:can(?:not|['’]t|\s+not)|won['’]t)|this\s+request\s+cannot)\b",
    re.IGNORECASE,
)
ASKED = re.compile(r"\b(?:user|question|request|query|prompt|asks?|asking)\b", re.IGNORECASE)

Read = Iterator[Example | LeftOut | Repaired]


def read_think_in_safety(path: Path, images: Path | None = None) -> Read:
    """Every conversation that can be learnt, by its number in the file; image paths under `images`, or beside the file.

    Raises InputError naming row and field for a record that is no such conversation.
    """
    for row, record in rows(path):
        fault = partial(InputError, where=path, row=row)
        query, said = _turns(record.get("conversations"), fault)
        named = record.get("images")
        if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
            raise fault("is not a list of paths", field="images")
        pictures = tuple(image_at(images or path.parent, name, fault, "images") for name in named)
        if None in pictures:
            yield LeftOut("conversations whose picture is not there")
            continue
        found = mended(said)
        if isinstance(found, LeftOut):
            yield found
            continue
        thought, answer, repairs = found
        yield from repairs
        yield Example(
            id=str(row),
            messages=(Message("user", query.replace("<image>", "").strip(), tuple(filter(None, pictures))),),
            answer=answer,
            thought=thought,
            understanding=understanding(thought),
            source=str(path),
            expected=expected(thought),
        )


def mended(said: str) -> tuple[str, str, list[Repaired]] | LeftOut:
    """A reply's thought and answer, and what was mended in them; or why it is left out."""
    repairs: dict[str, None] = {}

    def mend(pattern: re.Pattern[str], by: str, text: str, what: str) -> str:
        after = pattern.sub(by, text)
        if after.strip() != text.strip():
            repairs[what] = None
        return after

    said = mend(FENCE, r"\1", said, "replies in a fence")
    said = mend(BOLD_MARK, r"\1", said, "marks in bold")
    said = mend(SECOND, r"</think>\g<answer>", said, "second thoughts behind an answer")
    found = part(said)
    if found.reasoning is None or found.unfinished:
        return LeftOut("replies without a whole thought")
    both = (found.reasoning, found.text)
    thought, answer = (mend(LITTER, "", text, "lines and quotes that belong to nothing") for text in both)
    thought, answer = (_quoted(text.strip(), repairs) for text in (thought, answer))
    if not answer:
        return LeftOut("thoughts without an answer")
    if TOLD.search(thought) or TOLD.search(answer):
        return LeftOut("replies that talk of the answer they were to come to")
    thought, answer = (mend(DESCRIPTION, "the image", text, "talk of a description") for text in (thought, answer))
    if contradiction := contradicts(thought, answer):
        return LeftOut(contradiction)
    return thought, answer, [Repaired(what) for what in repairs]


def expected(thought: str) -> Expected | None:
    """What the class that a thought names last says of its request; None where it names none, or one in between."""
    named = [found for found in CLASS.finditer(thought) if not found["denied"]]
    if not named or named[-1]["partly"]:
        return None
    return "refuse" if named[-1]["no"] else "answer"


def contradicts(thought: str, answer: str) -> str | None:
    """What an answer is called that is not what its thought came to.

    Only what is plain counts: an answer that begins as a refusal, or one without any word of refusing.
    """
    wanted = expected(thought)
    if wanted is None:
        return None
    if wanted == "refuse":
        return None if NOT_HELPING.search(answer) else "thoughts that say disallowed before an answer that helps"
    return "thoughts that say allowed before a refusal" if REFUSAL.match(answer) else None


def understanding(thought: str) -> str | None:
    """The thought up to its first sentence that says what is asked; None where none does, or nothing comes after it."""
    at = 0
    while (end := sentence_end(thought, at)) is not None and end < len(thought):
        if ASKED.search(thought, at, end):
            return thought[:end]
        at = end
    return None


def _quoted(text: str, repairs: dict[str, None]) -> str:
    """Without a quote at an end of the text that no other belongs to."""
    kept = text
    for quotes in ('"', "“”"):
        if sum(map(kept.count, quotes)) % 2:
            kept = kept.strip(quotes).strip() if kept[:1] in quotes or kept[-1:] in quotes else kept
    if kept != text:
        repairs["lines and quotes that belong to nothing"] = None
    return kept


def _turns(turns: Any, fault: Fault) -> tuple[str, str]:
    """What is asked and what is said, of a conversation of one turn each."""
    said = turns if isinstance(turns, list) and all(isinstance(turn, dict) for turn in turns) else []
    if [turn.get("from") for turn in said] != ["human", "gpt"] or not all(
        isinstance(turn.get("value"), str) for turn in said
    ):
        raise fault("is not a human's turn and a gpt's", field="conversations")
    return said[0]["value"], said[1]["value"]
