"""A scan on this machine: pictures are read and decoded in threads while the guard reads those before them.

Nothing is fetched before there is room for it, so a slow guard slows the rest down and memory stays flat, however much
there is to scan. A copy of what was seen is not read twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from ..guards.base import Guard
from .fetching import Fetched, fetch, fetched_ahead, look_at
from .folder import ScanFolder
from .rows import copy_row, unread_row
from .sampling import Sampler
from .shown import reads_text, rows_of
from .sources import Source


def scan_here(
    source: Source,
    guard: Guard,
    folder: ScanFolder,
    sampler: Sampler,
    workers: int,
    done: Callable[[], None] = lambda: None,
) -> None:
    """Give every unit of the source that has none a row in the folder. `done` is called for each."""

    def known(content: str) -> bool:
        return folder.seen.first_with(content) is not None

    def to_be_read() -> Iterator[Fetched]:
        """What the guard is shown; all others have their row at once."""
        fetch_one = partial(fetch, source=source, with_text=reads_text(guard), known=known)
        for found in fetched_ahead(folder.without_row(source.units()), fetch_one, workers):
            first = folder.seen.claim(found.content, found.unit.id) if found.content else found.unit.id
            if first == found.unit.id and found.content and not found.looks and not found.fault:
                look_at(found)  # known by an earlier row of its own, which was taken out
            if first == found.unit.id and not found.fault:
                yield found
            else:
                folder.add(copy_row(found, first) if first != found.unit.id else unread_row(found))
                done()

    for row in rows_of(to_be_read(), guard, sampler):
        folder.add(row)
        done()
    folder.close_part()
