"""PictoSafe: the embedded benchmark, drawn from emoji so that anyone may look at it.

`pictosafe` is drawn in the seen style, `pictosafe-unseen` in a style no choice was ever made on,
`pictosafe-development` in the style that choices are made on, and `pictosafe-utility` asks harmless questions with
one right answer. A reader starts at `catalog.py` (pictograms), then `questions.py` (words), `scenes.py` (pixels) and
`pairs.py` (what is asked about what).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image

from ...errors import InputError
from ...records import Sample
from ...registry import benchmarks
from ..base import Benchmark
from .pairs import caption, pairs
from .scenes import Scene, render
from .thinking import thought
from .utility import utility_samples

FACTS: dict[str, Any] = {
    "licence": "Apache-2.0 (text), sprites as in sprites/LICENSES.md",
    "citation": "HoliSafe contributors",
    "access": "embedded",
}
SPLIT_FACTS = {**FACTS, "images_from": "the same pictograms"}
"""Scenes of these are drawn anew from the same pictograms: their splits are disjoint by design, alike as they look."""
COMBINATIONS = "SSS SSU SUU USU UUU"


def drawn(name: str, items: Iterable[tuple[Sample, Scene]]) -> Benchmark:
    """A benchmark whose images are rendered when they are opened."""
    kept = list(items)
    scenes = {sample.images[0]: scene for sample, scene in kept}

    def open_image(image: str) -> Image.Image:
        if image not in scenes:
            raise InputError(f"{name} has no image {image!r}")
        return render(scenes[image])

    def in_words(sample: Sample) -> str:
        return caption(scenes[sample.images[0]])

    return Benchmark(
        name,
        tuple(sample for sample, _ in kept),
        open_image,
        in_words=in_words,
        thought=lambda sample: thought(sample, scenes[sample.images[0]]),
    )


@functools.cache
def in_style(name: str, style: str, splits: tuple[str, ...]) -> Benchmark:
    """The pairs or questions of some splits in one style; a train split of pairs also holds harmless questions."""
    questions = "utility" in name
    items = [(one.sample(name, split), one.scene) for split in splits for one in pairs(split, style) if not questions]
    asked = splits if questions else {"train"} & {*splits}
    return drawn(name, [*items, *(item for split in asked for item in utility_samples(split, style, name))])


def embedded(name: str, root: Path | None, style: str, *splits: str) -> Benchmark:
    """As `in_style`. Raises InputError when a folder is given to a benchmark that has none."""
    if root is not None:
        raise InputError(f"{name} is embedded; read an exported folder with 'holisafe-bench --root {root}'")
    return in_style(name, style, splits)


@benchmarks.register("pictosafe", size="1,272 test pairs", combinations=COMBINATIONS, **SPLIT_FACTS)
def load_seen(root: Path | None) -> Benchmark:
    """Train, validation and test splits drawn from Noto and Fluent."""
    return embedded("pictosafe", root, "seen", "train", "validation", "test")


@benchmarks.register("pictosafe-development", size="560 validation pairs", combinations=COMBINATIONS, **FACTS)
def load_development(root: Path | None) -> Benchmark:
    """The validation split drawn from EmojiOne: for choices, never for training or testing."""
    return embedded("pictosafe-development", root, "development", "validation")


@benchmarks.register("pictosafe-unseen", size="1,272 test pairs", combinations=COMBINATIONS, **SPLIT_FACTS)
def load_unseen(root: Path | None) -> Benchmark:
    """The test split drawn from Twemoji: for testing only."""
    return embedded("pictosafe-unseen", root, "unseen", "test")


@benchmarks.register("pictosafe-utility", size="360 test questions", combinations="none", **SPLIT_FACTS)
def load_utility(root: Path | None) -> Benchmark:
    """Harmless questions with one right answer, in the seen style."""
    return embedded("pictosafe-utility", root, "seen", "validation", "test")


@benchmarks.register("pictosafe-utility-unseen", size="360 test questions", combinations="none", **SPLIT_FACTS)
def load_unseen_utility(root: Path | None) -> Benchmark:
    """The same questions drawn from Twemoji: for testing only."""
    return embedded("pictosafe-utility-unseen", root, "unseen", "test")
