"""What every guard is: something that reads pictures, questions and answers, and says whether they are unsafe.

Item = pictures [+ text [+ response]]  --read-->  Reading = unsafe? score, categories of its own, labels of ours
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Literal, Protocol, runtime_checkable

from ..records import Count, Message, Picture, Sample, Stored
from ..taxonomy import SAFE
from .taxonomies import meaning

Kind = Literal["image", "text", "pair", "response"]
"""What an item is: pictures alone, a text alone, both, or any of these with the answer that was given to them."""

NARROWER: Mapping[Kind, tuple[Kind, ...]] = {
    "response": ("response",),
    "pair": ("pair", "image", "text"),
    "image": ("image",),
    "text": ("text",),
}
"""Kind of an item -> as what a guard may read it, the best first: a guard of images sees of a pair its pictures. What
was answered is never left out, for the rest then says nothing about it."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """What a guard reads. `id` names it among others; `earlier` are the turns before the question, the oldest first."""

    id: str
    pictures: tuple[Picture, ...] = ()
    text: str = ""
    response: str | None = None
    earlier: tuple[Message, ...] = ()

    @property
    def kind(self) -> Kind:
        if self.response is not None:
            return "response"
        if self.text.strip() or any(turn.text.strip() for turn in self.earlier):
            return "pair" if self.shown else "text"
        return "image"

    @property
    def shown(self) -> tuple[Picture, ...]:
        """The pictures of the whole conversation, in their order."""
        return (*(picture for turn in self.earlier for picture in turn.pictures), *self.pictures)

    @property
    def messages(self) -> tuple[Message, ...]:
        """The conversation: the last turn is the user's, or the model's where there is an answer."""
        answer = () if self.response is None else (Message("assistant", self.response),)
        return (*self.earlier, Message("user", self.text, self.pictures), *answer)

    def as_kind(self, kind: Kind) -> Item:
        """Of a pair its pictures alone, or its texts alone."""
        if kind == "image":
            return replace(self, pictures=self.shown, text="", earlier=())
        if kind == "text":
            return replace(self, pictures=(), earlier=tuple(replace(turn, pictures=()) for turn in self.earlier))
        return self


def item_of(sample: Sample, pictures: Iterable[Picture], name: str, response: str | None = None) -> Item:
    """A sample as an item, with the pictures of its whole conversation in their order, and its answer where one is."""
    left = iter(pictures)
    earlier = [Message(turn.role, turn.text, tuple(islice(left, len(turn.images)))) for turn in sample.turns]
    return Item(id=name, pictures=tuple(left), text=sample.query, response=response, earlier=tuple(earlier))


@dataclass(frozen=True, kw_only=True)
class Reading(Stored):
    """What a guard says of an item.

    unsafe      None when the guard gave no usable verdict: `invalid` then says why, and it counts as neither
    score       the higher the more likely unsafe; None where the guard gives no number
    categories  the guard's own words for what it found, the most certain first
    labels      the image labels of ours that mean the same as those, `safe` for a safe item
    scores      the guard's own categories with a number each, found or not
    raw         what the guard said, where it answers in words; `usage`, `cost` and `seconds` are those of its calls
    """

    item_id: str
    unsafe: bool | None
    score: float | None = None
    categories: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    invalid: str | None = None
    raw: str | None = None
    usage: Mapping[str, Count] = field(default_factory=dict)
    cost: float | None = None
    seconds: float | None = None


@runtime_checkable
class Guard(Protocol):
    """A guard that is open. `name` is the spec it was made from; `version` changes whenever its readings can.

    takes     the kinds of items that it reads; of others it sees what `NARROWER` says
    taxonomy  whose words its categories are: a key of `categories.json`, or None where they are the user's
    decides   what makes an item unsafe, in words
    note      what a reader of its figures must know
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def takes(self) -> frozenset[Kind]: ...

    @property
    def taxonomy(self) -> str | None: ...

    @property
    def decides(self) -> str: ...

    @property
    def note(self) -> str: ...

    def read(self, items: Iterable[Item]) -> Iterator[Reading]:
        """One reading an item, in any order; items are taken only as they are read. Ids differ. What cannot be read is
        an invalid reading with its reason, never raised."""
        ...


CALL_FAILED = "error: "
"""How the reason of an invalid reading begins when the guard could not be asked: it may be asked again."""


def reading(guard: Guard, item: Item, unsafe: bool | None, categories: Iterable[str] = (), **more: Any) -> Reading:
    """What a guard says of one item, with our labels for its categories. A score that is no number is no verdict."""
    found = tuple(categories)
    score = more.get("score")
    if score is not None and not math.isfinite(score):
        return Reading(item_id=item.id, unsafe=None, invalid="no number")
    ours = (meaning(guard.taxonomy, category).label for category in found)
    labels = (SAFE,) if unsafe is False else tuple(dict.fromkeys(label for label in ours if label))
    return Reading(item_id=item.id, unsafe=unsafe, categories=found, labels=labels, **more)


def unreadable(item: Item, why: str, **more: Any) -> Reading:
    """A reading without a verdict, and why there is none."""
    return Reading(item_id=item.id, unsafe=None, invalid=why, **more)


def fitted(item: Item, takes: Collection[Kind]) -> Item | None:
    """The item as a guard that takes such kinds reads it; None where it sees nothing of it."""
    kind = next((kind for kind in NARROWER[item.kind] if kind in takes), None)
    return None if kind is None else item.as_kind(kind)


def read_fitted(guard: Guard, items: Iterable[Item]) -> Iterator[Reading]:
    """`guard.read` over items of any kind: each as the guard reads it, and an invalid reading where it cannot."""
    left_out: list[Reading] = []

    def fitting() -> Iterator[Item]:
        for item in items:
            seen = fitted(item, guard.takes)
            if seen is None:
                left_out.append(unreadable(item, f"the guard reads no {item.kind}"))
            else:
                yield seen

    for found in guard.read(fitting()):
        yield found
        while left_out:
            yield left_out.pop()
    yield from left_out


def call_failed(found: Reading) -> bool:
    """Whether the guard could not be asked, rather than said nothing usable."""
    return (found.invalid or "").startswith(CALL_FAILED)
