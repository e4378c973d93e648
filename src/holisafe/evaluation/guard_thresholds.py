"""A guard's temperature and thresholds, chosen on labelled images and kept in its model's folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL.Image import Image

from ..errors import InputError
from ..guards.visual_guard import Opening, open_visual_guard
from ..specs import typed_path
from ..tables import FORMS
from .guard_readings import found_images
from .image_sets import check_labels, open_set
from .progress import Progress, silent

if TYPE_CHECKING:
    from ..guard.thresholds import GuardThresholds


class Chosen(NamedTuple):
    """The file written, what it holds, and on what it was chosen: as `choose_thresholds` gives it."""

    file: Path
    kept: GuardThresholds
    found: dict[str, Any]


def keep_thresholds(
    model: str,
    data: str,
    *,
    split: str | None = None,
    false_alarms: float = 0.05,
    coverage: float = 0.9,
    unlabelled: str | None = None,
    unsafe_share: float | None = None,
    seed: int = 0,
    batch_size: int = 8,
    how: Opening = Opening(),
    progress: Progress = silent,
) -> Chosen:
    """Choose on the images of a set and write guard_thresholds.json into the model's folder.

    One half of the images gives the temperature, the other the thresholds: the share of new safe images above each is
    at most `false_alarms`, and a label set holds the true label with `coverage`, on average, for images like these.
    With `unlabelled` images, of which `unsafe_share` is thought to be unsafe, the thresholds are for images like those.
    Raises InputError when the model is no folder of ours, or the images do not suffice.
    """
    check_wanted(false_alarms, unlabelled, unsafe_share)
    if not 0 < coverage < 1:
        raise InputError(f"a coverage of {coverage:g} does not lie between 0 and 1")
    folder = typed_path(model)
    if not folder.is_dir():
        raise InputError("thresholds are kept in a model's folder, and this is none", where=model)

    from ..guard.predict import read_logits
    from ..guard.thresholds import GuardThresholds, head_digest, save_thresholds
    from ..metrics.guard_thresholds import choose_thresholds

    images = open_set(data, split)
    guard = open_visual_guard(model, None, batch_size, how, bare=True)
    check_labels(images, guard.labels, data)

    def read(openers: Sequence[Callable[[], Image]], stage: str) -> list[list[float]]:
        found: list[list[float]] = []
        for row in read_logits(guard.model, guard.processor, (one() for one in openers), batch_size=batch_size):
            found.append(row)
            progress(stage, len(found), len(openers))
        return found

    logits = read([image.open for image in images], "images")
    traffic = None if unlabelled is None else read(open_unlabelled(unlabelled), "unlabelled images")
    try:
        chosen = choose_thresholds(
            logits,
            [image.label for image in images],
            guard.labels,
            [image.cluster for image in images],
            image_safe=[not image.unsafe for image in images],
            false_alarm_rate=false_alarms,
            coverage=coverage,
            traffic=traffic,
            unsafe_share=unsafe_share or 0.0,
            seed=seed,
        )
    except ValueError as error:
        raise InputError(str(error), where=data) from None
    fitted = {"data": data, "split": split, "seed": seed, "images": chosen["n"], "nll": chosen["nll"]}
    kept = GuardThresholds(
        labels=guard.labels,
        temperature=chosen["temperature"],
        false_alarm_rate=false_alarms,
        unsafe=chosen["unsafe"],
        by_label=chosen["by_label"],
        coverage=coverage,
        set_quantile=chosen["set_quantile"],
        head=head_digest(str(folder)),
        fitted_on=fitted | ({} if unlabelled is None else {"unlabelled": unlabelled, "unsafe_share": unsafe_share}),
    )
    return Chosen(save_thresholds(kept, folder), kept, chosen)


def check_wanted(false_alarms: float, unlabelled: object, unsafe_share: float | None) -> None:
    """Raise InputError for a false-alarm rate or a share that is none, and for one of the last two without the other:
    thresholds that follow unlabelled inputs need to know about how many of these are unsafe."""
    if (unlabelled is None) != (unsafe_share is None):
        raise InputError("unlabelled inputs and the share of them that is unsafe go together")
    if not 0 < false_alarms < 1:
        raise InputError(f"a false-alarm rate of {false_alarms:g} does not lie between 0 and 1")
    if unsafe_share is not None and not 0 <= unsafe_share < 1:
        raise InputError(f"an unsafe share of {unsafe_share:g} is not from 0 and below 1")


def open_unlabelled(given: str) -> list[Callable[[], Image]]:
    """An image file, all images of a folder at any depth, or a set of `image_sets` whose labels are not looked at."""
    path = typed_path(given)
    if path.is_dir() or (path.is_file() and path.suffix.lower() not in FORMS):
        return list(found_images([path])[0].values())
    return [image.open for image in open_set(given)]
