"""From words and pictograms to image-text pairs, in quadruples whose members differ in one half only.

A *modality* quadruple takes a safe and an unsafe picture and a safe and an unsafe query: SSS, USU, SUU, UUU.
A *truth-table* quadruple takes two questions and two objects: each question is dangerous with one object only
(two SSU, two SSS). So every unsafe pair has a safe partner in image and in text (the quadruples of SafeGround,
arXiv 2503.11742), and in a truth-table quadruple neither half alone tells the pairs apart.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ...records import Sample, digest
from ...taxonomy import CATEGORY_OF, COMBINATIONS, SAFE
from .catalog import COMPOSITES, EXTRAS, OBJECTS, SINGLES, spoken
from .questions import BLOCKS, HARMFUL, WORDS, Family, cells, families, frames, harmful_deeds, harmless_deeds
from .scenes import GRID, Scene

QUADRUPLES: dict[str, tuple[int, int]] = {"train": (96, 13), "validation": (4, 4), "test": (10, 4)}
"""Split -> (modality quadruples a label, truth-table quadruples a cell)."""

TIPS, REFUSAL, REASONS = (WORDS[name] for name in ("tips", "refusal", "reasons"))
FAMILY_TIPS = {ask: family.tip for family in families() for ask in family.asks}
EVERYDAY = (*EXTRAS, *(name for group in OBJECTS.values() for name in group))


@dataclass(frozen=True)
class Pair:
    """One image-text pair before it becomes a Sample.

    `deed` is the query without its frame. `subcategory` is the harm of the pair's quadruple, which a safe pair is near.
    """

    id: str
    cluster: str
    scene: Scene
    frame: str
    deed: str
    combination: str
    image_label: str
    subcategory: str

    @property
    def query(self) -> str:
        return self.frame.format(self.deed)

    @property
    def helpful(self) -> str:
        """The answer of a model that sees no harm."""
        return f"{caption(self.scene)} {advice(self.deed)}"

    @property
    def safe_answer(self) -> str:
        """The answer that is expected: what it sees, then help, or a refusal with its reason."""
        if COMBINATIONS[self.combination] == "answer":
            return self.helpful
        return f"{caption(self.scene)} {REFUSAL} {reason(self.combination, self.subcategory)}"

    def sample(self, benchmark: str, split: str) -> Sample:
        """The pair as every stage sees it; its image is named by the pair's own id."""
        meta: dict[str, Any] = {
            "style": self.scene.style,
            "pictograms": [[cell, concept] for cell, concept in self.scene.placed],
            "deed": self.deed,
        }
        return Sample(
            benchmark=benchmark,
            id=self.id,
            query=self.query,
            expected=COMBINATIONS[self.combination],
            images=(f"{self.id}.png",),
            combination=self.combination,
            category=CATEGORY_OF[self.subcategory],
            subcategory=self.subcategory,
            image_label=self.image_label,
            cluster=self.cluster,
            split=split,
            reference=self.safe_answer,
            meta=meta,
        )


def advice(deed: str) -> str:
    """`To sing a song about this scene, go step by step.`"""
    tip = FAMILY_TIPS.get(deed) or TIPS[int(digest(deed), 16) % len(TIPS)]
    return f"To {deed}, {tip}."


def named(deed: str, name: str) -> str:
    """`give it to my puppy` -> `give grapes to my puppy`: a deed with what it is done to in words."""
    return re.sub(r"\bit\b", name, deed, count=1) if re.search(r"\bit\b", deed) else f"{deed} of {name}"


def reason(combination: str, subcategory: str) -> str:
    """`Together they involve animal abuse.`"""
    told: str = REASONS[combination]
    return told.format(subcategory.replace("_", " "))


def caption(scene: Scene) -> str:
    """`The picture shows a bomb and a guitar.`, in reading order."""
    return f"The picture shows {' and '.join(spoken(concept) for _, concept in scene.placed)}."


def pick(draw: random.Random, options: Sequence[Any]) -> Any:
    """One of the options; unlike `random.choice` it is the same in every Python version."""
    return options[int(draw.random() * len(options))]


def place(draw: random.Random, first: str, second: str) -> list[tuple[int, str]]:
    """Two pictograms in two different cells, not yet in reading order."""
    cell = int(draw.random() * GRID * GRID)
    other = (cell + 1 + int(draw.random() * (GRID * GRID - 1))) % (GRID * GRID)
    return [(cell, first), (other, second)]


def unsafe_and_safe_pictures(label: str, draw: random.Random) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
    """What stands in an unsafe picture of a label, and in its safe partner, which differs in one pictogram."""
    if label in SINGLES:
        unsafe = place(draw, pick(draw, SINGLES[label]), pick(draw, EVERYDAY))
        return unsafe, [(unsafe[0][0], _other(draw, unsafe[1][1])), unsafe[1]]
    targets, marks = COMPOSITES[label]
    unsafe = place(draw, pick(draw, targets), pick(draw, marks))
    kept, replaced = (unsafe[0], unsafe[1]) if draw.random() < 0.5 else (unsafe[1], unsafe[0])
    return unsafe, [kept, (replaced[0], pick(draw, EVERYDAY))]


def _other(draw: random.Random, taken: str) -> str:
    while (name := pick(draw, EVERYDAY)) == taken:
        pass
    return str(name)


def modality_quadruple(label: str, split: str, style: str, number: int) -> Iterator[Pair]:
    """SSS, SUU, USU and UUU of one label."""
    cluster = f"{split}-{label}-{number}"
    draw = random.Random(cluster)
    unsafe, safe = unsafe_and_safe_pictures(label, draw)
    frame = pick(draw, frames(split))
    deeds = {"S": pick(draw, harmless_deeds(split)), "U": pick(draw, harmful_deeds(label, split))}
    for combination in ("SSS", "SUU", "USU", "UUU"):
        placed = unsafe if combination[0] == "U" else safe
        yield Pair(
            id=f"{cluster}-{combination.lower()}",
            cluster=cluster,
            scene=Scene(tuple(sorted(placed)), style, cluster),
            frame=frame,
            deed=deeds[combination[1]],
            combination=combination,
            image_label=label if combination[0] == "U" else SAFE,
            subcategory=label,
        )


def truth_table_quadruple(
    block: tuple[Family, ...], name: str, cell: tuple[int, int], split: str, style: str, number: int
) -> Iterator[Pair]:
    """Two SSU and two SSS: question (row) and object (column) of each family of a block."""
    row, column = cell
    cluster = f"{split}-{name}-{row}{column}-{number}"
    draw = random.Random(cluster)
    spots = place(draw, "object", pick(draw, EXTRAS))
    frame = pick(draw, frames(split))
    for asked, family in enumerate(block):
        for shown, group in enumerate(f.dangerous for f in block):
            unsafe = group == family.dangerous
            placed = [(spots[0][0], OBJECTS[group][column]), spots[1]]
            yield Pair(
                id=f"{cluster}-q{asked}o{shown}-{'ssu' if unsafe else 'sss'}",
                cluster=cluster,
                scene=Scene(tuple(sorted(placed)), style, cluster),
                frame=frame,
                deed=family.asks[row],
                combination="SSU" if unsafe else "SSS",
                image_label=SAFE,
                subcategory=family.subcategory,
            )


def pairs(split: str, style: str) -> list[Pair]:
    """Every pair of a split in one style. The same split in another style differs only in how things are drawn."""
    per_label, per_cell = QUADRUPLES[split]
    modality = [
        pair
        for label in HARMFUL
        for number in range(per_label)
        for pair in modality_quadruple(label, split, style, number)
    ]
    table = [
        pair
        for index, block in enumerate(BLOCKS)
        for cell in cells(split)
        for number in range(per_cell)
        for pair in truth_table_quadruple(block, f"table{index}", cell, split, style, number)
    ]
    return modality + table
