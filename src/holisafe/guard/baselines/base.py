"""What every baseline says of an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from PIL.Image import Image


@dataclass(frozen=True, kw_only=True)
class Opinion:
    """A guard's verdict on one image.

    unsafe   None when its answer could not be read: `invalid` then says why, and it counts as neither
    score    P(unsafe) where the guard gives one
    category its own word for what it saw
    label    our label, only where its category and ours mean the same
    """

    unsafe: bool | None
    score: float | None = None
    category: str | None = None
    label: str | None = None
    invalid: str | None = None


class Baseline(Protocol):
    """A loaded guard model. `note` says what a reader of its figures must know."""

    name: str
    note: str

    def read(self, images: Sequence[Image]) -> list[Opinion]:
        """One opinion an image (RGB), in their order."""
        ...
