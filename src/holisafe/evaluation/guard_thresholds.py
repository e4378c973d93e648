"""A guard's temperature and thresholds, chosen on labelled images and kept in its model's folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import InputError
from ..guards.visual_guard import Opening, open_visual_guard
from ..specs import typed_path
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
    seed: int = 0,
    batch_size: int = 8,
    how: Opening = Opening(),
    progress: Progress = silent,
) -> Chosen:
    """Choose on the images of a set and write guard_thresholds.json into the model's folder.

    One half of the images gives the temperature, the other the thresholds: the share of new safe images above each is
    at most `false_alarms`, and a label set holds the true label with `coverage`, on average, for images like these.
    Raises InputError when the model is no folder of ours, or the images do not suffice.
    """
    for name, value in (("false-alarm rate", false_alarms), ("coverage", coverage)):
        if not 0 < value < 1:
            raise InputError(f"a {name} of {value:g} does not lie between 0 and 1")
    folder = typed_path(model)
    if not folder.is_dir():
        raise InputError("thresholds are kept in a model's folder, and this is none", where=model)

    from ..guard.predict import read_logits
    from ..guard.thresholds import GuardThresholds, head_digest, save_thresholds
    from ..metrics.guard_thresholds import choose_thresholds

    images = open_set(data, split)
    guard = open_visual_guard(model, None, batch_size, how, bare=True)
    check_labels(images, guard.labels, data)
    logits: list[list[float]] = []
    opened = (image.open() for image in images)
    for row in read_logits(guard.model, guard.processor, opened, batch_size=batch_size):
        logits.append(row)
        progress("images", len(logits), len(images))
    try:
        chosen = choose_thresholds(
            logits,
            [image.label for image in images],
            guard.labels,
            [image.cluster for image in images],
            image_safe=[not image.unsafe for image in images],
            false_alarm_rate=false_alarms,
            coverage=coverage,
            seed=seed,
        )
    except ValueError as error:
        raise InputError(str(error), where=data) from None
    kept = GuardThresholds(
        labels=guard.labels,
        temperature=chosen["temperature"],
        false_alarm_rate=false_alarms,
        unsafe=chosen["unsafe"],
        by_label=chosen["by_label"],
        coverage=coverage,
        set_quantile=chosen["set_quantile"],
        head=head_digest(str(folder)),
        fitted_on={"data": data, "split": split, "seed": seed, "images": chosen["n"], "nll": chosen["nll"]},
    )
    return Chosen(save_thresholds(kept, folder), kept, chosen)
