"""How far long work is, on stderr: bars with an estimate of the time left, or, where nobody watches, a line now and
then."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol


class Show(Protocol):
    """Tell how far a stage is; its bar appears with the first call. `note` stands behind the bar."""

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None: ...


def in_words(losses: Mapping[str, float]) -> str:
    """`loss 1.234  lm_loss 1.100`."""
    return "  ".join(f"{name} {value:.3f}" for name, value in losses.items())


@contextmanager
def showing_progress(seconds: float = 30.0) -> Iterator[Show]:
    """A bar for every stage, one below the other; off a terminal a line, when so many seconds went by without one."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from ..visible import one_line
    from .screen import screen

    console = screen(stderr=True)
    spoke = time.monotonic()

    def say(stage: str, done: int, total: int, note: str = "") -> None:
        nonlocal spoke
        if time.monotonic() - spoke >= seconds:
            print(one_line(f"{stage} {done}/{total}  {note}".rstrip()), file=sys.stderr, flush=True)
            spoke = time.monotonic()

    if not console.is_terminal:
        yield say
        return
    named, noted = (TextColumn(f"{{task.{field}}}", markup=False) for field in ("description", "fields[note]"))
    bars = Progress(named, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), noted, console=console)
    tasks: dict[str, Any] = {}

    def show(stage: str, done: int, total: int, note: str = "") -> None:
        if stage not in tasks:
            tasks[stage] = bars.add_task(one_line(stage), total=total, note=one_line(note))
        bars.update(tasks[stage], completed=done, total=total, note=one_line(note))

    with bars:
        yield show
