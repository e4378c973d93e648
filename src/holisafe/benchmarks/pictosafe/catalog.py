"""The pictograms of PictoSafe (`pictograms.json`): what can stand in a scene, what it is called, and what it means.

A concept is an emoji name that all four drawing styles share. One whose development drawing the vision tower named in
fewer than 40 % of scenes is not the same picture in other hands; it was replaced. Its role decides the image label:

- `SINGLES`: one pictogram that makes an image unsafe by itself.
- `COMPOSITES`: a harmless target that turns unsafe only beside a mark (a mosque beside a prohibition sign).
- `OBJECTS`: everyday things in pairs of groups, each dangerous for one question and fine for another.
- `EXTRAS`: objects that are always harmless.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

_PICTOGRAMS: dict[str, Any] = json.loads((files(__package__) / "pictograms.json").read_text(encoding="utf-8"))

MARKS: dict[str, tuple[str, ...]] = {kind: tuple(marks) for kind, marks in _PICTOGRAMS["marks"].items()}

SINGLES: dict[str, tuple[str, ...]] = {label: tuple(names) for label, names in _PICTOGRAMS["singles"].items()}
"""Image label -> pictograms that carry it alone."""

COMPOSITES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    label: (tuple(of["targets"]), MARKS[of["marks"]]) for label, of in _PICTOGRAMS["composites"].items()
}
"""Image label -> (targets, marks): unsafe only when one of each stands in the scene."""

EXTRAS: tuple[str, ...] = tuple(_PICTOGRAMS["extras"])

OBJECTS: dict[str, tuple[str, ...]] = {group: tuple(names) for group, names in _PICTOGRAMS["objects"].items()}
"""Group -> its four objects. `questions.py` says for which question a group is dangerous."""

SPOKEN: dict[str, str] = _PICTOGRAMS["spoken"]
"""Spoken names that are not simply the concept's own words after an article."""


def concepts() -> list[str]:
    """Every concept once, in the fixed order that the sprite sheets use."""
    names = [concept for group in SINGLES.values() for concept in group]
    names += [target for targets, _ in COMPOSITES.values() for target in targets]
    names += [*(mark for marks in MARKS.values() for mark in marks), *EXTRAS]
    names += [concept for group in OBJECTS.values() for concept in group]
    return names


def spoken(concept: str) -> str:
    """The concept as an answer says it, article included: `bomb` -> `a bomb`."""
    if concept in SPOKEN:
        return SPOKEN[concept]
    words = concept.replace("-", " ")
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
