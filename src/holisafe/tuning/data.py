"""Where tuning examples come from: a benchmark's training split, or our own JSONL, and how much of each is used."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from math import floor
from pathlib import Path
from typing import Any

from .. import taxonomy
from ..benchmarks import open_benchmark
from ..errors import InputError
from ..images import inside, open_image
from ..records import Message, Picture, digest

UTILITY = "utility"
"""What `Example.kind` is for data that belongs to no combination."""

FIELDS = {
    "id": str,
    "images": list,
    "query": str,
    "response": str,
    "image_label": str,
    "system": str,
    "combination": str,
}


@dataclass(frozen=True)
class Example:
    """One conversation with the answer to learn. `image_label` None: nothing is said about the image."""

    id: str
    messages: tuple[Message, ...]
    answer: str
    image_label: str | None = None
    kind: str = UTILITY
    source: str = field(default="", compare=False)

    @property
    def pictures(self) -> tuple[Picture, ...]:
        return tuple(picture for message in self.messages for picture in message.pictures)


def load_examples(data: str) -> list[Example]:
    """The examples of `pictosafe`, `holisafe-bench:FOLDER` (any benchmark, its training split) or a `.jsonl` file.

    Raises InputError naming file, row and field for a fault; when nothing has an answer to learn; and, for data on
    disk, for an image that cannot be opened, before any training is paid for.
    """
    if data.endswith((".jsonl", ".ndjson")):
        examples = list(_from_jsonl(Path(data)))
        check_images(examples)
        return examples
    name, colon, root = data.partition(":")
    if not colon and ("/" in data or data.endswith(".json")):
        raise InputError(f"data {data!r} is not written BENCHMARK, BENCHMARK:FOLDER or FILE.jsonl")
    examples = _from_benchmark(name, Path(root) if colon else None)
    if colon:
        check_images(examples)
    return examples


def check_images(examples: Sequence[Example]) -> None:
    """Decode every image once. Raises InputError for the first that is missing or broken."""
    pictures = {picture.name: picture for example in examples for picture in example.pictures}
    with ThreadPoolExecutor(max_workers=4) as pool:
        for _ in pool.map(lambda picture: picture.open().size, pictures.values()):
            pass


def select(examples: Sequence[Example], shares: Mapping[str, float], max_examples: int | None = None) -> list[Example]:
    """The examples to train on, whatever the seed: each kind by its share, then at most `max_examples` of all.

    A share of 0.5 keeps the same half every time, and every larger share keeps that half too; 2.5 shows each example
    twice and half of them a third time. Raises InputError for a share of a kind that the data does not have, and when
    nothing is left.
    """
    kinds = Counter(example.kind for example in examples)
    for kind in shares:
        if kind not in kinds:
            known = ", ".join(sorted(kinds))
            raise InputError(f"the data has no {kind!r}; it has: {known}", where="recipe", field="data.shares")
    drawn = sorted(examples, key=lambda example: digest(["share", example.id]))
    chosen: list[Example] = []
    for kind, count in sorted(kinds.items()):
        members = [example for example in drawn if example.kind == kind]
        share = shares.get(kind, 1.0)
        whole, rest = floor(share), round((share - floor(share)) * count)
        chosen += members * whole + members[:rest]
    chosen.sort(key=lambda example: digest(["limit", example.id]))
    if not chosen:
        raise InputError("the shares leave no example", where="recipe", field="data.shares")
    return chosen[:max_examples]


def _from_benchmark(name: str, root: Path | None) -> list[Example]:
    """A benchmark's training samples that have a reference answer."""
    benchmark = open_benchmark(name, root, split="train")
    examples = [
        Example(
            id=sample.id,
            messages=(Message("user", sample.query, benchmark.pictures(sample)),),
            answer=sample.reference,
            image_label=sample.image_label,
            kind=sample.combination or UTILITY,
            source=name,
        )
        for sample in benchmark.samples
        if sample.reference is not None
    ]
    if not examples:
        raise InputError(f"no training sample of {name} has a reference answer to learn", where=root, field="reference")
    return examples


def _from_jsonl(path: Path) -> Iterator[Example]:
    """One object a line: id, images (paths beside the file), query, response; optional image_label, system,
    combination.
    """
    seen: set[str] = set()
    for row, record in _objects(path):
        fault = partial(InputError, where=path, row=row)
        for name, value in record.items():
            if name not in FIELDS:
                raise fault(f"no such field; known: {', '.join(FIELDS)}", field=name)
            if not isinstance(value, FIELDS[name]) and not (name in ("image_label", "system") and value is None):
                raise fault(f"is not {'a list' if FIELDS[name] is list else 'text'}", field=name)
        for name in ("id", "query", "response"):
            if not record.get(name):
                raise fault("missing or empty", field=name)
        if record["id"] in seen:
            raise fault(f"duplicate id {record['id']!r}", field="id")
        seen.add(record["id"])
        system = (Message("system", record["system"]),) if record.get("system") else ()
        pictures = tuple(_picture(path.parent, name, fault) for name in record.get("images", []))
        yield Example(
            id=record["id"],
            messages=(*system, Message("user", record["query"], pictures)),
            answer=record["response"],
            image_label=_label(record.get("image_label"), fault),
            kind=_kind(record.get("combination"), fault),
            source=path.name,
        )
    if not seen:
        raise InputError("holds no examples", where=path)


def _objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    if not path.is_file():
        raise InputError("no such file", where=path)
    with path.open("rb") as file:
        for row, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line.decode("utf-8-sig"))
            except UnicodeDecodeError:
                raise InputError("not UTF-8", where=path, row=row) from None
            except json.JSONDecodeError as error:
                raise InputError(f"not JSON ({error.msg})", where=path, row=row) from None
            if not isinstance(record, dict):
                raise InputError("not a JSON object", where=path, row=row)
            yield row, record


def _picture(folder: Path, name: Any, fault: Callable[..., InputError]) -> Picture:
    if not isinstance(name, str):
        raise fault("an image is a path", field="images")
    try:
        path = inside(folder, name)
    except InputError as error:
        raise fault(error.problem, field="images") from None
    if not path.is_file():
        raise fault(f"no such image {name!r}", field="images")
    return Picture(str(path), partial(open_image, path))


def _label(name: str | None, fault: Callable[..., InputError]) -> str | None:
    try:
        return None if name is None else taxonomy.image_label(name)
    except KeyError as error:
        raise fault(str(error.args[0]), field="image_label") from None


def _kind(combination: str | None, fault: Callable[..., InputError]) -> str:
    if combination is None:
        return UTILITY
    if combination not in taxonomy.COMBINATIONS:
        raise fault(f"{combination!r} is none of {', '.join(taxonomy.COMBINATIONS)}", field="combination")
    return combination
