"""When a run must begin nothing new: somebody asked it to stop, or its budget is used up."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Budget:
    """What a run has cost so far, in US dollars, and the most that it may, None for any amount."""

    most: float | None
    spent: float = 0.0

    def spend(self, cost: float | None) -> None:
        if cost is not None and cost > 0:  # neither less than nothing, nor no number, makes room for more
            self.spent += cost

    @property
    def used_up(self) -> bool:
        return self.most is not None and self.spent >= self.most


@dataclass
class Stopping:
    """Whether nothing new may begin: somebody asked the run to stop, or its budget is used up."""

    interrupted: Callable[[], bool]
    budget: Budget

    def __call__(self) -> bool:
        return self.interrupted() or self.budget.used_up

    def leave(self, where: str) -> None:
        """Raise KeyboardInterrupt saying why the run stopped, if it did."""
        if self.interrupted():
            raise KeyboardInterrupt(f"stopped {where}; the same command again goes on")
        if self.budget.used_up:
            spent = f"${self.budget.spent:.4f} of ${self.budget.most:.4f}"
            raise KeyboardInterrupt(f"stopped {where}: {spent} spent; a larger --max-cost goes on")


@contextmanager
def stopping_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Ctrl-C or SIGTERM once: begin nothing new, let what is in flight finish. Twice: stop at once.

    Gives a function that tells whether it happened. In another thread than the main one, nothing is caught.
    """
    asked = threading.Event()

    def stop(number: int, frame: object) -> None:
        if asked.is_set():
            raise KeyboardInterrupt("stopped at once; the same command again goes on")
        asked.set()
        os.write(2, b"\nholisafe: finishing what is in flight; Ctrl-C again stops at once\n")

    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
