"""What one training example is."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..records import Message, Picture

UTILITY = "utility"
"""What `Example.kind` is for data that belongs to no combination."""


@dataclass(frozen=True)
class Example:
    """One conversation with the answer to learn. `image_label` None: nothing is said about the image."""

    id: str
    messages: tuple[Message, ...]
    answer: str
    image_label: str | None = None
    kind: str = UTILITY
    source: str = field(default="", compare=False)

    @property
    def pictures(self) -> tuple[Picture, ...]:
        return tuple(picture for message in self.messages for picture in message.pictures)
