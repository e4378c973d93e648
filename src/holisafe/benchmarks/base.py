"""What every benchmark reader returns: samples, and a way to open the images they name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from PIL import Image

from ..errors import InputError
from ..images import pixel_hash
from ..records import GenerationSettings, Message, Picture, Request, Sample, digest, to_line


@dataclass(frozen=True)
class Benchmark:
    """Samples in a fixed order. `open_image` takes a name from `Sample.images` and gives RGB pixels or InputError."""

    name: str
    samples: tuple[Sample, ...]
    open_image: Callable[[str], Image.Image] = field(repr=False)

    def pictures(self, sample: Sample) -> tuple[Picture, ...]:
        """The sample's images, still closed."""
        return tuple(Picture(name, lambda name=name: self.open_image(name)) for name in sample.images)  # type: ignore[misc]

    def request(self, sample: Sample, settings: GenerationSettings) -> Request:
        """The conversation that asks a target about the sample: its images, then its query; no label goes along."""
        system = (Message("system", settings.system),) if settings.system else ()
        user = Message("user", sample.query, self.pictures(sample))
        return Request(sample_id=sample.id, messages=(*system, user), settings=settings)

    def content_hash(self, progress: Callable[[int, int], None] | None = None) -> str:
        """Identifies what is asked: every sample and the decoded pixels of every image it names.

        Decodes each image once, so every missing or broken one is found before anything is paid for; the first
        raises InputError.
        """
        names = list(dict.fromkeys(name for sample in self.samples for name in sample.images))
        hashes = []
        with ThreadPoolExecutor(max_workers=4) as pool:
            for done, value in enumerate(pool.map(lambda name: pixel_hash(self.open_image(name)), names), start=1):
                hashes.append(value)
                if progress is not None:
                    progress(done, len(names))
        return digest([[to_line(sample) for sample in self.samples], dict(zip(names, hashes, strict=True))])

    def only(self, split: str | None) -> Benchmark:
        """The samples of one split. Raises InputError when the benchmark has no such split."""
        if split is None:
            return self
        kept = tuple(sample for sample in self.samples if sample.split == split)
        if not kept:
            splits = ", ".join(sorted({sample.split for sample in self.samples}))
            raise InputError(f"{self.name} has no split {split!r}; it has: {splits}")
        return replace(self, samples=kept)


def stratified(samples: Sequence[Sample], limit: int | None, seed: int) -> list[Sample]:
    """At most `limit` samples, spread evenly over combinations and categories.

    Subsets nest: with the same seed a larger limit only adds samples. The result keeps the order of drawing, so a
    growing run appends.
    """
    strata: dict[tuple[str | None, str | None], list[Sample]] = {}
    for sample in sorted(samples, key=lambda s: digest([seed, s.id])):
        strata.setdefault((sample.combination, sample.subcategory or sample.category), []).append(sample)
    spread = [
        ((position + 0.5) / len(members), digest([seed, sample.id]), sample)
        for members in strata.values()
        for position, sample in enumerate(members)
    ]
    return [sample for _, _, sample in sorted(spread, key=lambda item: item[:2])][:limit]


def unique_ids(samples: Iterable[Sample], where: str) -> tuple[Sample, ...]:
    """The samples as a tuple. Raises InputError naming the row of the first id that was there before."""
    kept: dict[str, Sample] = {}
    for row, sample in enumerate(samples, start=1):
        if sample.id in kept:
            raise InputError(f"duplicate id {sample.id!r}", where=where, row=row, field="id")
        kept[sample.id] = sample
    return tuple(kept.values())
