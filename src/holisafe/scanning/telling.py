"""How far a scan is, how fast, and how long it may still take. How many units there are is counted beside the scan."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from .sources import Source

STEADY = 50
"""Rows after which the speed is told."""

EVERY = 0.2
"""Seconds between two tellings."""


class Tell(Protocol):
    """Hears how far a scan is; `note` has its speed and an estimate."""

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None: ...


def unheard(stage: str, done: int, total: int, note: str = "") -> None:
    """Nobody watches."""


class Count(threading.Thread):
    """Counts a source's units. `so_far` is 0 where only reading files from far away would tell."""

    def __init__(self, source: Source) -> None:
        super().__init__(name="holisafe-count", daemon=True)
        self.source, self.so_far, self.over = source, 0, threading.Event()

    def run(self) -> None:
        try:
            for more in self.source.counts():
                if more < 0 or self.over.is_set():
                    self.so_far = 0
                    return
                self.so_far += more
        except Exception:  # noqa: BLE001  (the scan itself will tell)
            self.so_far = 0


@contextmanager
def telling(source: Source, before: int, progress: Tell) -> Iterator[Callable[[], None]]:
    """Gives what is to be called for each new row, where there are so many `before`."""
    count, done = Count(source), before
    began = told = 0.0

    def tell() -> None:
        new, total = done - before, max(count.so_far, done)
        speed = (new - 1) / max(1e-9, time.monotonic() - began) if new > STEADY else 0.0
        note = f"{speed:,.0f} a second" if speed >= 10 else f"{speed:.2g} a second" if speed else ""
        if speed and count.so_far and not count.is_alive():
            note += f", {in_words((total - done) / speed)} left"
        progress("scan", done, total, note)

    def one_more() -> None:
        nonlocal done, began, told
        done += 1
        now = time.monotonic()
        began = began or now  # what a start takes says nothing of what is left
        if now - told >= EVERY:
            told = now
            tell()

    count.start()
    try:
        yield one_more
        tell()
    finally:
        count.over.set()


def in_words(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`, `4.1 days`."""
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}" if unit == "min" else f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
