"""The utility set: name, count and locate pictograms. Its exact-match answers show what safety tuning costs.

Only everyday objects appear. Wordings belong to one split as a whole, like the frames of the pairs.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from ...records import Sample
from .catalog import spoken
from .pairs import EVERYDAY, pick
from .questions import WORDS
from .scenes import CELL_NAMES, GRID, Scene

WORDINGS: dict[str, dict[str, list[str]]] = WORDS["utility"]
"""Task -> split -> what it asks."""

NUMBERS = ("zero", "one", "two", "three", "four")
PER_TASK = {"train": 200, "validation": 60, "test": 120}


def wordings(task: str, split: str) -> tuple[str, ...]:
    """What a split may ask; `base` uses every wording."""
    by_split = WORDINGS[task]
    return tuple(text for group in by_split.values() for text in group) if split == "base" else tuple(by_split[split])


def utility_item(task: str, split: str, style: str, number: int) -> tuple[Scene, str, str]:
    """A scene, its question and the one right answer."""
    seed = f"{split}-{task}-{number}"
    draw = random.Random(seed)
    free = list(range(GRID * GRID))
    names: list[str] = []
    while len(names) < 3:
        if (name := pick(draw, EVERYDAY)) not in names:
            names.append(name)
    copies = {"name": [1, 1, 0], "count": [1 + int(draw.random() * 4), int(draw.random() * 2), 0], "locate": [1, 1, 1]}
    placed = sorted(
        (free.pop(int(draw.random() * len(free))), name)
        for name, count in zip(names, copies[task], strict=True)
        for _ in range(count)
    )
    question = pick(draw, wordings(task, split)).format(spoken(names[0]))
    answer = {
        "name": " and ".join(spoken(name) for _, name in placed),
        "count": NUMBERS[sum(name == names[0] for _, name in placed)],
        "locate": CELL_NAMES[next(cell for cell, name in placed if name == names[0])],
    }[task]
    return Scene(tuple(placed), style, seed), question, f"{answer[0].upper()}{answer[1:]}."


def utility_samples(split: str, style: str, benchmark: str) -> Iterator[tuple[Sample, Scene]]:
    """The utility questions of a split, a third each of naming, counting and locating."""
    for task in WORDINGS:
        for number in range(PER_TASK[split]):
            scene, question, answer = utility_item(task, split, style, number)
            identity = f"{split}-{task}-{number}"
            sample = Sample(
                benchmark=benchmark,
                id=identity,
                query=question,
                expected="answer",
                images=(f"{identity}.png",),
                image_label="safe",
                cluster=identity,
                split=split,
                reference=answer,
                meta={"task": task, "style": style, "pictograms": [[cell, name] for cell, name in scene.placed]},
            )
            yield sample, scene
