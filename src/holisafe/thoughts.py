"""A model's words -> its answer, and its thoughts apart: one place for APIs, local models, files and logs.

    <think>Is it legal?</think>Here is how   ->   text "Here is how", reasoning "Is it legal?"

Known are the marks of the models in use (`OPEN`, `CLOSE`, `PROLOGUES`, harmony's channels), in any case and with
attributes; the option `thoughts=OPEN...CLOSE` names a model's own. A thought whose beginning is missing starts with the
text; one whose end is missing goes on to its end, where the room ran out. What wraps the answer comes off: `<answer>`,
boxes, end tokens.

A text may also talk about such marks. One in code or in quotes, or in the middle of a sentence, is left where it is.
Every step is linear in the text's length.

Sources: vLLM's and SGLang's reasoning parsers, and the chat templates of the models named.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from .errors import InputError

_NAME = (
    r"(?:\w{1,20}:)?(?:(?:longcat_)?think(?:ing)?|thoughts?|reason(?:ing(?:_content)?)?|cot|analysis|thought_?process|scratchpad|chain_?of_?thought|antthinking"
    r"|(?:inner|internal)_?(?:thoughts?|thinking|monologue))"
)

OPEN = (
    rf"<{_NAME}(?:\s[^<>]{{0,200}})?(?<!/)>",  # DeepSeek, Qwen, GLM, Seed-OSS, MiniMax, EXAONE and many more
    r"\[think\]",  # Magistral
    r"◁think▷",  # Kimi
    r"<\|(?:start|begin)(?:_of)?_(?:think(?:ing)?|thought|reasoning)\|>|<\|think(?:ing)?\|>",  # Command A, OpenThinker
    r"<\|(?:think(?:ing)?|thought|reasoning)_(?:start|begin)\|>",
    r"<\|channel>thought\b",  # Gemma 4
    r"<unused94>(?:thought\b)?",  # MedGemma
    r"<\|inner_prefix\|>",  # Apertus
)
CLOSE = (
    rf"</{_NAME}\s{{0,9}}>",
    r"\[/think\]",
    r"◁/think▷",
    r"<\|end(?:_of)?_(?:think(?:ing)?|thought|reasoning)\|>|<\|/think(?:ing)?\|>",
    r"<\|(?:think(?:ing)?|thought|reasoning)_end\|>",
    r"<channel\|>",
    r"<unused95>",
    r"<\|inner_suffix\|>",
)

PROLOGUES = tuple(
    (re.compile(begin, re.DOTALL | re.IGNORECASE), re.compile(answer, re.IGNORECASE))
    for begin, answer in (
        (r"\s*here(?:'s|’s| is) my thought process:", r"here(?:'s|’s| is) my response:"),  # Granite
        (r"\s*<summary>(?=.*?<(?:caption|reasoning)>)", r"<conclusion>"),  # LLaVA-CoT
        (r"(?-i:analysis(?=[A-Z]|.*?assistantfinal))", r"(?-i:assistantfinal)"),  # gpt-oss, its special tokens lost
    )
)
"""How an answer begins that thinks first, and what its answer begins with; without that it is a thought to its end."""

_CHANNEL = re.compile(r"<\|channel\|>\s*+(\w*+)[^<]*+(?:<\|constrain\|>[^<]*+)?<\|message\|>")
_TURN_OVER = re.compile(r"<\|(?:end|return|call|start|channel)\|>")
_HARMONY = ("<|channel|>", "<|message|>", "<|start|>", "<|end|>")
_ROLE = r"(?:assistant|model)?"
_FIRST = re.compile(
    rf"\s*(?:(?:<s>|<bos>|<｜begin▁of▁sentence｜>|<(?:start_of_turn|\|turn)>{_ROLE}|<\|assistant\|>"
    rf"|<\|(?:begin_of_text|im_start|im_sep|start|start_header_id|end_header_id)\|>{_ROLE})\s*)+"
)
_SPEAKER = re.compile(r"[\s\ufeff\u200b]*(?:(?:assistant|model|response|output|answer)\s*:\s*)?", re.IGNORECASE)
_LAST = re.compile(
    r"(?:(?:</s>|<eos>|<pad>|<eod>|\[EOS\]|<(?:end_of_turn|end_of_utterance|end_of_text|turn\|)>"
    r"|<\w{1,20}:eos>|<[|｜](?!end_of_box|end_of_solution|END_(?:RESPONSE|TEXT))[\w▁]{1,40}[|｜]>)\s{0,40})+\Z"
)
_BOX = r"<\|(?:begin|end)_of_(?:box|solution)\|>|<\|(?:START|END)_(?:RESPONSE|TEXT)\|>"
_WRAPPER = "answer|final_answer|final|response|output|conclusion|solution"
_WRAPPER_OPEN = re.compile(rf"<({_WRAPPER})(?:\s[^<>]{{0,200}})?>\s*", re.IGNORECASE)
_WRAPPER_CLOSE = re.compile(rf"</({_WRAPPER})\s{{0,9}}>\Z", re.IGNORECASE)
_BOXED = re.compile(r"\$?\\boxed\{([^{}]*)\}\$?\.?")
_CODE = r"```.*?```|`[^`\n]+`"
_CODE_SPAN, _BOX_OUTSIDE_CODE = re.compile(_CODE, re.DOTALL), re.compile(f"(?s:{_CODE})|({_BOX})")
_QUOTES = tuple("\"'“”‘’«»„`()")
_MAYBE = re.compile(r"[<\[◁]|\\boxed|\A\s*here|\Aanalysis", re.IGNORECASE)
_AT_MOST = 16
"""Wrappers inside each other that come off."""


class Parted(NamedTuple):
    """An answer and its thoughts apart. `unfinished` tells that the room ran out in the middle of a thought."""

    text: str
    reasoning: str | None = None
    unfinished: bool = False


class Marks(NamedTuple):
    """A model's own marks. Without `open` its answers begin in a thought; without either they are left as they are."""

    open: str
    close: str


class _Mark(NamedTuple):
    """Where a mark is, and whether it stands in quotes or in code, or a sentence speaks of it."""

    start: int
    end: int
    opens: bool
    quoted: bool
    in_sentence: bool


AS_IT_IS = Marks("", "")
THINK = Marks("<think>", "</think>")
"""The marks that most models in use have."""

OF_REASONING = ",of=reasoning"
"""How the name of a judge ends that judges thoughts instead of answers."""

NO_THOUGHT, CUT_OFF = "no reasoning to judge", "the thought was cut off"
"""Why a thought cannot be judged."""


def of_thoughts(judge: str) -> bool:
    """Whether a judge, by its name, judges thoughts."""
    return judge.endswith(OF_REASONING)


def own_marks(option: str | None) -> Marks | None:
    """What the option `thoughts` says: `OPEN...CLOSE`, `...CLOSE`, or `none`. Raises InputError for anything else."""
    if option is None:
        return None
    before, dots, after = option.partition("...")
    if option != "none" and not (dots and after):
        raise InputError(f"option thoughts is OPEN...CLOSE, such as <plan>...</plan>, or none; not {option!r}")
    return AS_IT_IS if option == "none" else Marks(before, after)


def part(text: str, own: Marks | None = None) -> Parted:
    """Take thoughts and wrappers off what a model said. A text with neither stays as it is, to the last space."""
    if own == AS_IT_IS or not (own or _MAYBE.search(text)):
        return Parted(text)
    started = text[first.end() :] if (first := _FIRST.match(text)) else text
    if started.lstrip()[:1] == "{" and started.rstrip()[-1:] == "}":
        return Parted(text)  # JSON, which may hold such marks in its strings
    if own and not own.open:
        thought, closed, answer = started.partition(own.close)
        found: Parted | None = Parted(answer, thought.strip() or None, not closed)
    else:
        found = _harmony(started) or _prologue(started) or _marked(started, own)
    return found._replace(text=_unwrapped(found.text.strip())) if found else Parted(_unwrapped(started))


def before_answer(thought: str, marks: Marks = THINK, opened: bool = False) -> str:
    """How a thought stands before its answer, line by line as DeepSeek and Qwen write it; `part` takes it off again.
    `opened`: the opening mark is there already, as where a chat template writes it into the prompt."""
    begin = f"{marks.open}\n" if marks.open and not opened else ""
    return f"{begin}{thought}\n{marks.close}\n\n"


def reasoning_settings(told: str | int) -> dict[str, Any]:
    """What `--reasoning` says, as fields of GenerationSettings: `off`, `on`, or the most tokens of a thought.

    Raises InputError for anything else.
    """
    if told in ("off", "on"):
        return {"reasoning": told}
    if str(told).isdecimal() and int(told) > 0:
        return {"reasoning": "on", "reasoning_tokens": int(told)}
    raise InputError(f"--reasoning is off, on, or the most tokens of a thought, not {told!r}")


def opened(text: str, own: Marks | None = None) -> str:
    """The mark that a text ends with, so that what comes next is inside a thought; "" without one."""
    if own == AS_IT_IS:
        return ""
    end = text.rstrip()[-80:]
    if own and own.open and end.endswith(own.open):
        return own.open
    marks = list(_pattern(own if own and own.open else None).finditer(end))
    return marks[-1][0] if marks and marks[-1].lastgroup == "open" and marks[-1].end() == len(end) else ""


def end_mark(template: str) -> str | None:
    """How thoughts end, as the first mark of an end in a chat template has it; None where it has none."""
    found = (mark[0] for mark in _pattern(None).finditer(template) if mark.lastgroup == "close")
    return next(found, None)


def is_mark(token: str) -> bool:
    """Whether a tokenizer's special token says where thoughts are, so that parting them needs it."""
    return token in _HARMONY or _pattern(None).match(token) is not None


def spoken(content: Any) -> tuple[str, str]:
    """The text and the thoughts of a message's content: a string, or parts as the chat APIs write them."""
    texts: list[str] = []
    thoughts: list[str] = []
    for item in content if isinstance(content, list) else [content]:
        (thoughts if thinks(item) else texts).append(wording(item))
    return "".join(texts), "\n".join(filter(None, (thought.strip() for thought in thoughts)))


def thinks(item: Any) -> bool:
    """Whether a part of a message is a thought: by its type or, where it has none, its keys; Gemini marks it."""
    if not isinstance(item, dict):
        return False
    kinds = [item["type"]] if "type" in item else [*item]
    return item.get("thought") is True or any(
        word in str(kind).lower() for kind in kinds for word in ("think", "reason")
    )


def wording(value: Any, depth: int = 0) -> str:
    """The text in a part of a message, however it is nested."""
    if isinstance(value, str) or depth > 8:
        return value if isinstance(value, str) else ""
    if isinstance(value, list):
        return "".join(wording(item, depth + 1) for item in value)
    if not isinstance(value, dict):
        return ""
    keys = ("text", "thinking", "reasoning", "summary", "content", "refusal", "reasoningContent", "reasoningText")
    return next((words for key in keys if (words := wording(value.get(key), depth + 1))), "")


def _harmony(text: str) -> Parted | None:
    """Messages of gpt-oss: what is not in the final channel is thought."""
    if text.lstrip()[:11] != "<|channel|>":
        return None
    said: dict[bool, list[str]] = {True: [], False: []}
    for channel in _CHANNEL.finditer(text):
        over = _TURN_OVER.search(text, channel.end())
        said[channel[1] == "final"].append(text[channel.end() : over.start() if over else len(text)].strip())
    return Parted("\n".join(said[True]), "\n".join(filter(None, said[False])) or None, not said[True])


def _prologue(text: str) -> Parted | None:
    for begin, answer in PROLOGUES:
        if began := begin.match(text):
            found = answer.search(text, began.end())
            thought = text[began.end() : found.start() if found else len(text)].strip()
            return Parted(text[found.end() :] if found else "", thought or None, found is None)
    return None


@cache
def _pattern(own: Marks | None) -> re.Pattern[str]:
    opens, closes = [*OPEN, *([re.escape(own.open)] if own else [])], [*CLOSE, *([re.escape(own.close)] if own else [])]
    runs = (f"(?P<{name}>(?:{'|'.join(marks)})++)" for name, marks in (("open", opens), ("close", closes)))
    return re.compile("|".join(runs), re.IGNORECASE)  # a run of marks is as good as one


def _marked(text: str, own: Marks | None) -> Parted | None:
    """Thoughts between marks; None when there is none."""
    marks = [mark for mark in _marks(text, own) if not mark.quoted]
    ends = [place for place, mark in enumerate(marks) if not mark.opens]
    sure = [place for place in ends if not marks[place].in_sentence]
    answers, thoughts = [], []
    at = marks[0].start if marks and _SPEAKER.fullmatch(text, 0, marks[0].start) else 0
    place = talked_of = 0
    unfinished = False
    while place < len(marks):
        mark, place = marks[place], place + 1
        if mark.in_sentence and mark.opens:
            talked_of += 1
        elif talked_of and not mark.opens:
            talked_of -= 1  # the end of what a sentence spoke of
        elif mark.opens:
            answers.append(text[at : mark.start])
            nearest = bisect_left(sure, place)
            end = sure[nearest] if nearest < len(sure) else ends[-1] if ends and ends[-1] >= place else None
            unfinished = end is None
            thoughts.append(text[mark.end : None if end is None else marks[end].start])
            at, place = (len(text), len(marks)) if end is None else (marks[end].end, end + 1)
        elif not mark.in_sentence:
            thoughts.append(text[at : mark.start])  # its beginning stood in the prompt
            at = mark.end
    if not thoughts:
        return None
    reasoning = "\n".join(filter(None, (thought.strip() for thought in thoughts)))
    answers.append(text[at:])
    return Parted("\n".join(filter(None, (answer.strip() for answer in answers))), reasoning or None, unfinished)


def _marks(text: str, own: Marks | None) -> Iterator[_Mark]:
    """Every mark in the text. The one that the text begins with is neither quoted nor spoken of."""
    found = list(_pattern(own).finditer(text))
    code = [span.span() for span in _CODE_SPAN.finditer(text)] if found else []
    starts = [start for start, _ in code]
    for mark in found:
        (start, end), opens = mark.span(), mark.lastgroup == "open"
        before, after = text[max(0, start - 24) : start], text[end : end + 2]
        if start < 24 and _SPEAKER.fullmatch(before):
            yield _Mark(start, end, opens, quoted=False, in_sentence=False)
            continue
        span = bisect_right(starts, start) - 1
        in_code = span >= 0 and end <= code[span][1]
        quoted = in_code or (before[-1] in _QUOTES and after[:1] in _QUOTES)
        yield _Mark(start, end, opens, quoted, _in_sentence(before, after, opens))


def _in_sentence(before: str, after: str, opens: bool) -> bool:
    """Whether a mark stands where a sentence speaks of it: behind a word and a space, or behind a colon."""
    behind_a_word = before[-1:] == " " and (before[-2:-1].isalnum() or before[-2:-1] in (",", ";", ":"))
    if opens:
        return behind_a_word or before.rstrip().endswith(":")
    goes_on = after[:1] in (".", ",", ";", ":", ")") or (after[:1] == " " and after[1:].islower())
    return behind_a_word and goes_on


def _unwrapped(text: str) -> str:
    """Without end tokens, boxes, and tags around the whole; a tag whose other end is missing comes off as well."""
    kept = _BOX_OUTSIDE_CODE.sub(lambda box: "" if box[1] else box[0], text) if "<|" in text else text
    for _ in range(_AT_MOST):
        before, kept = kept, _without_last(kept[first.end() :] if (first := _FIRST.match(kept)) else kept)
        opened, closed = _WRAPPER_OPEN.match(kept), _WRAPPER_CLOSE.search(kept, max(0, len(kept) - 40))
        if opened and closed and opened[1].lower() == closed[1].lower():
            kept = kept[opened.end() : closed.start()].strip()
        elif opened and f"</{opened[1].lower()}" not in kept.lower():
            kept = kept[opened.end() :].strip()
        elif closed and f"<{closed[1].lower()}" not in kept.lower():
            kept = kept[: closed.start()].strip()
        elif boxed := _BOXED.fullmatch(kept):
            kept = boxed[1].strip()
        if kept == before:
            break
    return kept


def _without_last(text: str) -> str:
    end = len(text)
    while last := _LAST.search(text, max(0, end - 4096), end):
        end = last.start()
    return text if end == len(text) else text[:end].rstrip()
