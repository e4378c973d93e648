"""How far long work is, in a notebook: a bar a stage, drawn with what every kernel has. Elsewhere nobody is told."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

from ..evaluation.progress import Progress, silent
from ..visible import one_line

warnings.filterwarnings("ignore", message="IProgress not found")  # tqdm's, of widgets that nothing here needs

SECONDS = 0.2
"""The least time between two drawings, first and last of a stage apart."""


def in_notebook() -> bool:
    """Whether a kernel runs this, and its reader watches."""
    python = sys.modules.get("IPython")
    shell = python.get_ipython() if python is not None else None
    return getattr(shell, "kernel", None) is not None


@contextmanager
def watched(progress: Progress | None) -> Iterator[Progress]:
    """The progress given; without one, bars in a notebook and nothing elsewhere."""
    if progress is not None or not in_notebook():
        yield progress or silent
        return
    bars = Bars()
    try:
        yield bars
    finally:
        bars.draw()


class Bars:
    """A bar for every stage, one below the other, in one output of the cell."""

    def __init__(self) -> None:
        self.stages: dict[str, tuple[int, int, str]] = {}
        self.drawn = 0.0
        self.output: Any = None

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        fresh = stage not in self.stages
        self.stages[stage] = (done, total, note)
        if fresh or done == total or time.monotonic() - self.drawn >= SECONDS:
            self.draw()

    def draw(self) -> None:
        from IPython.display import display

        if not self.stages:
            return
        if self.output is None:
            self.output = display(self, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self.output.update(self)
        self.drawn = time.monotonic()

    def _lines(self) -> Iterator[tuple[int, int, str]]:
        for stage, (done, total, note) in self.stages.items():
            yield done, total, one_line(f"{stage} {done:,}/{total:,}  {note}".rstrip())

    def __repr__(self) -> str:
        return "\n".join(words for _, _, words in self._lines())

    def _repr_html_(self) -> str:
        bar = '<div><progress value="{}" max="{}" style="width:16em;vertical-align:middle"></progress> {}</div>'
        rows = (bar.format(done, max(total, 1), escape(words)) for done, total, words in self._lines())
        return f'<div style="font-size:90%">{"".join(rows)}</div>'
