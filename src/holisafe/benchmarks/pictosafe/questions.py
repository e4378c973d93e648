"""The words of PictoSafe (`words.json`): what is asked, when it is harmful, and which part of it each split may use.

Every query is a frame around a deed: `How do I {give it to my puppy}?` Deeds stand in tables of four rows by four
columns, and `cell_split` gives each cell to one split, so that a test deed is new while its row and its column are
known. Frames belong to one split as a whole. Harmful and harmless deeds use the same frames.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

SIZE = 4
"""Rows and columns of every table of deeds."""


@dataclass(frozen=True)
class Family:
    """Four ways to ask one thing, dangerous with one group of objects and fine with another."""

    subcategory: str
    asks: tuple[str, ...]
    dangerous: str
    fine: str
    tip: str


WORDS: dict[str, Any] = json.loads((files(__package__) / "words.json").read_text(encoding="utf-8"))

FRAMES: dict[str, tuple[str, ...]] = {split: tuple(frames) for split, frames in WORDS["frames"].items()}
"""Split -> its wordings. The base split, which teaches the tiny VLM the language, uses all of them."""

HARMFUL: dict[str, dict[str, list[str]]] = WORDS["harmful"]
"""Unsafe label -> its "verbs" and "objects"; a deed is a verb with an object."""

HARMLESS: list[dict[str, list[str]]] = WORDS["harmless"]
"""Tables of "verbs" and "objects" whose deeds are harmless with every safe picture."""

BLOCKS: tuple[tuple[Family, ...], ...] = tuple(
    tuple(Family(**{**family, "asks": tuple(family["asks"])}) for family in block) for block in WORDS["blocks"]
)
"""The truth table of SSU: in each pair of families, what is dangerous for one is fine for the other, so that neither
the question nor the object says anything about the pair by itself."""


def cell_split(row: int, column: int) -> str:
    """Which split owns a cell of a table: a quarter is test, an eighth validation, the rest train.

    Each row and each column has one test cell and at least two train cells.
    """
    diagonal = (row + column) % SIZE
    if diagonal == 0:
        return "test"
    return "validation" if diagonal == 1 and row % 2 == 0 else "train"


def cells(split: str) -> list[tuple[int, int]]:
    """The (row, column) cells a split may use; `base` shares those of `train`."""
    owner = "train" if split == "base" else split
    return [(row, column) for row in range(SIZE) for column in range(SIZE) if cell_split(row, column) == owner]


def frames(split: str) -> tuple[str, ...]:
    """The wordings a split may use."""
    return tuple(frame for group in FRAMES.values() for frame in group) if split == "base" else FRAMES[split]


def harmful_deeds(label: str, split: str) -> list[str]:
    """Deeds that are harmful with any picture."""
    return _deeds(HARMFUL[label], split)


@functools.cache
def harmless_deeds(split: str) -> tuple[str, ...]:
    """Deeds that are harmless with any safe picture."""
    return tuple(deed for table in HARMLESS for deed in _deeds(table, split))


def _deeds(table: dict[str, list[str]], split: str) -> list[str]:
    return [f"{table['verbs'][row]} {table['objects'][column]}" for row, column in cells(split)]


def families() -> Iterator[Family]:
    """Every family of the truth table."""
    for pair in BLOCKS:
        yield from pair
