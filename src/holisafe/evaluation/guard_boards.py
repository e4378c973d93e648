"""Several guards on the same images or pairs, compared. What was read is kept as it comes: nothing is read twice.

OUT/readings.jsonl    a line a reading: guard, version, item, digest of what was read, and the reading
OUT/probes.json       for guards behind an API, whether pictures reach them, by guard and version
OUT/board.json        what `metrics.guard_board` makes of them
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from typing_extensions import TypedDict

from ..benchmarks import open_benchmark
from ..benchmarks.base import Benchmark
from ..errors import InputError
from ..guards.base import Guard, Item, Reading, call_failed, item_of, read_fitted
from ..guards.policy import Policy
from ..image_hashes import KeptHashes
from ..journal import Journal, read_json, typed_json, write_json
from ..metrics.guard_board import Opinion, Subject, guard_board
from ..records import Picture, digest
from ..taxonomy import BORDERLINE, CATEGORY_OF, COMBINATIONS
from .guards import open_guard, with_pixel_hashes
from .image_probe import probe_guard, remark
from .image_sets import Set, called, check_labels, open_set
from .progress import Progress, silent

READINGS, PROBES, BOARD = "readings.jsonl", "probes.json", "board.json"


class Question(NamedTuple):
    """An item to read, what it is, and the digest of what is read of it."""

    item: Item
    subject: Subject
    content: str


class _Line(TypedDict):
    guard: str
    version: str
    item: str
    content: str
    reading: Reading


def compare_guards(
    data: Set,
    guards: Sequence[str | Guard],
    *,
    on: str = "images",
    split: str | None = None,
    out: Path | None = None,
    policy: Policy | None = None,
    published: bool = False,
    draws: int = 2000,
    seed: int = 0,
    probe_images: bool = False,
    progress: Progress = silent,
    **options: Any,
) -> dict[str, Any]:
    """`guard_board` of several guards on the images of a set, or `on` the "pairs" of a benchmark; with "data", "split",
    "on" and, of each guard, its "note", what "decides", what it "takes" and what `probe_guard` found, as
    "image_probe", where guards behind an API are asked (`probe_images`) whether pictures reach them.

    Guards are opened one after another, each once the one before it has read everything. `out` is a folder: a reading
    that stands there of the same guard, version and content is not made again. Raises InputError for two guards of one
    name, and as `open_set`, `open_benchmark` and `open_guard`.
    """
    asked = _images(data, split, progress) if on == "images" else _pairs(data, split)
    if not any(one.subject.unsafe for one in asked) or all(one.subject.unsafe for one in asked):
        raise InputError("safe and unsafe items are both needed to compare guards", where=called(data))
    told: dict[str, dict[str, Any]] = {}
    opinions: dict[str, dict[str, Opinion]] = {}
    with Journal(out / READINGS) if out is not None else nullcontext() as journal:
        kept = _kept(journal)
        for given in guards:
            guard = open_guard(given, policy=policy, **options) if isinstance(given, str) else given
            if guard.name in told:
                raise InputError(f"two guards are called {guard.name!r}")
            pictured = probe_images and any(one.item.shown for one in asked)
            probed = _probed(guard, out, seed) if pictured else None
            readings = _read(guard, asked, kept, journal, progress)
            opinions[guard.name] = {one: _opinion(reading) for one, reading in readings.items()}
            told[guard.name] = {"note": guard.note, "decides": guard.decides, "takes": sorted(guard.takes)}
            told[guard.name] |= {} if probed is None else {"image_probe": probed}
    board = guard_board([one.subject for one in asked], opinions, draws=draws, seed=seed)
    board["guards"] = {name: {**told[name], **entry} for name, entry in board["guards"].items()}
    remarks = [line for name, one in told.items() for line in remark(one.get("image_probe"), name)]
    result = {"data": called(data), "split": split, "on": on, "remarks": remarks, **board}
    if published:
        from ..guards.published import FIGURES, PUBLISHED

        result["published"] = {name: dict(zip(FIGURES, row, strict=True)) for name, row in PUBLISHED.items()}
    if out is not None:
        write_json(out / BOARD, result)
    return result


def _probed(guard: Guard, out: Path | None, seed: int) -> dict[str, Any] | None:
    """What `probe_guard` found, now or in `out` before: one that could not be told is asked again."""
    path, name = out and out / PROBES, f"{guard.name} {guard.version}"
    known: Any = read_json(path) if path is not None and path.is_file() else {}
    earlier = known.get(name) if isinstance(known, dict) else None
    if isinstance(earlier, dict) and earlier.get("arrived") is not None:
        return earlier
    found = probe_guard(guard, seed)
    if path is not None and found is not None:
        write_json(path, {**(known if isinstance(known, dict) else {}), name: found})
    return found


def _read(
    guard: Guard,
    asked: Sequence[Question],
    kept: Mapping[tuple[str, str, str, str], Reading],
    journal: Journal | None,
    progress: Progress,
) -> dict[str, Reading]:
    """A reading an item: those that are kept, and the others as they come, each written down at once."""

    def key(one: Question) -> tuple[str, str, str, str]:
        return guard.name, guard.version, one.item.id, one.content

    found = {one.item.id: kept[key(one)] for one in asked if key(one) in kept}
    missing = {one.item.id: one for one in asked if one.item.id not in found}
    progress(guard.name, len(found), len(asked))
    began, before = time.perf_counter(), len(found)
    for reading in read_fitted(guard, (one.item for one in missing.values())):
        if reading.seconds is None:  # on this machine: its share of the time so far
            reading = dataclasses.replace(reading, seconds=(time.perf_counter() - began) / (len(found) - before + 1))
        if journal is not None:
            of = missing[reading.item_id]
            journal.append(_line(guard, of, reading))
        found[reading.item_id] = reading
        progress(guard.name, len(found), len(asked))
    return found


def _line(guard: Guard, of: Question, reading: Reading) -> str:
    line = {"guard": guard.name, "version": guard.version, "item": of.item.id, "content": of.content}
    return json.dumps({**line, "reading": dataclasses.asdict(reading)}, ensure_ascii=False)


def _kept(journal: Journal | None) -> dict[tuple[str, str, str, str], Reading]:
    """What stands in a file of readings; a call that failed is made again."""
    found: dict[tuple[str, str, str, str], Reading] = {}
    if journal is None:
        return found
    for number, text in journal.lines():
        line = typed_json(_Line, text)
        if line is None:
            raise InputError("no reading of a guard", where=journal.path, row=number)
        key = (line["guard"], line["version"], line["item"], line["content"])
        if call_failed(line["reading"]):
            found.pop(key, None)
        else:
            found[key] = line["reading"]
    return found


def _opinion(reading: Reading) -> Opinion:
    return Opinion(reading.unsafe, reading.score, reading.categories, reading.invalid, reading.cost, reading.seconds)


def _images(data: Set, split: str | None, progress: Progress) -> list[Question]:
    """Images: their group is their label, their category what the label falls into."""
    images = with_pixel_hashes(open_set(data, split), "pixels", progress)
    check_labels([image for image, _ in images], (), called(data))
    asked = []
    for number, (image, content) in enumerate(images):
        label = image.label or "unsafe"
        subject = Subject(str(number), image.unsafe, label, image.cluster, CATEGORY_OF.get(label), image.source)
        item = Item(id=str(number), pictures=(Picture(image.name, image.open),))
        asked.append(Question(item, subject, content or "unreadable"))
    return asked


def _pairs(data: Set, split: str | None) -> list[Question]:
    """The pairs of a benchmark that have a combination."""
    if not isinstance(data, str | Benchmark):
        raise InputError("pairs come from a benchmark", where="the table")
    benchmark = (data if isinstance(data, Benchmark) else open_benchmark(data)).only(split)
    samples = [one for one in benchmark.samples if one.combination in COMBINATIONS and one.expected != BORDERLINE]
    if not samples:
        raise InputError(f"{benchmark.name} has no image-text pairs with a combination")
    with KeptHashes() as kept:
        pixels = {name: benchmark.image_hash(name, kept) for sample in samples for name in sample.every_image}
    asked = []
    for sample in samples:
        cluster = sample.cluster or "\n".join(sample.every_image) or sample.id
        source = sample.meta.get("source") or sample.meta.get("style")
        unsafe, group = sample.expected == "refuse", str(sample.combination)
        subject = Subject(sample.id, unsafe, group, cluster, sample.category, source and str(source))
        content = digest([sample.conversation(), [pixels[name] for name in sample.every_image]])
        asked.append(Question(item_of(sample, benchmark.pictures(sample), sample.id), subject, content))
    return asked
