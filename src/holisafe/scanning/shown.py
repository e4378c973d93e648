"""What was fetched, shown to a guard: a row each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..guards.base import Guard, Item, read_fitted
from ..records import Picture
from .fetching import Fetched
from .rows import Row, read_row, unread_row
from .sampling import Sampler

TEXTS = frozenset({"pair", "text"})
"""Kinds of items of which a guard sees the text."""


def reads_text(guard: Guard) -> bool:
    """Whether the guard sees a picture's text, which then is part of its content."""
    return bool(TEXTS & guard.takes)


def rows_of(fetched: Iterable[Fetched], guard: Guard, sampler: Sampler) -> Iterator[Row]:
    """The rows, in any order: what cannot be shown has one without a verdict. `fetched` is consumed as the guard
    reads."""
    waiting: dict[str, Fetched] = {}
    unread: list[Row] = []

    def items() -> Iterator[Item]:
        for found in fetched:
            if found.fault:
                unread.append(unread_row(found))
            else:
                waiting[found.unit.id] = found
                yield item_of(found)

    for reading in read_fitted(guard, items()):
        found = waiting.pop(reading.item_id)
        yield read_row(found, reading, sampler.thumb(found, reading))
        while unread:
            yield unread.pop()
    yield from unread


def item_of(found: Fetched) -> Item:
    """What the guard is shown."""
    picture = Picture(found.unit.id, found.open, lambda: found.data)
    return Item(id=found.unit.id, pictures=(picture,), text=found.unit.text)
