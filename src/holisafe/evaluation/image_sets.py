"""Labelled images to measure a guard on, from whatever holds them.

    pictosafe, holisafe-bench:DIR ...          a benchmark whose samples carry an image label
    labels.csv, labels.jsonl ...               columns image, label, and where there are such source, cluster, split
    pictures/                                  one folder a label: pictures/safe/1.png, pictures/suicide/2.png

A label is one of the twenty image labels, a label of the guard's own, or `unsafe` where no more is known. An image
stands for itself: a benchmark that asks several questions about one image gives it once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..benchmarks import open_benchmark
from ..errors import InputError
from ..specs import typed_path
from ..taxonomy import OTHER_SPELLINGS, SAFE
from .image_files import image_files

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..benchmarks.base import Benchmark

UNSAFE = "unsafe"


@dataclass(frozen=True)
class LabelledImage:
    """An image, still closed, with what it shows. `label` is None where it is only known to be unsafe."""

    name: str
    label: str | None
    source: str
    cluster: str
    open: Callable[[], Image] = field(repr=False, compare=False)

    @property
    def unsafe(self) -> bool:
        return self.label != SAFE


def open_set(given: str, split: str | None = None) -> list[LabelledImage]:
    """The images of a set, in its order. Raises InputError when it is none, or holds no labelled image."""
    path = typed_path(given)
    if path.is_file():
        images = _of_table(path, split)
    elif path.is_dir() and split is not None:
        raise InputError("a folder of labels has no splits (a benchmark is named BENCH:FOLDER)", where=path)
    elif path.is_dir():
        images = _of_folders(path)
    else:
        images = _of_benchmark(open_benchmark(given, split=split))
    if not images:
        raise InputError("holds no labelled images", where=given)
    return images


def source_of(meta: Any, otherwise: str) -> str:
    """Where a sample's image is from, as its benchmark says; its style, where it is drawn."""
    return str(meta.get("source") or meta.get("style") or otherwise)


def _of_benchmark(benchmark: Benchmark) -> list[LabelledImage]:
    images: dict[str, LabelledImage] = {}
    for sample in benchmark.samples:
        if sample.image_label is None or len(sample.images) != 1:
            continue
        name = sample.images[0]
        image = LabelledImage(
            name,
            sample.image_label,
            source_of(sample.meta, benchmark.name),
            sample.cluster or name,
            partial(benchmark.open_image, name),
        )
        if images.setdefault(name, image).label != image.label:
            raise InputError(f"{name} has two labels, {images[name].label} and {image.label}", where=benchmark.name)
    return list(images.values())


def _of_table(path: Path, split: str | None) -> list[LabelledImage]:
    from ..images import inside, open_image
    from ..tables import FORMS, label, optional_text, rows, text

    if path.suffix.lower() not in FORMS:
        raise InputError(f"a set of images is a table ({', '.join(FORMS)}), a folder or a benchmark", where=path)
    images: dict[str, LabelledImage] = {}
    for number, row in rows(path):
        if split is not None and label(row, "split", path, number) != split:
            continue
        name = text(row, "image", path, number).strip()
        try:
            file = inside(path.parent, name)
        except InputError as fault:
            raise InputError(fault.problem, where=path, row=number, field="image") from None
        if name in images:
            raise InputError(f"{name} occurs twice", where=path, row=number, field="image")
        images[name] = LabelledImage(
            name,
            _label(label(row, "label", path, number)),
            optional_text(row, "source", path, number) or path.stem,
            optional_text(row, "cluster", path, number) or name,
            partial(open_image, file),
        )
    return list(images.values())


def _of_folders(path: Path) -> list[LabelledImage]:
    images = []
    for folder in sorted(child for child in path.iterdir() if child.is_dir()):
        for file, opener in image_files(folder).images.items():
            name = file.relative_to(path).as_posix()
            images.append(LabelledImage(name, _label(folder.name), path.name, name, opener))
    return images


def _label(name: str) -> str | None:
    return None if name.lower() == UNSAFE else OTHER_SPELLINGS.get(name, name)


def check_labels(images: Iterable[LabelledImage], labels: Iterable[str], where: str) -> None:
    """Raise InputError for a label that neither the taxonomy nor the guard knows: a misspelt `safe` would be unsafe."""
    from ..taxonomy import IMAGE_LABELS

    known = {*IMAGE_LABELS, *labels}
    for image in images:
        if image.label is not None and image.label not in known:
            raise InputError(
                f"{image.name}: unknown label {image.label!r}; known: {', '.join(sorted(known))}, unsafe", where=where
            )
