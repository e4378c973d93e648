"""A mix of named sources: how much of each is drawn, and a record of it.

    data:
      mix:
        - {source: holisafe, path: train.json}
        - {source: llava, name: general, path: instruct.json, images: coco, size: 10000}

The last is the dial between safety and usefulness: HoliSafe (arXiv 2506.04704) reports 0, 10,000 and 15,000.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from math import floor
from typing import Any

from ..errors import InputError
from ..records import digest
from ..specs import typed_path
from ..taxonomy import IMAGE_LABELS
from .data import check_images
from .examples import Example
from .recipe import Data, MixPart
from .sources import FILES, read_source


def draw_mix(
    data: Data,
    labels: Sequence[str] = IMAGE_LABELS,
    left_out: Counter[str] | None = None,
    repaired: Counter[str] | None = None,
) -> tuple[list[Example], list[dict[str, Any]]]:
    """Every part's drawn examples, one part after the other, and for each a record of what was drawn from what.
    `labels` are those that image labels in our own form of file may be. What teaches nothing is counted in `left_out`,
    what was mended in `repaired`.

    Examples carry the part as their `source`: SOURCE, or SOURCE/NAME where it has a name of its own. Every drawn image
    is opened once. Raises InputError for whatever is wrong with a source, and for a size that it does not have.
    """
    examples: list[Example] = []
    records: list[dict[str, Any]] = []
    for part in data.mix:
        path, images = (None if name is None else typed_path(name) for name in (part.path, part.images))
        available = read_source(part.source, path, images, labels, left_out, repaired, part.thoughts)
        source = part.source if part.name == part.source else f"{part.source}/{part.name}"
        drawn = [replace(example, source=source) for example in draw(available, part, data.draw_seed)]
        if part.source in FILES or path is not None:
            check_images(drawn)
        examples += drawn
        records.append(
            {
                "name": part.name,
                "source": part.source,
                "path": part.path,
                "available": len(available),
                "drawn": len(drawn),
                "digest": digest([[example.id, *example.learnt] for example in drawn]),
            }
        )
    if not examples:
        raise InputError("the mix draws no example", where="recipe", field="data.mix")
    return examples, records


def draw(examples: Sequence[Example], part: MixPart, seed: int) -> list[Example]:
    """The part's size or weight of its examples, in an order that the seed decides.

    A larger draw of the same seed contains a smaller one. Raises InputError for more than there are by `size`;
    `weight` repeats.
    """
    shuffled = sorted(examples, key=lambda example: digest(["mix", seed, part.name, example.id]))
    if part.size is not None:
        if part.size > len(shuffled):
            problem = f"{part.name!r} has {len(shuffled)} examples, not {part.size}; weight shows some of them again"
            raise InputError(problem, where="recipe", field="data.mix")
        return shuffled[: part.size]
    weight = 1.0 if part.weight is None else part.weight
    whole = floor(weight)
    return shuffled * whole + shuffled[: round((weight - whole) * len(shuffled))]
