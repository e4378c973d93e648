"""Where results are printed: the terminal, or a file or pipe as wide as tables need."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

PIPED_WIDTH = 110


def screen() -> Console:
    """A console on stdout, as wide as the terminal, or PIPED_WIDTH where nobody told another width."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPED_WIDTH
    return console
