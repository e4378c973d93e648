"""Guard models by others, read on the same images as ours: `shieldgemma2/ID`, `llavaguard/ID`, `llama-guard/ID`.

A newcomer adds a file with `load(ID, device) -> Baseline` and a line in BASELINES.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from PIL.Image import Image

BASELINES: Final = {"shieldgemma2": "shieldgemma2", "llavaguard": "llavaguard", "llama-guard": "llama_guard"}
"""What stands before the first slash of a model's name -> module."""


def open_baseline(spec: str, device: str | None = None) -> Baseline | None:
    """The baseline that `spec` names, or None when it names none. Raises InputError when it cannot be loaded."""
    kind, slash, name = spec.partition("/")
    if not slash or kind not in BASELINES:
        return None
    loaded: Baseline = importlib.import_module(f".{BASELINES[kind]}", __package__).load(name, device)
    return loaded


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
