"""What every benchmark reader returns: samples, and a way to open the images they name."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from ..errors import InputError
from ..image_hashes import KeptHashes
from ..images import ImageFile, pixel_hash
from ..records import GenerationSettings, Message, Picture, Request, Sample, digest

DESCRIPTIONS = ("description", "caption", "image_description")
"""Fields of a sample's meta that say in words what its image shows."""


def told_in_meta(sample: Sample) -> str | None:
    """What a sample's image shows, where the release says it in words."""
    return next((str(sample.meta[field]) for field in DESCRIPTIONS if sample.meta.get(field)), None)


class Thought(NamedTuple):
    """What may be thought before a sample's reference answer; it begins with `understanding`, which says in its words
    what is asked."""

    thought: str | None
    understanding: str | None


NO_THOUGHT = Thought(None, None)


@dataclass(frozen=True, repr=False)
class Benchmark:
    """Samples in a fixed order. `open_image` takes a name from `Sample.images` and gives RGB pixels or InputError;
    `image_file` tells where it is stored, None for an image that is drawn when asked for.

    `reader` and `root` tell how to open it again: the name it was found by, and its folder, None for an embedded one.
    `split` is the split it was narrowed to, None for all; `revision` is the hub's commit that the folder holds.
    `faults` are what reading the files found wrong, and in which split's file, None for all: `open_benchmark` refuses
    what they are about. `remarks` are oddities of the release that are no faults. `in_words` says what a sample's image
    shows, None where nothing is known; `thought` what leads to its reference answer, None where there is no such thing.
    """

    name: str
    samples: tuple[Sample, ...]
    open_image: Callable[[str], Image.Image]
    image_file: Callable[[str], ImageFile | None] = field(default=lambda name: None)
    reader: str | None = None
    root: Path | None = None
    split: str | None = None
    revision: str | None = None
    faults: Mapping[InputError, str | None] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    in_words: Callable[[Sample], str | None] = told_in_meta
    thought: Callable[[Sample], Thought | None] = field(default=lambda sample: None)

    def __repr__(self) -> str:
        """What it is in a line: the samples by themselves would be a megabyte."""
        part = f", split {self.split}" if self.split else ""
        return f"<Benchmark {self.name}{part}: {len(self.samples):,} samples>"

    def pictures(self, sample: Sample) -> tuple[Picture, ...]:
        """The images of the sample's whole conversation, still closed."""
        return tuple(map(self.picture, sample.every_image))

    def picture(self, name: str) -> Picture:
        """An image by its name, still closed."""
        return Picture(name, partial(self.open_image, name), partial(self._bytes, name))

    def _bytes(self, name: str) -> bytes | None:
        file = self.image_file(name)
        return file.read() if file else None

    def request(self, sample: Sample, settings: GenerationSettings, repeat: int = 0) -> Request:
        """The conversation that asks a target about the sample: the turns before, its images, then its query; no label
        goes along."""
        system = (Message("system", settings.system),) if settings.system else ()
        before = (Message(turn.role, turn.text, tuple(map(self.picture, turn.images))) for turn in sample.turns)
        user = Message("user", sample.query, tuple(map(self.picture, sample.images)))
        return Request(sample_id=sample.id, messages=(*system, *before, user), settings=settings, repeat=repeat)

    def image_hash(self, name: str, kept: KeptHashes) -> str:
        """Identifies the decoded pixels of an image. Raises InputError when it is missing or broken."""
        try:
            if file := self.image_file(name):
                return kept.hash(file)
        except InputError:  # opening it says where it is asked for
            pass
        return pixel_hash(self.open_image(name))

    def content_hash(self, progress: Callable[[int, int], None] | None = None) -> str:
        """Identifies what is asked: every sample and the decoded pixels of every image it names.

        Decodes each image once, and a stored one that has not changed not again, so every missing or broken one is
        found before anything is paid for; the first raises InputError.
        """
        names = list(dict.fromkeys(name for sample in self.samples for name in sample.every_image))
        hashes = []
        with KeptHashes() as kept, ThreadPoolExecutor(max_workers=4) as pool:
            for done, value in enumerate(pool.map(partial(self.image_hash, kept=kept), names), start=1):
                hashes.append(value)
                if progress is not None:
                    progress(done, len(names))
        return digest([list(map(_as_hashed, self.samples)), dict(zip(names, hashes, strict=True))])

    def only(self, split: str | None) -> Benchmark:
        """The samples of one split, None for all. Raises InputError for the first fault of theirs, and when the
        benchmark has no such split."""
        for fault in (fault for fault, of in self.faults.items() if None in (split, of) or split == of):
            raise fault
        if split is None:
            return self
        kept = tuple(sample for sample in self.samples if sample.split == split)
        if not kept:
            splits = ", ".join(sorted({sample.split for sample in self.samples}))
            raise InputError(f"{self.name} has no split {split!r}; it has: {splits}")
        return replace(self, samples=kept, split=split, faults={})


def stratified(samples: Sequence[Sample], limit: int | None, seed: int) -> list[Sample]:
    """At most `limit` samples: each combination has its share, and within it each subcategory or task.

    Subsets nest: with the same seed a larger limit only adds samples, at the end. Drawing samples with another seed
    gives another order.
    """
    by_combination: dict[str | None, dict[str | None, list[Sample]]] = {}
    for sample in sorted(samples, key=lambda s: digest([seed, s.id])):
        groups = by_combination.setdefault(sample.combination, {})
        kind = sample.subcategory or sample.category or sample.meta.get("task")
        groups.setdefault(kind, []).append(sample)
    return _interleaved([_interleaved(groups.values()) for groups in by_combination.values()])[:limit]


def _interleaved(groups: Iterable[Sequence[Sample]]) -> list[Sample]:
    """One list in which every beginning holds close to the same fraction of each group, in the group's own order."""
    places = [
        ((position + 0.5) / len(group), number, sample)
        for number, group in enumerate(groups)
        for position, sample in enumerate(group)
    ]
    return [sample for _, _, sample in sorted(places, key=lambda place: place[:2])]


def _as_hashed(sample: Sample) -> str:
    """A sample as text for content hashes. It never changes, however samples are stored: runs go on by these hashes."""
    values = {spec.name: getattr(sample, spec.name) for spec in fields(sample)}
    kept = {name: value for name, value in values.items() if value != Sample.__dataclass_fields__[name].default}
    if not sample.meta:
        del kept["meta"]
    if sample.turns:
        kept["turns"] = list(map(asdict, sample.turns))
    return json.dumps({"schema": 1, **kept}, ensure_ascii=False)


def unique_ids(samples: Iterable[Sample], where: str) -> tuple[Sample, ...]:
    """The samples as a tuple.

    Raises InputError naming the row of the first id that was there before, or that no table or file can hold as it is:
    with control characters, or half a surrogate pair.
    """
    kept: dict[str, Sample] = {}
    for row, sample in enumerate(samples, start=1):
        if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in sample.id):
            raise InputError(f"{sample.id!a} is no plain text", where=where, row=row, field="id")
        if sample.id in kept:
            raise InputError(f"duplicate id {sample.id!r}", where=where, row=row, field="id")
        kept[sample.id] = sample
    return tuple(kept.values())
