"""Does the training data hold what a benchmark will ask? Near-duplicate images and queries, by their ids."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, NamedTuple

from ..benchmarks import open_benchmark
from ..benchmarks.base import Benchmark
from ..errors import InputError
from ..near_duplicates import image_hash, near_images, near_texts
from ..records import Picture
from ..registry import benchmarks
from ..specs import typed_path
from .examples import Example
from .recipe import Data


class Overlap(NamedTuple):
    """A training example and a benchmark's sample that have an image or the query in common."""

    half: Literal["image", "text"]
    example: str
    source: str
    benchmark: str
    sample: str


def find_overlaps(examples: Sequence[Example], data: Data) -> list[Overlap]:
    """Every near-duplicate between the examples and what the named benchmarks ask (all splits but `train`).

    Raises InputError for a benchmark that cannot be read or asks nothing.
    """
    unique = list({(example.source, example.id): example for example in examples}.values())
    hashes = _hashes({(e.source, p.name): p for e in unique for p in e.pictures}) if data.check_against else {}
    return [overlap for named in data.check_against for overlap in _with_one(unique, hashes, named, data)]


def parts_of_images(name: str) -> str | None:
    """What a benchmark declares that its images are made of (`images_from`): those of two that say the same are alike
    and disjoint by design, and are not compared with each other. Their texts are."""
    entry = benchmarks.entries().get(name)
    return entry.facts.get("images_from") if entry else None


def refuse(overlaps: Sequence[Overlap], data: Data) -> None:
    """Raise InputError when there are overlaps that the recipe does not allow."""
    allowed = {"image", "text"} if data.allow_overlap is True else {data.allow_overlap}
    refused = [overlap for overlap in overlaps if overlap.half not in allowed]
    if refused:
        counts = Counter(f"{overlap.half} in {overlap.benchmark}" for overlap in refused)
        listed = ", ".join(f"{count} x {what}" for what, count in sorted(counts.items()))
        some = ", ".join(f"{overlap.example} ~ {overlap.sample}" for overlap in refused[:3])
        raise InputError(
            f"training data occur in a benchmark ({listed}): {some}{' ...' if len(refused) > 3 else ''}; "
            "--dry-run lists all, data.allow_overlap goes on all the same",
            where="recipe",
            field="data.check_against",
        )


def _with_one(
    examples: Sequence[Example], hashes: Mapping[tuple[str, str], Any], named: str, data: Data
) -> Iterable[Overlap]:
    """Overlaps with one benchmark."""
    name, colon, root = named.partition(":")
    benchmark = open_benchmark(name, typed_path(root) if colon else None)
    samples = [sample for sample in benchmark.samples if sample.split != "train"]
    if not samples:
        raise InputError(f"{name} has no samples but those to train on", where="recipe", field="data.check_against")
    queries = [example.messages[-1].text for example in examples]
    for one, other in near_texts(queries, [sample.query for sample in samples], data.text_similarity):
        yield Overlap("text", examples[one].id, examples[one].source, name, samples[other].id)

    parts = parts_of_images(name)
    holders, askers = defaultdict[tuple[str, str], list[str]](list), defaultdict[str, list[str]](list)
    for example in examples:
        if not (parts and parts == parts_of_images(example.source.partition("/")[0])):
            for picture in example.pictures:
                holders[example.source, picture.name].append(example.id)
    for sample in samples:
        for image in sample.images:
            askers[image].append(sample.id)
    ours, theirs = list(holders), list(askers) if holders else []
    asked = _hashes_of_benchmark(benchmark, theirs)
    for one, other in near_images([hashes[place] for place in ours], asked, data.image_distance):
        source = ours[one][0]
        for identity in holders[ours[one]]:
            for sample_id in askers[theirs[other]]:
                yield Overlap("image", identity, source, name, sample_id)


def _hashes(pictures: Mapping[tuple[str, str], Picture]) -> dict[tuple[str, str], Any]:
    """The hash of every image, each opened once."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        found = pool.map(lambda picture: image_hash(picture.open()), pictures.values())
        return dict(zip(pictures, found, strict=True))


def _hashes_of_benchmark(benchmark: Benchmark, names: Sequence[str]) -> list[Any]:
    with ThreadPoolExecutor(max_workers=4) as pool:
        return list(pool.map(lambda name: image_hash(benchmark.open_image(name)), names))
