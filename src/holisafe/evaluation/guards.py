"""One way to open guards, ours and others', and to read labelled images with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..errors import InputError
from ..guards import OURS
from ..guards import open_guard as open_by_name
from ..guards.base import CALL_FAILED, Guard, Item, Reading, read_fitted
from ..guards.policy import Policy
from ..guards.visual_guard import Opening
from ..metrics.guard_images import ImageReading
from ..records import Picture
from ..registry import guards as known
from ..registry import targets
from ..taxonomy import SAFE
from .image_sets import LabelledImage
from .progress import Progress


def open_guard(
    model: str,
    *,
    threshold: float | None = None,
    batch_size: int = 8,
    how: Opening = Opening(),
    policy: Policy | None = None,
) -> Guard:
    """A guard by its spec (llama-guard/hf/ID ...), else a guarded model, with the thresholds in its folder.

    `threshold`: an item is unsafe above this 1 - P(safe), whatever the model's folder says. Raises InputError when it
    cannot be loaded, has no label `safe`, or is another's and what only ours take was given.
    """
    kind, _, rest = model.removeprefix("ocr/").partition("/")
    if kind not in known.entries() or kind == OURS:
        told: dict[str, object] = {"threshold": threshold, "batch_size": batch_size, **vars(how)}
    elif threshold is not None:
        raise InputError("--threshold is for a guard of ours; others give their own verdict", where=model)
    elif any(how.of_the_folder):
        raise InputError("--processor, --vision-tower and --pool are for a guard of ours", where=model)
    else:
        elsewhere = kind == "moderation" or rest.partition("/")[0] in {*targets.entries()} - {"hf"}
        told = {} if elsewhere else {"batch_size": batch_size, "device": how.device}
    return open_by_name(model, policy, {name: str(value) for name, value in told.items() if value is not None})


def failed_calls(result: Mapping[str, Any]) -> int:
    """How many readings are calls that failed, in what `compare_guards`, `evaluate_guard` or `evaluate_pairs` found."""
    parts = [*result.get("guards", {}).values(), *result.get("sets", {}).values(), result.get("chosen_on", {}), result]
    reasons = [reason for part in parts for reason in part.get("invalid", {}).items()]
    return sum(count for why, count in reasons if why.startswith(CALL_FAILED))


def read_images(guard: Guard, images: Sequence[LabelledImage], stage: str, progress: Progress) -> list[ImageReading]:
    """What the guard says of each image; one that cannot be opened or read is there as invalid, with the reason."""
    said: dict[str, Reading] = {}
    items = (Item(id=str(n), pictures=(Picture(image.name, image.open),)) for n, image in enumerate(images))
    for found in read_fitted(guard, items):
        said[found.item_id] = found
        progress(stage, len(said), len(images))
    return [image_reading(image, said[str(n)]) for n, image in enumerate(images)]


def image_reading(image: LabelledImage, said: Reading) -> ImageReading:
    """With the label that the guard names: the likeliest where it gives each a probability, else the only one."""
    probabilities = said.scores if SAFE in said.scores else None
    likeliest = max(said.scores, key=lambda label: said.scores[label]) if probabilities else None
    one = said.labels[0] if len(said.labels) == 1 and len(said.categories) <= 1 else None
    return ImageReading(
        image.label,
        image.unsafe,
        image.source,
        image.cluster,
        said.unsafe,
        said.score,
        likeliest or one,
        probabilities,
        said.invalid,
    )


def of_equal_pixels(images: Sequence[LabelledImage], stage: str, progress: Progress) -> list[LabelledImage]:
    """The images, those of the same pixels in one cluster: they are no two observations. One that cannot be opened
    stays as it is."""
    return [image for image, _ in with_pixel_hashes(images, stage, progress)]


def with_pixel_hashes(
    images: Sequence[LabelledImage], stage: str, progress: Progress
) -> list[tuple[LabelledImage, str | None]]:
    """As `of_equal_pixels`, each with its pixels' hash, None for one that cannot be opened: each is opened once."""
    from ..images import pixel_hash

    first_with: dict[str, str] = {}
    placed: list[tuple[LabelledImage, str | None]] = []
    for done, image in enumerate(images, start=1):
        try:
            content = pixel_hash(image.open())
            placed.append((replace(image, cluster=first_with.setdefault(content, image.cluster)), content))
        except InputError:
            placed.append((image, None))
        progress(stage, done, len(images))
    return placed
