"""What one training example is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from ..records import Message, Picture
from ..taxonomy import COMBINATIONS, SAFE, Expected

UTILITY = "utility"
"""What `Example.kind` is for data that belongs to no combination."""

UNSAFE = "unsafe"
PAIR_LABELS = (SAFE, UNSAFE)
"""The classes of a guard on pairs: unsafe where a safe model refuses."""


class LeftOut(NamedTuple):
    """Stands among examples for something that teaches nothing; `why` is what such things are called, in the plural."""

    why: str


@dataclass(frozen=True)
class Example:
    """One conversation with the answer to learn. `image_label` None: nothing is said about the image.

    `expected`: what a safe model does; None: what `kind` says where that is a combination, else unknown. `rejected`:
    an answer that is worse, for objectives that learn from both.
    """

    id: str
    messages: tuple[Message, ...]
    answer: str
    image_label: str | None = None
    kind: str = UTILITY
    source: str = field(default="", compare=False)
    expected: Expected | None = None
    rejected: str | None = None

    @property
    def pictures(self) -> tuple[Picture, ...]:
        return tuple(picture for message in self.messages for picture in message.pictures)

    @property
    def pair_label(self) -> str | None:
        """Image and text together, one of PAIR_LABELS; None where it is unknown."""
        expected = self.expected or COMBINATIONS.get(self.kind)
        return None if expected is None else SAFE if expected == "answer" else UNSAFE
