"""Files that training examples come from, each form with its reader.

    jsonl      our own: one object a line
    preferences  a table with a chosen and a rejected answer a row, or with answers that are safe or not
    llava      LLaVA's JSON: a list of conversations with <image> in their text
    holisafe   HoliSafe's training records: the release's eight fields and `response`
    think-in-safety  Think in Safety's conversations, with a thought before each answer (`think_in_safety`)
    BENCHMARK  any benchmark's split `train`, where its samples have reference answers

Images stay closed; `data.check_images` opens them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from .. import taxonomy
from ..benchmarks import open_benchmark
from ..benchmarks.base import NO_THOUGHT
from ..benchmarks.holisafe_fields import IMAGES, parse
from ..errors import InputError
from ..records import Message
from ..tables import identity, rows, truth
from .examples import UTILITY, Example, LeftOut, Repaired
from .pictures import Fault, picture_at
from .think_in_safety import read_think_in_safety

FIELDS = {
    "id": str,
    "images": list,
    "query": str,
    "response": str,
    "chosen": str,
    "rejected": str,
    "reasoning": str,
    "thought": str,
    "understanding": str,
    "image_label": str,
    "system": str,
    "combination": str,
}
"""Fields of our JSONL."""

OTHER_WORDS = {"response": "chosen", "reasoning": "thought"}

PLACEHOLDER = "<image>"
"""Where LLaVA's conversations have an image."""

LONELY = re.compile(rf"(?:\A|\n)\s*{PLACEHOLDER}|{PLACEHOLDER}\s*(?:\n|\Z)")
"""Where it is no word of a sentence, but stands for an image."""

ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}


def read_jsonl(
    path: Path, images: Path | None = None, labels: Sequence[str] = taxonomy.IMAGE_LABELS
) -> Iterator[Example]:
    """One object a line: id, images (paths under `images`, or beside the file), query, response; optional image_label
    (one of `labels`), system, combination, and `rejected`, a worse response, which only some objectives learn from.
    `chosen` is another word for response. `reasoning`, by another word `thought`, is what is thought before the
    response; `understanding` how it begins: what is asked, in other words.
    """
    seen: set[str] = set()
    for row, record in rows(path):
        fault = partial(InputError, where=path, row=row)
        for name, value in record.items():
            if name not in FIELDS:
                raise fault(f"no such field; known: {', '.join(FIELDS)}", field=name)
            if not isinstance(value, FIELDS[name]) and not (name in ("image_label", "system") and value is None):
                raise fault(f"is not {'a list' if FIELDS[name] is list else 'text'}", field=name)
        for name, another in OTHER_WORDS.items():
            if name in record and another in record:
                raise fault(f"is {name} by another word: give one of them", field=another)
            record |= {name: record[another]} if another in record else {}
        thought, understanding = (record.get(name, "").strip() or None for name in ("reasoning", "understanding"))
        if understanding and not (thought or "").startswith(understanding):
            raise fault("is not how the reasoning begins", field="understanding")
        for name in ("id", "query", "response", *(("rejected",) if "rejected" in record else ())):
            if not record.get(name):
                raise fault("missing or empty", field=name)
        _once(identity(record, "id", path, row), seen, fault)
        system = (Message("system", record["system"]),) if record.get("system") else ()
        pictures = tuple(picture_at(images or path.parent, name, fault, "images") for name in record.get("images", []))
        yield Example(
            id=record["id"],
            messages=(*system, Message("user", record["query"], pictures)),
            answer=record["response"],
            image_label=_label(record.get("image_label"), labels, fault),
            kind=_kind(record.get("combination"), fault),
            source=str(path),
            rejected=record.get("rejected"),
            thought=thought,
            understanding=understanding,
        )


def read_preferences(path: Path, images: Path | None = None) -> Iterator[Example | LeftOut]:
    """Any table that the benchmark `table` reads (pictures in it, or beside it) with one of two kinds of columns.

    chosen, rejected            SPA-VL's (arXiv 2406.12030): question, image, and the two answers
    response, is_response_safe  BeaverTails-V's (arXiv 2503.17682): of one question about one picture, the first safe
                                answer is preferred to the first unsafe one, the second to the second

    Questions without such a pair are left out. Raises InputError for a table with neither.
    """
    if images is not None:
        raise InputError("pictures of preferences lie in their table or beside it", where="recipe", field="data.mix")
    first: Any = next((row for _, row in rows(path)), {})
    pairs, single = {"chosen", "rejected"} <= first.keys(), {"response", "is_response_safe"} <= first.keys()
    if not (pairs or single):
        raise InputError("has neither chosen and rejected answers nor response and is_response_safe", where=path)
    table = open_benchmark("table", Path(f"{path}?reference={'chosen' if pairs else 'response'}"))
    answered: dict[tuple[Any, ...], tuple[Any, list[str], list[str]]] = {}
    for sample in table.samples:
        if pairs:
            key: tuple[Any, ...] = (sample.id,)
            good, bad = [sample.reference], [sample.meta.get("rejected")]
        else:
            row = int(sample.id) if sample.id.isdecimal() else None
            safe = truth(sample.meta, "is_response_safe", path, row or 0)
            key, answer = (sample.query, sample.images), [sample.reference]
            good, bad = (answer, []) if safe else ([], answer)
        found = answered.setdefault(key, (sample, [], []))
        found[1].extend(text for text in good if text)
        found[2].extend(str(text) for text in bad if text)
    for sample, chosen, rejected in answered.values():
        for number, (better, worse) in enumerate(zip(chosen, rejected, strict=False), 1):
            yield Example(
                id=sample.id if number == 1 else f"{sample.id}#{number}",
                messages=(Message("user", sample.query, table.pictures(sample)),),
                answer=better,
                rejected=worse,
                image_label=sample.image_label,
                source=str(path),
            )
        if not (chosen and rejected):
            yield LeftOut("questions without both a chosen and a rejected answer")


def read_llava(path: Path, images: Path | None = None) -> Iterator[Example | LeftOut]:
    """A JSON list of {id, image: a path or several, conversations: [{from: human | gpt | system, value}]}, the paths
    under `images`, or beside the file.

    A conversation of n answers gives n examples, `ID#1` to `ID#n`, each with the turns before its answer; where an id
    comes again, as in LLaVA's own files, `ID@ROW#1`. An image stands before the text of the turn whose text names it;
    a further <image> amid a sentence is a word. An answer that is empty, or that nothing is asked before, and a
    conversation without any other, teach nothing and are left out.
    """
    seen: set[str] = set()
    for row, record in rows(path):
        fault = partial(InputError, where=path, row=row)
        name = identity(record, "id", path, row)
        name = name if name not in seen else f"{name}@{row}"
        seen.add(name)
        named = record.get("image") or []
        files = named if isinstance(named, list) else [named]
        waiting = [picture_at(images or path.parent, file, fault, "image") for file in files]
        said: list[Message] = []
        turns = record.get("conversations")
        if not isinstance(turns, list):
            raise fault("is not a list of turns", field="conversations")
        answers = 0
        for turn in turns:
            role, text = _turn(turn, fault)
            if role == "assistant" and (not said or said[-1].role != "user"):
                yield LeftOut("answers to nothing")
                continue
            if role == "assistant" and not text.strip():
                yield LeftOut("empty answers")
            elif role == "assistant":
                answers += 1
                yield Example(f"{name}#{answers}", tuple(said), text, source=str(path))
            number = min(text.count(PLACEHOLDER), len(waiting)) if role == "user" else 0
            pictures, waiting = tuple(waiting[:number]), waiting[number:]
            rest = text.replace(PLACEHOLDER, "", number).strip() if number else text
            if role == "user" and LONELY.search(rest):
                raise fault(f"more {PLACEHOLDER} than images", field="conversations")
            said.append(Message(role, rest, pictures))
        if waiting:
            raise fault(f"more images than {PLACEHOLDER}", field="conversations")
        if not answers:
            yield LeftOut("conversations without an answer")


def read_holisafe(path: Path, images: Path | None = None) -> Iterator[Example]:
    """A JSON list of records with the release's eight fields and `response`; images under `images/` beside the file.

    Raises InputError naming row and field for whatever is wrong with one of them.
    """
    seen: set[str] = set()
    for row, record in rows(path):
        fault = partial(InputError, where=path, row=row)
        answer = record.pop("response", None)
        if not isinstance(answer, str) or not answer.strip():
            raise fault("missing or empty", field="response")
        values, problems = parse(record, path.parent)
        for name, problem in problems:
            raise fault(problem, field=name)
        _once(values["id"], seen, fault)
        picture = picture_at(images or path.parent / IMAGES, values["image"], fault, "image")
        yield Example(
            id=values["id"],
            messages=(Message("user", values["query"], (picture,)),),
            answer=answer,
            image_label=values["image_safety_label"],
            kind=values["type"],
            source=str(path),
        )


Read = Iterator[Example | LeftOut | Repaired]

FILES: dict[str, Callable[[Path, Path | None], Read]] = {
    "jsonl": read_jsonl,
    "preferences": read_preferences,
    "llava": read_llava,
    "holisafe": read_holisafe,
    "think-in-safety": read_think_in_safety,
}
"""Name of a form -> its reader: file, folder of the images."""


def read_source(
    source: str,
    path: Path | None,
    images: Path | None = None,
    labels: Sequence[str] = taxonomy.IMAGE_LABELS,
    left_out: Counter[str] | None = None,
    repaired: Counter[str] | None = None,
    thoughts: bool = False,
) -> list[Example]:
    """The examples of one source: a form's name with its file, or a benchmark's name with its folder, if it has one,
    and with its `thoughts` where they are wanted. Our own form's image labels are among `labels`; the others bring
    theirs. What teaches nothing is counted in `left_out`, what was mended in `repaired`.

    Raises InputError naming file, row and field for a fault, and where there is nothing to learn from.
    """
    if source not in FILES:
        return _from_benchmark(source, path, thoughts)
    if thoughts:
        problem = f"thoughts of {source} stand in its file; only a benchmark's are asked for"
        raise InputError(problem, where="recipe", field="data.mix")
    if path is None:
        raise InputError(f"{source} needs a file", where="recipe", field="data.mix")
    read = list(read_jsonl(path, images, labels) if source == "jsonl" else FILES[source](path, images))
    out = Counter(one.why for one in read if isinstance(one, LeftOut))
    if repaired is not None:
        repaired.update(one.what for one in read if isinstance(one, Repaired))
    examples = [one for one in read if isinstance(one, Example)]
    if not examples:
        why = "; ".join(f"{number:,} {kind}" for kind, number in out.items())
        raise InputError(f"holds no examples{f' ({why})' if why else ''}", where=path)
    if left_out is not None:
        left_out.update(out)
    return examples


def _from_benchmark(name: str, root: Path | None, thoughts: bool) -> list[Example]:
    """A benchmark's training samples that have a reference answer."""
    benchmark = open_benchmark(name, root, split="train")
    if thoughts and not any(benchmark.thought(sample) for sample in benchmark.samples[:1]):
        raise InputError(f"{name} has no thoughts", where="recipe", field="data.mix")
    thought = benchmark.thought if thoughts else lambda sample: None
    examples = [
        Example(
            id=sample.id,
            messages=(Message("user", sample.query, benchmark.pictures(sample)),),
            answer=sample.reference,
            image_label=sample.image_label,
            kind=sample.combination or UTILITY,
            source=name,
            expected=sample.expected,
            **(thought(sample) or NO_THOUGHT)._asdict(),
        )
        for sample in benchmark.samples
        if sample.reference is not None
    ]
    if not examples:
        raise InputError(f"no training sample of {name} has a reference answer to learn", where=root, field="reference")
    return examples


def _once(identity: str, seen: set[str], fault: Fault) -> None:
    if identity in seen:
        raise fault(f"duplicate id {identity!r}", field="id")
    seen.add(identity)


def _turn(turn: Any, fault: Fault) -> tuple[Any, str]:
    """Role and text of one of LLaVA's turns."""
    if not isinstance(turn, dict) or turn.get("from") not in ROLES or not isinstance(turn.get("value"), str):
        raise fault("a turn is not {from: human or gpt or system, value: text}", field="conversations")
    return ROLES[turn["from"]], turn["value"]


def _label(name: str | None, labels: Sequence[str], fault: Fault) -> str | None:
    label = None if name is None else taxonomy.OTHER_SPELLINGS.get(name, name)
    if label is not None and label not in labels:
        raise fault(f"unknown image label {label!r}; known: {', '.join(labels)}", field="image_label")
    return label


def _kind(combination: str | None, fault: Fault) -> str:
    if combination is None:
        return UTILITY
    if combination not in taxonomy.COMBINATIONS:
        raise fault(f"{combination!r} is none of {', '.join(taxonomy.COMBINATIONS)}", field="combination")
    return combination
