"""What a guard's reading comes to, by any of its names: the guard's own words, our labels and our categories."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from ..guards.base import Guard, Reading
from ..guards.taxonomies import OURS, meaning
from ..taxonomy import CATEGORY_OF, SAFE

UNSAFE = "unsafe"


@dataclass(frozen=True)
class Finding:
    """One usable reading. `scores` has a number for every name that the guard gives one for, `found` the names that it
    calls found; `named` are the guard's own words among these, the most certain first, and `own` all its words that
    were used, of its `taxonomy`."""

    guard: str
    taxonomy: str | None
    unsafe: bool
    scores: Mapping[str, float]
    found: frozenset[str]
    named: tuple[str, ...]
    own: tuple[str, ...]
    modalities: tuple[str, ...]

    def strength(self, name: str, above: float | None) -> float:
        """How strongly the name is there, 0 where it is not: above a threshold, or else by the guard's own verdict. A
        guard without a number for the name counts by its verdict."""
        score = self.scores.get(name)
        there = name in self.found if above is None or score is None else score > above
        return (score if score else 1.0) if there else 0.0


def finding(guard: Guard, reading: Reading, modalities: tuple[str, ...]) -> Finding:
    """A usable reading (`unsafe` is not None) under all its names.

    A category of ours has the sum of its labels' probabilities where the guard gives these, else the largest number of
    the guard's categories that fall into it.
    """
    own = {name: score for name, score in reading.scores.items() if name != SAFE}
    scores, ours = dict(own), defaultdict[str, list[float]](list)
    for name, score in own.items():
        told = meaning(guard.taxonomy, name)
        category = told.category or CATEGORY_OF.get(name)
        for mapped in {told.label, category} - {None, name}:
            ours[str(mapped)].append(score)
    for mapped, several in ours.items():
        scores[mapped] = min(1.0, sum(several)) if guard.taxonomy == OURS else max(several)
    if reading.score is not None:
        scores[UNSAFE] = reading.score
    found = {UNSAFE} if reading.unsafe else set[str]()
    named = tuple(name for name in reading.categories if name != SAFE) if reading.unsafe else ()
    for name in named:
        told = meaning(guard.taxonomy, name)
        found |= {name, *filter(None, (told.label, told.category))}
    if reading.unsafe:
        found |= {label for label in reading.labels if label != SAFE}
    words = tuple(meaning(guard.taxonomy, name).name for name in named)
    used = tuple(dict.fromkeys((*own, *named))) if guard.taxonomy != OURS else ()
    return Finding(guard.name, guard.taxonomy, bool(reading.unsafe), scores, frozenset(found), words, used, modalities)
