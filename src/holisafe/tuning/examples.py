"""What one training example is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from ..records import Message, Picture
from ..taxonomy import BORDERLINE, COMBINATIONS, SAFE, Expected

UTILITY = "utility"
"""What `Example.kind` is for data that belongs to no combination."""

UNSAFE = "unsafe"
PAIR_LABELS = (SAFE, UNSAFE)
"""The classes of a guard on pairs: unsafe where a safe model refuses."""


class LeftOut(NamedTuple):
    """Stands among examples for something that teaches nothing; `why` is what such things are called, in the plural."""

    why: str


class Repaired(NamedTuple):
    """Stands beside an example for what was mended in it; `what` is what such things are called, in the plural."""

    what: str


@dataclass(frozen=True)
class Example:
    """One conversation with the answer to learn. `image_label` None: nothing is said about the image.

    `expected`: what a safe model does; None: what `kind` says where that is a combination, else unknown. `rejected`:
    an answer that is worse, for objectives that learn from both. `thought`: what is thought before the answer, and
    learnt with it; it begins with `understanding`, what was asked in other words, where the data tell.
    """

    id: str
    messages: tuple[Message, ...]
    answer: str
    image_label: str | None = None
    kind: str = UTILITY
    source: str = field(default="", compare=False)
    expected: Expected | None = None
    rejected: str | None = None
    thought: str | None = None
    understanding: str | None = None

    @property
    def pictures(self) -> tuple[Picture, ...]:
        return tuple(picture for message in self.messages for picture in message.pictures)

    @property
    def learnt(self) -> list[str]:
        """The answer, and the thought where there is one: what tells two examples of the same question apart."""
        return [self.answer] if self.thought is None else [self.answer, self.thought]

    @property
    def pair_label(self) -> str | None:
        """Image and text together, one of PAIR_LABELS; None where it is unknown."""
        expected = self.expected or COMBINATIONS.get(self.kind)
        return None if expected in (None, BORDERLINE) else SAFE if expected == "answer" else UNSAFE
