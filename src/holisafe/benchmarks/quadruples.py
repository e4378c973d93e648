"""Quadruples among a benchmark's pairs: two texts and two images, a safe and an unsafe one each, in all four ways.

What SafeGround (arXiv 2503.11742) compares; PictoSafe's modality quadruples are such.
"""

from __future__ import annotations

from ..errors import InputError
from ..images import pixel_hash
from ..records import Sample
from .base import Benchmark

Quadruple = tuple[Sample, Sample, Sample, Sample]

CORNERS = ("SSS", "SUU", "USU", "UUU")
"""The pairs of a quadruple in order: (T_s, I_s), (T_u, I_s), (T_s, I_u), (T_u, I_u)."""


def quadruples(benchmark: Benchmark) -> list[Quadruple]:
    """The clusters that hold one pair of each of CORNERS, made of two texts and two images, in the order of the
    benchmark. Clusters that hold something else are passed by; two images are the same when their pixels are.

    Raises InputError when there is none.
    """
    clusters: dict[str, dict[str, list[Sample]]] = {}
    for sample in benchmark.samples:
        if sample.cluster and sample.combination in CORNERS and len(sample.images) == 1:
            clusters.setdefault(sample.cluster, {}).setdefault(sample.combination, []).append(sample)
    found: list[Quadruple] = []
    for members in clusters.values():
        if set(members) == set(CORNERS) and all(len(samples) == 1 for samples in members.values()):
            one, two, three, four = (members[code][0] for code in CORNERS)
            texts = one.query == three.query and two.query == four.query
            if texts and _same_image(benchmark, one, two) and _same_image(benchmark, three, four):
                found.append((one, two, three, four))
    if not found:
        raise InputError(f"{benchmark.name} has no quadruples: clusters of {', '.join(CORNERS)} with two texts")
    return found


def _same_image(benchmark: Benchmark, one: Sample, other: Sample) -> bool:
    if one.images == other.images:
        return True
    first, second = (pixel_hash(benchmark.open_image(sample.images[0])) for sample in (one, other))
    return first == second
