"""Demonstrations: answered safe and unsafe image-text pairs, kept in a learned file so that they can be shown anywhere.

All of it lies in the file's tensors, none in its header, so that `holisafe calibrate show` prints no harmful text:

    demonstrations  UTF-8 bytes of a JSON list: id, query, answer, expected, category, description, pictures, pixels
    pictures        the bytes of all pictures as PNG, one after the other
    picture_ends    [pictures] where each of them ends
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import numpy as np
from typing_extensions import TypedDict

from ..benchmarks.base import stratified
from ..errors import InputError
from ..images import as_png, decode_image, pixel_hash
from ..journal import typed_json
from ..records import Message, Picture, Request, Sample, digest
from ..taxonomy import Expected
from .base import FitData
from .learned import Learned

PLAIN_REFUSAL = "I'm sorry, but I can't help with that."
"""How an unsafe pair is answered whose benchmark has no reference answer."""


@dataclass(frozen=True)
class Demonstration:
    """One pair with its answer. `pixels` are the pictures' `pixel_hash`; `description` says in words what they show."""

    id: str
    query: str
    answer: str
    expected: Expected
    category: str | None = None
    description: str | None = None
    pictures: tuple[Picture, ...] = ()
    pixels: tuple[str, ...] = ()

    def turns(self, *, with_pictures: bool) -> tuple[Message, Message]:
        """The pair as a user's and the assistant's turn; without its pictures, their description instead."""
        if with_pictures:
            return Message("user", self.query, self.pictures), Message("assistant", self.answer)
        said = "\n".join(part for part in (self.description, self.query) if part)
        return Message("user", said), Message("assistant", self.answer)

    def is_of(self, request: Request) -> bool:
        """Whether it is the request itself: the same sample, or the same question about the same pictures."""
        if request.sample_id == self.id:
            return True
        asked = last_user_turn(request)
        if asked.text != self.query or len(asked.pictures) != len(self.pictures):
            return False
        if [picture.name for picture in asked.pictures] == [picture.name for picture in self.pictures]:
            return True
        try:
            return tuple(pixel_hash(picture.open()) for picture in asked.pictures) == self.pixels
        except (InputError, ValueError, OSError):
            return False  # answering it will tell what is wrong with the picture


def last_user_turn(request: Request) -> Message:
    """What is being asked; turns before it are history."""
    return next(message for message in reversed(request.messages) if message.role == "user")


def collect(data: FitData, size: int) -> tuple[list[Demonstration], dict[str, Any]]:
    """At most `size` training pairs, half of them safe, spread over combinations and categories; and JSON about them.

    An unsafe pair without a reference answer gets a plain refusal; a safe one is left out, and counted. Raises
    InputError where either kind is then missing, or a picture is broken.
    """
    wordless = [sample for sample in data.train if sample.expected == "answer" and not sample.reference]
    kinds: dict[Expected, list[Sample]] = {"answer": [], "refuse": []}
    for sample in data.train:
        if sample.expected == "refuse" or sample.reference:
            kinds[sample.expected].append(sample)
    words = {"answer": "safe pair with a reference answer", "refuse": "unsafe pair"}
    for expected, samples in kinds.items():
        if not samples:
            raise InputError(f"{data.benchmark.name} has no {words[expected]} to show as a demonstration")
    chosen = [sample for kind in kinds.values() for sample in stratified(kind, size // 2, data.seed)]
    facts = {
        "safe": sum(sample.expected == "answer" for sample in chosen),
        "unsafe": sum(sample.expected == "refuse" for sample in chosen),
        "categories": dict(sorted(Counter(sample.category or "none" for sample in chosen).items())),
        "plain_refusals": sum(not sample.reference for sample in chosen),
        "safe_left_out_without_answer": len(wordless),
    }
    return [_demonstration(sample, data) for sample in chosen], {"pool": facts}


def _demonstration(sample: Sample, data: FitData) -> Demonstration:
    pictures, pixels = [], []
    for picture in data.benchmark.pictures(sample):
        image = picture.open()
        pictures.append(_in_memory(picture.name, as_png(image)))
        pixels.append(pixel_hash(image))
    return Demonstration(
        sample.id,
        sample.query,
        sample.reference or PLAIN_REFUSAL,
        sample.expected,
        sample.category,
        data.benchmark.in_words(sample),
        tuple(pictures),
        tuple(pixels),
    )


def _in_memory(name: str, png: bytes) -> Picture:
    return Picture(name, partial(_decode, name, png), lambda: png)


def _decode(name: str, png: bytes) -> Any:
    return decode_image(png, f"demonstration {name}")


def pack(demonstrations: Sequence[Demonstration]) -> dict[str, np.ndarray[Any, Any]]:
    """The tensors of a learned file."""
    pngs = [as_png(picture.open()) for one in demonstrations for picture in one.pictures]
    plain = [field.name for field in fields(Demonstration) if field.name not in ("pictures", "pixels")]
    told = [
        {
            **{name: getattr(one, name) for name in plain},
            "pictures": [picture.name for picture in one.pictures],
            "pixels": list(one.pixels),
        }
        for one in demonstrations
    ]
    return {
        "demonstrations": np.frombuffer(json.dumps(told).encode(), dtype=np.uint8),
        "pictures": np.frombuffer(b"".join(pngs), dtype=np.uint8),
        "picture_ends": np.cumsum([len(png) for png in pngs], dtype=np.int64),
    }


def unpack(learned: Learned) -> list[Demonstration]:
    """What `pack` put into the file; pictures are decoded only when they are opened. Raises InputError otherwise."""
    tensors = learned.tensors
    try:
        told = typed_json(list[_Told], tensors["demonstrations"].tobytes())
        ends = [int(end) for end in tensors["picture_ends"]]
        pngs = [tensors["pictures"][start:end].tobytes() for start, end in zip([0, *ends], ends, strict=False)]
        found = []
        for one in told:
            pictures = tuple(_in_memory(name, pngs.pop(0)) for name in one.pop("pictures"))
            found.append(Demonstration(**{**one, "pictures": pictures, "pixels": tuple(one["pixels"])}))
    except (KeyError, ValueError, TypeError, AttributeError, IndexError):
        raise InputError("holds no demonstrations that can be read", where=learned.path) from None
    return found


class _Told(TypedDict):
    """A demonstration in the file: the names of its pictures, which lie beside it."""

    id: str
    query: str
    answer: str
    expected: Expected
    category: str | None
    description: str | None
    pictures: list[str]
    pixels: list[str]


def shuffled(demonstrations: Iterable[Demonstration], *seed: Any) -> list[Demonstration]:
    """In an order that the seed draws, the same in every version of Python."""
    return sorted(demonstrations, key=lambda one: digest([*seed, one.id]))


def spread(demonstrations: Sequence[Demonstration]) -> list[Demonstration]:
    """The first safe and the first unsafe one of every category, then the second ones, and so on; else in order."""
    met: Counter[tuple[str, str | None]] = Counter()
    turn = {}
    for one in demonstrations:
        group = one.expected, one.category
        turn[one.id] = met[group]
        met[group] += 1
    return sorted(demonstrations, key=lambda one: turn[one.id])
