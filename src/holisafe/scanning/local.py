"""A scan on this machine: pictures are read and decoded in threads while the guard reads those before them.

Nothing is fetched before there is room for it, so a slow guard slows the rest down and memory stays flat, however much
there is to scan. A copy of what was seen is not read twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from ..guards.base import Guard, Item, read_fitted
from ..records import Picture
from .fetching import Fetched, fetch, fetched_ahead, look_at
from .folder import ScanFolder
from .rows import copy_row, read_row, unread_row
from .sampling import Sampler
from .sources import Source

TEXTS = frozenset({"pair", "text"})
"""Kinds of items of which a guard sees the text."""


def scan_here(
    source: Source,
    guard: Guard,
    folder: ScanFolder,
    sampler: Sampler,
    workers: int,
    done: Callable[[], None] = lambda: None,
) -> None:
    """Give every unit of the source that has none a row in the folder. `done` is called for each."""
    waiting: dict[str, Fetched] = {}
    reads_text = bool(TEXTS & guard.takes)

    def known(content: str) -> bool:
        return folder.seen.first_with(content) is not None

    def items() -> Iterator[Item]:
        fetch_one = partial(fetch, source=source, reads_text=reads_text, known=known)
        for found in fetched_ahead(folder.without_row(source.units()), fetch_one, workers):
            first = folder.seen.claim(found.content, found.unit.id) if found.content else found.unit.id
            if first == found.unit.id and found.content and not found.looks and not found.fault:
                look_at(found)  # known by an earlier row of its own, which was taken out
            if first != found.unit.id or found.fault:
                folder.add(copy_row(found, first) if first != found.unit.id else unread_row(found))
                done()
            else:
                waiting[found.unit.id] = found
                yield item_of(found)

    for reading in read_fitted(guard, items()):
        found = waiting.pop(reading.item_id)
        folder.add(read_row(found, reading, sampler.thumb(found, reading)))
        done()
    folder.close_part()


def item_of(found: Fetched) -> Item:
    """What the guard is shown."""
    picture = Picture(found.unit.id, found.open, lambda: found.data)
    return Item(id=found.unit.id, pictures=(picture,), text=found.unit.text)
