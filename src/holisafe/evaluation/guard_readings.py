"""What a guard says of image files, one by one or of whole folders, as rows that are shown or kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL.Image import Image

from ..errors import InputError
from ..guards.visual_guard import Opening, VisualGuard, open_model
from ..image_files import image_files, shown_name
from .progress import Progress, silent

if TYPE_CHECKING:
    from ..records import GuardReading

Found = Mapping[Path, "Callable[[], Image]"]
"""Image files, and how each is opened."""


def found_images(given: Sequence[Path]) -> tuple[dict[Path, Callable[[], Image]], list[str]]:
    """The image files themselves, and those anywhere in the folders; what was left out, in words, a line a folder.

    Raises InputError for a folder without images.
    """
    from ..images import open_image

    found: dict[Path, Callable[[], Image]] = {}
    told = []
    for path in given:
        if not path.is_dir():
            found[path] = partial(open_image, path)
            continue
        images, left_out = image_files(path)
        others = ", ".join(f"{count:,} {kind}" for kind, count in left_out.most_common(5))
        if not images:
            raise InputError("holds no images" + (f", but {others}" if others else ""), where=path)
        found |= images
        if others:
            told.append(f"{path}: left out: {others}")
    return found, told


@dataclass(frozen=True)
class Reader:
    """A guard that is open, and what is told of each of its readings: `top` labels of them, all where None. `made_by`
    identifies what a row depends on besides its image."""

    guard: VisualGuard
    top: int | None
    made_by: str

    @property
    def decides(self) -> bool:
        """Whether a reading has a verdict."""
        return self.guard.stored is not None or self.guard.limit is not None

    def read(self, openers: Iterable[Callable[[], Image]], strict: bool = False) -> Iterator[GuardReading | InputError]:
        """Readings in order; where not `strict`, the reason in place of one that could not be had."""
        from ..guard.predict import each_or_fault

        for reading in each_or_fault(self.guard.of_images, openers, self.guard.batch_size):
            if strict and isinstance(reading, InputError):
                raise reading
            broke_down = not isinstance(reading, InputError) and not reading.finite
            yield InputError("the guard gave no number") if broke_down else reading

    def each(self, found: Found, progress: Progress = silent) -> Iterator[tuple[Path, GuardReading | InputError]]:
        """Every image with what is said of it."""
        said = self.read(found.values())
        for done, (path, reading) in enumerate(zip(found, said, strict=True), start=1):
            progress("images", done, len(found))
            yield path, reading

    def row(self, reading: GuardReading | InputError) -> dict[str, Any]:
        """label, unsafe, probabilities; verdict and threshold where there is one; raised labels and label set. Of what
        could not be read the error alone."""
        if isinstance(reading, InputError):
            return {"error": reading.problem}
        row: dict[str, Any] = {"label": reading.label}
        has_safe = "safe" in reading.probabilities
        if has_safe:
            row["unsafe"] = reading.unsafe
        stored, limit = self.guard.stored, self.guard.limit
        limit = limit if limit is not None or stored is None else stored.unsafe
        if has_safe and self.decides:
            row["verdict"] = "unsafe" if limit is not None and reading.unsafe > limit else "safe"
            row["threshold"] = limit
        if stored is not None:
            row["raised"] = stored.raised(reading)
            row["label_set"] = stored.label_set(reading)
        row["probabilities"] = dict(likeliest(reading, self.top))
        return row


def likeliest(reading: GuardReading, top: int | None) -> list[tuple[str, float]]:
    """Labels with their probabilities, the likeliest first."""
    return sorted(reading.probabilities.items(), key=lambda item: -item[1])[:top]


def open_reader(
    model: str,
    *,
    threshold: float | None = None,
    top: int | None = None,
    batch_size: int = 8,
    how: Opening = Opening(),
) -> Reader:
    """A guarded model with the thresholds in its folder. Raises InputError when it cannot be loaded, or a threshold has
    nothing to compare."""
    from ..guard import labels_of
    from ..guard.folders import locate
    from ..guard.thresholds import head_digest, load_thresholds
    from ..records import digest

    guarded, processor = open_model(model, how)
    labels = labels_of(guarded)
    stored = load_thresholds(model, labels)
    if threshold is not None and "safe" not in labels:
        raise InputError("the guard has no label 'safe', so --threshold has nothing to compare", where=model)
    source = locate(model)
    name = str(Path(source).resolve()) if Path(source).is_dir() else source
    given = [list(how.of_the_folder)] if any(how.of_the_folder) else []
    kept = dataclasses.asdict(stored) if stored else None
    made_by = digest([name, head_digest(source), kept, threshold, top, *given])
    return Reader(VisualGuard(model, guarded, processor, labels, stored, threshold, batch_size), top, made_by)


class Written(NamedTuple):
    """How many images a file has rows of, how many were read now, and how many have an error."""

    images: int
    read: int
    failed: int


def write_readings(found: Found, reader: Reader, out: Path, progress: Progress = silent) -> Written:
    """Append the rows that are missing to FILE.jsonl, or to the journal of FILE.parquet, which is then made anew.

    Raises InputError as `ReadingsFile`.
    """
    from .readings_file import ReadingsFile, file_hash, row_of

    with ReadingsFile(out, reader.made_by) as file:
        hashes = {path: file_hash(path) if path.is_file() else None for path in found}
        missing = {path: found[path] for path, sha256 in hashes.items() if not file.has(shown_name(path), sha256)}
        for path, reading in reader.each(missing, progress):
            file.append(row_of(shown_name(path), hashes[path], reader.row(reading)))
        file.finish()
        failed = sum(file.rows[shown_name(path)]["error"] is not None for path in hashes)
    return Written(len(hashes), len(missing), failed)
