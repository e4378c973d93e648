"""HoliSafe-Bench in the form its authors release it, which any other benchmark can be written in too.

    holisafe_bench.json      a list of records with exactly the eight fields of `FIELDS`
    images/                  the pictures, by paths such as self_harm/suicide/suicide_8.jpg
    holisafe_sidecar.jsonl   ours, optional: a line a sample with what the eight fields cannot hold

The hub serves the same records as parquet too, `*.parquet` in the folder or its `data/`, with the pictures themselves
in the column `image`. They are read where there is no `holisafe_bench.json`: the same ids, samples and pixels. A
picture is called by the path stored with it; where that lacks the folders, image names and clusters lack them too.

In the release `id` is a number and `image_safety_label` the label's number in `taxonomy.IMAGE_LABELS`; names are read
as well. `category` and `subcategory` describe the pair, not the image.

A sidecar line is a stored Sample without the fields that the sample's record holds. A sample that no record can hold
(without combination, without image, with several) stands in the sidecar alone, with the paths of its pictures in
`files`; other readers of the format do not see it. When there is a sidecar it has a line for every record, and its
order is the samples' order.

Source: HoliSafe (arXiv 2506.04704), the benchmark's repository and dataset card.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from ..errors import InputError
from ..images import ImageFile, decode_image, stored
from ..records import Sample, from_line
from ..registry import benchmarks
from ..tables import rows as rows_of
from ..taxonomy import COMBINATIONS, SAFE
from .base import Benchmark
from .holisafe_fields import IMAGES, SAMPLE_FIELD, parse, picture_path
from .parquet_pictures import ParquetPictures, parquet_files

NAME = "holisafe-bench"
RECORDS, SIDECAR = "holisafe_bench.json", "holisafe_sidecar.jsonl"
PUBLISHED = (4_031, 1_796)
"""Pairs and images of the current release."""


@dataclass(frozen=True)
class Place:
    """Where a picture file is first named."""

    where: Path
    row: int
    field: str


@dataclass
class Contents:
    """What reading a folder found: where a file is, samples in order, image name -> file, every file that is named."""

    file: Callable[[str], ImageFile]
    samples: list[Sample] = field(default_factory=list)
    file_of: dict[str, str] = field(default_factory=dict)
    files: dict[str, Place] = field(default_factory=dict)


@benchmarks.register(
    NAME,
    summary="All five safe/unsafe combinations of image and text, with image safety labels",
    size="4,031 pairs, 1,796 images",
    combinations="SSS SSU SUU USU UUU",
    licence="CC BY-NC 4.0",
    citation="Lee et al., HoliSafe, arXiv 2506.04704, CVPR 2026 Findings",
    access="gated hub dataset etri-vilab/holisafe-bench; name its folder with --root, or --root hub:",
    hub="etri-vilab/holisafe-bench",
)
def load(root: Path | None) -> Benchmark:
    """Read a folder in the release's form. Pictures are opened later, when asked for.

    Raises InputError, naming file, row (from 1) and field, at the first fault; `check_folder` lists them all.
    """
    root = _named(root)
    contents, found = _read(root)
    for fault in found:
        raise fault
    names = {sample.benchmark for sample in contents.samples}

    def open_named(name: str) -> Image.Image:
        return _open_picture(contents.file_of[name], contents)

    def file_of(name: str) -> ImageFile:
        return contents.file(contents.file_of[name])

    return Benchmark(names.pop() if len(names) == 1 else NAME, tuple(contents.samples), open_named, file_of)


def check_folder(root: Path | None) -> tuple[list[InputError], list[str]]:
    """Every fault of a folder in the order of its rows, each picture decoded once, and remarks that are no faults."""
    root = _named(root)
    contents, faults = _read(root)
    found = list(faults)
    with ThreadPoolExecutor(max_workers=4) as pool:
        found += filter(None, pool.map(lambda file: _picture_fault(file, contents), contents.files))
    found.sort(key=lambda fault: (str(fault.where), int(fault.row or 0)))
    remarks = []
    pairs, pictures = len(contents.samples), len(contents.files)
    if not found and (pairs, pictures) != PUBLISHED:
        remarks.append(
            f"{pairs:,} pairs over {pictures:,} images; the published release has "
            f"{PUBLISHED[0]:,} over {PUBLISHED[1]:,}"
        )
    labelled = [sample for sample in contents.samples if sample.combination and sample.image_label]
    odd = [sample.id for sample in labelled if (str(sample.combination)[0] == "S") != (sample.image_label == SAFE)]
    if odd:
        remarks.append(
            f"type and image label disagree on whether the image is safe in {len(odd):,}, the first with id {odd[0]!r}"
        )
    return found, remarks


def _named(root: Path | None) -> Path:
    if root is None:
        raise InputError(f"{NAME} is not part of this package: download it, then name its folder with --root")
    return root


Rows = Iterator[tuple[Path, int, Any]]
"""Records, each with its file and its row there, from 1."""


def _read(root: Path) -> tuple[Contents, Iterator[InputError]]:
    """What a folder will be found to contain once all of its faults are asked for; pictures stay closed."""
    files = [] if (root / RECORDS).exists() else parquet_files(root)
    rows: Rows
    if files:
        pictures = ParquetPictures(picture_path(root))
        rows = ((path, row, record) for path in files for row, record in pictures.rows(path))
        contents = Contents(pictures.file)
    else:
        rows = _json_rows(root)
        contents = Contents(partial(stored, root / IMAGES))
    return contents, _faults(root, rows, contents)


def _json_rows(root: Path) -> Rows:
    if not root.is_dir():
        raise InputError("no such folder", where=root)
    yield from ((root / RECORDS, row, record) for row, record in rows_of(root / RECORDS))


def _faults(root: Path, rows: Rows, contents: Contents) -> Iterator[InputError]:
    """Read the records and the sidecar into `contents`, yielding every fault on the way."""
    sound: dict[str, dict[str, Any]] = {}
    place_of: dict[str, tuple[Path, int]] = {}
    try:
        for path, row, record in rows:
            values, problems = parse(record, root)
            for name, problem in problems:
                yield InputError(problem, where=path, row=row, field=name)
            if "image" in values:
                contents.files.setdefault(values["image"], Place(path, row, "image"))
            if "id" in values and values["id"] in place_of:
                first, first_row = place_of[values["id"]]
                elsewhere = "" if first == path else f" of {first.name}"
                problem = f"duplicate id {values['id']!r}, first in row {first_row}{elsewhere}"
                yield InputError(problem, where=path, row=row, field="id")
            elif "id" in values:
                place_of[values["id"]] = (path, row)
                if not problems:
                    sound[values["id"]] = values
    except InputError as fault:
        yield fault
        return
    if (root / SIDECAR).exists():
        try:
            yield from _with_sidecar(root, sound, place_of, contents)
        except InputError as fault:
            yield fault
        return
    for values in sound.values():
        contents.file_of[values["image"]] = values["image"]
        contents.samples.append(
            Sample(
                benchmark=NAME,
                id=values["id"],
                expected=COMBINATIONS[values["type"]],
                images=(values["image"],),
                cluster=values["image"],
                **{ours: values[theirs] for theirs, ours in SAMPLE_FIELD.items()},
            )
        )


def _with_sidecar(
    root: Path, rows: Mapping[str, Mapping[str, Any]], place_of: Mapping[str, tuple[Path, int]], contents: Contents
) -> Iterator[InputError]:
    """Join sidecar lines to the sound records, in the sidecar's order; lines of faulty records are passed over."""
    path = root / SIDECAR
    seen: set[str] = set()
    for row, body in rows_of(path):
        identity = body.get("id")
        if not isinstance(identity, str):
            yield InputError("not a JSON object with an id", where=path, row=row)
            continue
        if identity in seen:
            yield InputError(f"duplicate id {identity!r}", where=path, row=row, field="id")
            continue
        seen.add(identity)
        if identity in place_of and identity not in rows:
            continue
        try:
            sample, files = _join(body, rows.get(identity), path, row, root)
        except InputError as fault:
            yield fault
            continue
        for name, file in zip(sample.images, files, strict=True):
            contents.files.setdefault(file, Place(path, row, "files"))
            if contents.file_of.setdefault(name, file) != file:
                yield InputError(f"image name {name!r} stands for two files", where=path, row=row, field="images")
        contents.samples.append(sample)
    for identity, (records, row) in place_of.items():
        if identity not in seen:
            yield InputError(f"id {identity!r} has no line in {SIDECAR}", where=records, row=row, field="id")


def _join(
    body: dict[str, Any], values: Mapping[str, Any] | None, path: Path, row: int, root: Path
) -> tuple[Sample, list[str]]:
    """One sidecar line and its record, if it has one -> the sample and its picture files."""
    files = body.pop("files", [])
    if values is not None:
        held = {ours: values[theirs] for theirs, ours in SAMPLE_FIELD.items()}
        for name in body:
            if name in held:
                raise InputError(f"stands in {RECORDS} already", where=path, row=row, field=name)
        body, files = {**body, **held}, [values["image"]]
    sample = from_line(Sample, json.dumps(body), where=str(path), row=row)
    if not isinstance(files, list) or len(files) != len(sample.images):
        raise InputError("images and files differ in number", where=path, row=row, field="files")
    if values is not None and sample.expected != COMBINATIONS[values["type"]]:
        raise InputError(f"contradicts type {values['type']}", where=path, row=row, field="expected")
    try:
        return sample, [picture_path(root)(file) for file in files]
    except InputError as fault:
        raise InputError(fault.problem, where=path, row=row, field="files") from None


def _open_picture(file: str, contents: Contents) -> Image.Image:
    """A picture by its path under `images/`. Raises InputError naming the record that asks for it."""
    try:
        return decode_image(contents.file(file).read())
    except InputError as fault:
        place = contents.files[file]
        problem = f"{IMAGES}/{file if file.isprintable() else ascii(file)}: {fault.problem}"
        raise InputError(problem, where=place.where, row=place.row, field=place.field) from None


def _picture_fault(file: str, contents: Contents) -> InputError | None:
    try:
        _open_picture(file, contents)
    except InputError as fault:
        return fault
    return None
