"""What an answer says, taken out of its wrappings: JSON, HTML entities and tags, special tokens, characters unseen.

Models and the servers before them wrap answers in many ways; a judge that reads words must read the same ones in all.
Everything here takes time in proportion to the text's length.
"""

from __future__ import annotations

import ast
import html
import json
import re
import unicodedata
from collections.abc import Iterator
from typing import Any

VERSION = 2
"""Goes up whenever the same text is unwrapped in another way."""

_MARKDOWN = re.compile(r"(?<![*`~])(?:(?<!\w)[*`~]++|[*`~]++(?!\w))|^#{1,6} ", re.MULTILINE)
"""Inside a word such signs mean something: 2*3, C#."""
_AROUND = " \t\n_>\"'“”„‟‘’«»"

LONGEST_LITERAL = 10_000

_UNSEEN = dict.fromkeys(
    code for code in (*range(0x3000), *range(0xFE00, 0x10000)) if unicodedata.category(chr(code)) == "Cf"
) | dict.fromkeys((0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0, *range(0xFE00, 0xFE10)))
"""Zero-width and direction marks, soft hyphens, variation selectors and fillers: they are not seen, so not read."""

_TOKEN = re.compile(
    r"<\|[^<>|\n]{1,40}\|>|</?s>|<(?:eos|bos|pad|unk|end_of_turn|start_of_turn)>|\[/?INST\]"
    r"|</?(?:answer|response|output|result|final(?:_answer)?|assistant|html|body|p|b|i|u|em|strong|span|div|br|code|pre)"
    r"(?: [^<>\n]{0,200})?/?>",
    re.IGNORECASE,
)
_BOXED = re.compile(r"\\(?:boxed|text|mathrm|textbf)\{([^{}\n]*)\}")


def unwrapped(text: str) -> str:
    """The words of an answer: what the strings of a JSON value say, without special tokens and tags, entities written
    out, characters that are not seen left away, and every run of spaces, and of line ends, made one."""
    said = "\n".join(_strings(text))
    if "&" in said:
        said = html.unescape(said)
    if not said.isascii():
        said = said.translate(_UNSEEN)
    if "<" in said or "[" in said:
        said = _TOKEN.sub(" ", said)
    if "\\" in said:
        said = _BOXED.sub(r"\1", _BOXED.sub(r"\1", said)).replace("$", " ")
    return "\n".join(filter(None, [" ".join(line.split()) for line in said.split("\n")]))


def bare(answer: str) -> str:
    """A short answer's words: unwrapped, in one way of writing (NFKC), without Markdown and the quotes around it.

    What would leave nothing is not taken away: of "*" stays "*".
    """
    said = unicodedata.normalize("NFKC", unwrapped(answer)).strip()
    said = _MARKDOWN.sub("", said).strip() or said
    return said.strip(_AROUND) or said


def _strings(text: str) -> Iterator[str]:
    """The strings of a text that is one JSON object, list or string, or Python's way of writing one, bare or in a code
    fence; the text itself where it is none, or they say nothing."""
    bare = text.strip()
    if bare.startswith("```") and bare.endswith("```"):
        bare = bare[3:-3].removeprefix("json").strip()
    if bare[:1] + bare[-1:] in ("{}", "[]", '""'):
        found = [said for said in _leaves(_value(bare)) if said.strip()]
        if found:
            yield from found
            return
    yield text


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text) if len(text) < LONGEST_LITERAL else None
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None


def _leaves(value: Any) -> Iterator[str]:
    """Every string in a JSON value that is no key."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _leaves(item)
