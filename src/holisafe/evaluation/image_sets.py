"""Labelled images to measure a guard on, from whatever holds them.

    pictosafe, holisafe-bench:DIR ...          a benchmark whose samples carry an image label
    labels.csv, labels.jsonl ...               columns image, label, and where there are such source, cluster, split
    pictures/                                  one folder a label: pictures/safe/1.png, pictures/suicide/2.png
    a benchmark that is open; a DataFrame with those columns, whose images may be open too

A label is one of the twenty image labels, a label of the guard's own, or `unsafe` where no more is known. An image
stands for itself: a benchmark that asks several questions about one image gives it once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from PIL.Image import Image

from ..benchmarks import open_benchmark
from ..benchmarks.base import Benchmark
from ..errors import InputError
from ..image_files import image_files
from ..images import inside, open_image
from ..specs import typed_path
from ..tables import FORMS, Row, label, optional_text, rows, text
from ..taxonomy import IMAGE_LABELS, OTHER_SPELLINGS, SAFE

if TYPE_CHECKING:
    import pandas as pd

UNSAFE = "unsafe"

Set = Union[str, Benchmark, "pd.DataFrame"]
"""What is named, a benchmark that is open, or a table in memory."""


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


def open_set(given: Set, split: str | None = None) -> list[LabelledImage]:
    """The images of a set, in its order. Raises InputError when it is none, or holds no labelled image."""
    if not isinstance(given, str):
        images = _of_benchmark(given.only(split)) if isinstance(given, Benchmark) else _of_frame(given, split)
    elif (path := typed_path(given)).is_file():
        images = _of_table(path, split)
    elif path.is_dir() and split is not None:
        raise InputError("a folder of labels has no splits (a benchmark is named BENCH:FOLDER)", where=path)
    elif path.is_dir():
        images = _of_folders(path)
    else:
        images = _of_benchmark(open_benchmark(given, split=split))
    if not images:
        raise InputError("holds no labelled images", where=called(given))
    return images


def called(given: Set) -> str:
    """What a set is called."""
    return given if isinstance(given, str) else given.name if isinstance(given, Benchmark) else "the table"


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
            _label(sample.image_label),
            source_of(sample.meta, benchmark.name),
            sample.cluster or name,
            partial(benchmark.open_image, name),
        )
        if images.setdefault(name, image).label != image.label:
            raise InputError(f"{name} has two labels, {images[name].label} and {image.label}", where=benchmark.name)
    return list(images.values())


def _of_table(path: Path, split: str | None) -> list[LabelledImage]:
    if path.suffix.lower() not in FORMS:
        raise InputError(f"a set of images is a table ({', '.join(FORMS)}), a folder or a benchmark", where=path)

    def opener(row: Row, number: int) -> tuple[str, Callable[[], Image]]:
        name = text(row, "image", path, number).strip()
        try:
            return name, partial(open_image, inside(path.parent, name))
        except InputError as fault:
            raise InputError(fault.problem, where=path, row=number, field="image") from None

    return _of_rows(rows(path), path, opener, split)


def _of_frame(frame: pd.DataFrame, split: str | None) -> list[LabelledImage]:
    """A table in memory: its images are paths, from the folder one is in, or pictures that are open."""

    def opener(row: Row, number: int) -> tuple[str, Callable[[], Image]]:
        if isinstance(picture := row.get("image"), Image):
            return f"row {number}", partial(picture.convert, "RGB")
        name = text({**row, "image": str(row["image"]) if "image" in row else None}, "image", "the table", number)
        return name, partial(open_image, typed_path(name))

    held: list[Any] = frame.to_dict("records")
    return _of_rows(enumerate(held, start=1), "the table", opener, split)


def _of_rows(
    numbered: Iterable[tuple[int, Row]],
    where: str | Path,
    opener: Callable[[Row, int], tuple[str, Callable[[], Image]]],
    split: str | None,
) -> list[LabelledImage]:
    images: dict[str, LabelledImage] = {}
    for number, row in numbered:
        if split is not None and label(row, "split", where, number) != split:
            continue
        name, opened = opener(row, number)
        if name in images:
            raise InputError(f"{name} occurs twice", where=where, row=number, field="image")
        source = optional_text(row, "source", where, number) or Path(where).stem
        cluster = optional_text(row, "cluster", where, number) or name
        images[name] = LabelledImage(name, _label(label(row, "label", where, number)), source, cluster, opened)
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
    known = {*IMAGE_LABELS, *labels}
    for image in images:
        if image.label is not None and image.label not in known:
            raise InputError(
                f"{image.name}: unknown label {image.label!r}; known: {', '.join(sorted(known))}, unsafe", where=where
            )
