"""A safe partner for each unsafe pair, to compare what a model does on the two."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from typing import NamedTuple

from ...errors import InputError
from ...records import Sample
from ..base import FitData


class Partners(NamedTuple):
    """A safe and an unsafe pair; `alike`: they are of one cluster, so that they differ in one half or in both."""

    safe: Sample
    unsafe: Sample
    alike: bool


def partners(data: FitData) -> list[Partners]:
    """Each unsafe training pair with a safe one.

    From its own cluster where that has safe pairs of the same split outside validation, drawn for training or not:
    PictoSafe's quadruples, VSCBench's rows, several queries about one image. The k-th unsafe pair of a cluster gets its
    k-th safe one, beginning anew when they run out. Else any safe training pair, drawn by the seed.

    Raises InputError when there is no safe or no unsafe training pair.
    """
    held_out = {sample.id for sample in data.validation}
    safe_of: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for sample in data.benchmark.samples:
        if sample.expected == "answer" and not sample.has_answer_key and sample.cluster and sample.id not in held_out:
            safe_of[sample.split, sample.cluster].append(sample)
    safe = [sample for sample in data.train if sample.expected == "answer"]
    unsafe = [sample for sample in data.train if sample.expected == "refuse"]
    if not safe or not unsafe:
        raise InputError(f"{data.benchmark.name} has no {'unsafe' if safe else 'safe'} pairs to fit on")
    draw, used, found = random.Random(data.seed), Counter[tuple[str, str]](), list[Partners]()
    for sample in unsafe:
        key = (sample.split, sample.cluster or "")
        near = safe_of.get(key)
        found.append(Partners(near[used[key] % len(near)] if near else draw.choice(safe), sample, bool(near)))
        used[key] += 1
    return found
