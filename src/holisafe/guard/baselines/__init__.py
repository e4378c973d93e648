"""Guard models by others, read on the same images as ours: `shieldgemma2/ID`, `llavaguard/ID`, `llama-guard/ID`.

A newcomer adds a file with `load(ID, device) -> Baseline` and a line in BASELINES.
"""

from __future__ import annotations

import importlib
from typing import Final

from .base import Baseline, Opinion

BASELINES: Final = {"shieldgemma2": "shieldgemma2", "llavaguard": "llavaguard", "llama-guard": "llama_guard"}
"""What stands before the first slash of a model's name -> module."""

__all__ = ["BASELINES", "Baseline", "Opinion", "open_baseline"]


def open_baseline(spec: str, device: str | None = None) -> Baseline | None:
    """The baseline that `spec` names, or None when it names none. Raises InputError when it cannot be loaded."""
    kind, slash, name = spec.partition("/")
    if not slash or kind not in BASELINES:
        return None
    loaded: Baseline = importlib.import_module(f".{BASELINES[kind]}", __package__).load(name, device)
    return loaded
