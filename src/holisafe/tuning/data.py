"""Which examples are trained on: what `--data` names, and how much of each combination is used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import floor
from pathlib import Path

from ..errors import InputError
from ..records import digest
from ..taxonomy import COMBINATIONS, IMAGE_LABELS
from .examples import UTILITY, Example
from .sources import FILES, read_source

__all__ = ["UTILITY", "Example", "check_images", "hold_back", "load_examples", "select"]


def load_examples(
    data: str,
    labels: Sequence[str] = IMAGE_LABELS,
    left_out: Counter[str] | None = None,
    repaired: Counter[str] | None = None,
) -> list[Example]:
    """The examples of `pictosafe`, `vlguard:FOLDER` (any benchmark, its training split), `llava:FILE`, `holisafe:FILE`
    or a `.jsonl` file, whose image labels are among `labels`. What teaches nothing is counted in `left_out`, what was
    mended in `repaired`.

    Raises InputError naming file, row and field for a fault; when nothing has an answer to learn; and, for data on
    disk, for an image that cannot be opened, before any training is paid for.
    """
    name, colon, root = data.partition(":")
    if name in FILES and colon:
        examples = read_source(name, Path(root), labels=labels, left_out=left_out, repaired=repaired)
    elif data.endswith((".jsonl", ".ndjson")):
        examples = read_source("jsonl", Path(data), labels=labels, left_out=left_out)
    elif not colon and ("/" in data or data.endswith(".json")):
        raise InputError(f"data {data!r} is not written BENCHMARK, BENCHMARK:FOLDER, FILE.jsonl or FORM:FILE")
    else:
        examples = read_source(name, Path(root) if colon else None)
        if not colon:
            return examples
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
    twice and half of them a third time; a share of a combination that the data lacks draws nothing. Raises InputError
    for a share of a kind that is unknown, and when nothing is left.
    """
    kinds = Counter(example.kind for example in examples)
    for kind in shares:
        if kind not in kinds and kind not in (*COMBINATIONS, UTILITY):
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


def hold_back(examples: Sequence[Example], share: float) -> tuple[list[Example], list[Example]]:
    """Those to train on and those to validate with, whatever the seed: examples of one (first) picture stay together.

    A larger share holds back the same ones and more. Raises InputError when either half is left without any.
    """
    keys = [digest(["validation", one.source, one.pictures[0].name if one.pictures else one.id]) for one in examples]
    held = set(sorted(set(keys))[: round(share * len(set(keys)))])
    halves = ([one for one, key in zip(examples, keys, strict=True) if (key in held) is side] for side in (False, True))
    train, validation = halves
    if share and not (train and validation):
        raise InputError("leaves no example to validate with", where="recipe", field="validation.share")
    return train, validation
