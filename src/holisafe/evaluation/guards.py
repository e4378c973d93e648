"""One way to open guards, ours and others' guard models, and to read images with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL.Image import Image

from ..errors import InputError
from ..metrics.guard_images import ImageReading
from ..records import GuardReading
from ..taxonomy import SAFE

if TYPE_CHECKING:
    from ..guard.baselines import Baseline
    from ..guard.thresholds import GuardThresholds
    from .image_sets import LabelledImage
    from .progress import Progress

IMAGE_ONLY = (
    "A guard that sees images alone cannot see what is harmful only in the text or in the combination (SUU and SSU "
    "pairs): those images are safe, and right is to call them so. See holisafe guard pairs."
)


@dataclass(frozen=True)
class Opening:
    """What the user said beside the model's name. None: the GPU if there is one; what the folder holds or records; for
    a published checkpoint's hub id, its base model's processor and the tower that its config names."""

    device: str | None = None
    processor: str | None = None
    vision_tower: str | None = None
    pool: str | None = None

    @property
    def of_the_folder(self) -> tuple[str | None, ...]:
        """What stands in for something in the folder: readings depend on it."""
        return self.processor, self.vision_tower, self.pool


def open_model(model: str, how: Opening) -> tuple[Any, Any]:
    """The guarded model and its processor. Raises InputError when one of them cannot be loaded."""
    from ..guard import load_guarded, load_processor
    from ..guard.quiet import quiet

    with quiet():
        processor = load_processor(how.processor or model)  # first: it takes seconds where weights take minutes
        return load_guarded(model, device=how.device, vision_tower=how.vision_tower, pool=how.pool), processor


@dataclass(frozen=True)
class OurGuard:
    """A guarded model. `limit`, if given, replaces the stored threshold; without either the likeliest label decides."""

    name: str
    model: Any
    processor: Any
    labels: tuple[str, ...]
    stored: GuardThresholds | None
    limit: float | None
    batch_size: int
    note: str = IMAGE_ONLY

    @property
    def decides(self) -> str:
        """What makes an image unsafe, in words."""
        if self.limit is not None:
            return f"1 - P(safe) above {self.limit:g}, as given"
        if self.stored is None:
            return "the likeliest label is not safe"
        if self.stored.unsafe is None:
            return "never: too few safe images for the wanted false-alarm rate"
        wanted = f"chosen for {self.stored.false_alarm_rate:.1%} false alarms"
        return f"1 - P(safe) above {self.stored.unsafe:.4g}, {wanted}"

    def alarm(self, reading: GuardReading) -> bool:
        if self.limit is not None:
            return reading.unsafe > self.limit
        return reading.label != SAFE if self.stored is None else self.stored.alarm(reading)

    def read(self, images: Sequence[Image], texts: Sequence[str] | None = None) -> list[GuardReading]:
        from ..guard.predict import predict

        temperature = self.stored.temperature if self.stored else 1.0
        options: dict[str, Any] = {"batch_size": self.batch_size, "temperature": temperature}
        return list(predict(self.model, self.processor, images, texts=texts, **options))

    def image_reading(self, image: LabelledImage, said: Any) -> ImageReading:
        if not said.finite:
            return replace(_unread(image), invalid="no number")
        return ImageReading(
            image.label,
            image.unsafe,
            image.source,
            image.cluster,
            self.alarm(said),
            said.unsafe,
            said.label,
            said.probabilities,
        )


@dataclass(frozen=True)
class OtherGuard:
    """Somebody else's guard model."""

    baseline: Baseline
    batch_size: int = 8
    labels: tuple[str, ...] = ()
    stored: None = None
    decides: str = "its own verdict"

    @property
    def name(self) -> str:
        return self.baseline.name

    @property
    def note(self) -> str:
        return f"{self.baseline.note} {IMAGE_ONLY}"

    def read(self, images: Sequence[Image]) -> Sequence[Any]:
        return self.baseline.read(images)

    def image_reading(self, image: LabelledImage, said: Any) -> ImageReading:
        return replace(_unread(image), flagged=said.unsafe, score=said.score, named=said.label, invalid=said.invalid)


Guard = OurGuard | OtherGuard


def open_guard(
    model: str, *, threshold: float | None = None, batch_size: int = 8, how: Opening = Opening(), bare: bool = False
) -> Guard:
    """A baseline by its prefix (shieldgemma2/ID, llavaguard/ID, llama-guard/ID), else a guarded model, with the
    thresholds in its folder unless `bare`.

    `threshold`: an image is unsafe above this 1 - P(safe), whatever the model's folder says. Raises InputError when it
    cannot be loaded, has no label `safe`, or is a baseline and what only ours take was given.
    """
    from ..guard import labels_of
    from ..guard.baselines import open_baseline
    from ..guard.thresholds import load_thresholds

    baseline = open_baseline(model, how.device)
    if baseline is not None:
        if threshold is not None:
            raise InputError("--threshold is for a guard of ours; others give their own verdict", where=model)
        if any(how.of_the_folder):
            raise InputError("--processor, --vision-tower and --pool are for a guard of ours", where=model)
        return OtherGuard(baseline, batch_size)
    guarded, processor = open_model(model, how)
    labels = labels_of(guarded)
    if SAFE not in labels:
        raise InputError(f"the guard has no label {SAFE!r}, so nothing is a false alarm", where=model)
    stored = None if bare else load_thresholds(model, labels)
    return OurGuard(model, guarded, processor, labels, stored, threshold, batch_size)


def read_images(guard: Guard, images: Sequence[LabelledImage], stage: str, progress: Progress) -> list[ImageReading]:
    """What the guard says of each image; one that cannot be opened or read is there as invalid, with the reason.

    Images of the same pixels share a cluster: they are no two observations.
    """
    from ..guard.predict import each_or_fault
    from ..images import pixel_hash

    first_with: dict[str, str] = {}
    cluster: dict[str, str] = {}

    def open_image(image: LabelledImage) -> Image:
        pixels = image.open()
        cluster[image.name] = first_with.setdefault(pixel_hash(pixels), image.cluster)
        return pixels

    readings = []
    said = each_or_fault(guard.read, (partial(open_image, image) for image in images), guard.batch_size)
    for done, (image, reading) in enumerate(zip(images, said, strict=True), start=1):
        progress(stage, done, len(images))
        placed = replace(image, cluster=cluster.get(image.name, image.cluster))
        if isinstance(reading, InputError):
            readings.append(replace(_unread(placed), invalid=_reason(reading)))
        else:
            readings.append(guard.image_reading(placed, reading))
    return readings


def _unread(image: LabelledImage) -> ImageReading:
    return ImageReading(image.label, image.unsafe, image.source, image.cluster, None)


def _reason(fault: InputError) -> str:
    """The problem without the file's name, so that reasons can be counted."""
    return fault.problem if fault.where is None or not isinstance(fault.where, Path) else f"image: {fault.problem}"
