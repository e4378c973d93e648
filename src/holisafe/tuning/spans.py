"""The parts of a thought that SafeKey (arXiv 2505.16186) teaches by themselves, found in its text.

    The user asks how to open a lock. | This may be a burglary. | A locksmith ...   a thought
    understanding: the query in other | key sentence: whether   | the rest
    words                             | its safety is weighed

SafeKey's data name the places; how they were made is not published. Here they come from the data as well
(`Example.understanding`), or the understanding is the first sentences of the thought.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from .examples import Example

SENTENCE_END = re.compile(
    r"""(?<!\be\.g)(?<!\bi\.e)(?<!\bvs)(?<!\bcf)(?<!\betc)(?<!\bMr)(?<!\bDr)(?<!\bMrs)   # no end: Mr. Bean
        [.!?…]+ ["'”’)\]*_]* (?=\s|\Z)
      | [。！？]+
      | \n(?=\s*\S)""",
    re.VERBOSE,
)
WORD = re.compile(r"[^\W\d_]")


class Spans(NamedTuple):
    """Characters of a thought: [0, understanding) restates the query, [understanding, key) is the key sentence."""

    understanding: int
    key: int


def sentence_end(text: str, start: int = 0) -> int | None:
    """Where the sentence that begins at `start` ends, a last one at the end of the text; None where no word is left.

    What holds no word (a number of a list, a bullet) belongs to the sentence behind it.
    """
    for end in SENTENCE_END.finditer(text, start):
        if WORD.search(text, start, end.start()):
            return end.end()
    return len(text) if WORD.search(text, start) else None


def spans_of(example: Example, sentences: int) -> Spans | str:
    """The parts of an example's thought, or what such examples are called, in the plural, where they are not found.
    `sentences`: how many the understanding has, where the data do not say what it is."""
    thought = (example.thought or "").strip()
    if not thought:
        return "examples without a thought"
    understood: int | None = 0
    if example.understanding is not None:
        if not thought.startswith(example.understanding):
            return "thoughts that do not begin with their understanding"
        understood = len(example.understanding)
    else:
        for _ in range(sentences):
            understood = None if understood is None else sentence_end(thought, understood)
    key = None if understood is None else sentence_end(thought, understood)
    if understood is None or key is None:
        return "thoughts without a sentence behind the understanding"
    return Spans(understood, key)
