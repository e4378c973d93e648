"""Does a picture reach a guard behind an API? What to ask it; `targets/image_probe.py` reads the answers."""

from __future__ import annotations

from typing import Any

from ..records import GenerationSettings, Request
from ..targets.image_probe import NAMES, probes, without_pictures
from .base import Guard, Item, fitted


def guard_probes(guard: Guard, seed: int = 0) -> tuple[Request, Request] | None:
    """What the guard asks first about a harmless picture, with the picture and without. None for a guard on this
    machine, and for one that sends no pictures."""
    asking: Any = guard
    if not hasattr(getattr(asking, "target", None), "options"):
        return None
    _, (shown, _) = probes(GenerationSettings(), seed)
    (turn,) = shown.messages
    item = fitted(Item(id=NAMES[0], pictures=turn.pictures, text=turn.text), guard.takes)
    first: Request | None = None if item is None else next(iter(asking.requests(item)), None)
    if first is None or not any(one.pictures for one in first.messages):
        return None
    return first, without_pictures(first)
