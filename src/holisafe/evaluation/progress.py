"""How long work tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with what is being done ("images", "responses", or a judge's name), how much is done, and how much in all."""


def silent(stage: str, done: int, total: int) -> None:
    """Nobody watches."""
