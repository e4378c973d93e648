"""Everything that reaches a terminal goes through here: names and texts from files must not drive it.

`guarded` puts `visible` before stdout and stderr, so that a plain `print` is safe; `screen` is the console for tables,
whose own colours pass, while markup such as [red] in any text is text.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from ..visible import visible

if TYPE_CHECKING:
    from rich.console import Console

PIPED_WIDTH = 110

BARS = re.compile("\r|\x1b\\[A")
"""How the libraries' own progress bars move on stderr."""


class Visible:
    """A text stream that shows what is written to it; all else is the stream's own."""

    def __init__(self, stream: TextIO, bars: bool = False) -> None:
        self._stream, self._bars = stream, bars

    def write(self, text: str) -> int:
        if self._bars:
            moves, pieces = BARS.findall(text), [visible(piece) for piece in BARS.split(text)]
            self._stream.write("".join(piece + move for piece, move in zip(pieces, [*moves, ""], strict=True)))
        else:
            self._stream.write(visible(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __iter__(self) -> Iterator[str]:
        return iter(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def guarded() -> Iterator[None]:
    """Within it, stdout and stderr are `Visible`, and no letter of any text is one too many for the terminal."""
    before = sys.stdout, sys.stderr
    for stream in before:
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    shown: Any = Visible(sys.stdout), Visible(sys.stderr, bars=True)
    sys.stdout, sys.stderr = shown
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def screen(*, stderr: bool = False, soft_wrap: bool = False) -> Console:
    """A console as wide as the terminal, or PIPED_WIDTH where nobody told another width."""
    from rich.console import Console, ConsoleOptions
    from rich.segment import Segment
    from rich.text import Text

    class Plain(Console):
        """Shows texts as they are; only what rich itself makes of them, colours and cursor, drives the terminal."""

        def render_str(self, text: str, **how: Any) -> Text:
            return super().render_str(visible(text), **how)

        def render(self, renderable: Any, options: ConsoleOptions | None = None) -> Iterator[Segment]:
            for segment in super().render(renderable, options):
                yield segment if segment.control else segment._replace(text=visible(segment.text))

    stream: Any = sys.stderr if stderr else sys.stdout
    if isinstance(stream, Visible):
        stream = stream._stream
    console = Plain(file=stream, stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=soft_wrap)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPED_WIDTH
    return console
