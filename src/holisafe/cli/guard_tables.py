"""What `holisafe guard eval` and `guard pairs` measured, as tables on the terminal: benign images first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def print_guard(result: Mapping[str, Any]) -> None:
    """The tables of `report.guards`, then its notes."""
    from ..report.guards import guard_grids, guard_notes
    from .screen import screen

    console = screen()
    for grid in guard_grids(result):
        console.print(grid)
    for note in guard_notes(result):
        console.print(note, soft_wrap=True)
