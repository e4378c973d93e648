"""How good a guard is on labelled images: false alarms on benign ones first, then by label and by source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import InputError
from ..guards.base import Guard
from .guards import of_equal_pixels, open_guard, read_images
from .image_probe import probe_guard, remark
from .image_sets import Set, called, check_labels, open_set
from .progress import Progress, silent


def evaluate_guard(
    data: Set,
    guard: str | Guard,
    *,
    split: str | None = None,
    out_of_distribution: Mapping[str, Set] | None = None,
    published: bool = False,
    seed: int = 0,
    draws: int = 2000,
    probe_images: bool = False,
    progress: Progress = silent,
    **options: Any,
) -> dict[str, Any]:
    """What `guard` makes of the images of a set, and of others, each reported apart.

    Args:
        data: a benchmark (BENCH, BENCH:FOLDER or open), a table (image, label[, source]; a file or a DataFrame), or a
            folder a label.
        guard: one that is open, or what `open_guard` opens, then with its options; opened once the data are.
        out_of_distribution: {NAME: SET} of images unlike those the guard was made for.
        published: adds the published figures for HoliSafe-Bench.
        probe_images: a guard behind an API is asked first whether pictures reach it: "image_probe" (`image_probe`).

    Returns:
        {"model", "decides": what makes an image unsafe, "note", "sets": {NAME: as `image_scores`}, "thresholds" where
        the guard has some}. Raises InputError for a set that is none, and a label that nobody knows.
    """
    from ..metrics.guard_images import image_scores

    sets = {called(data): open_set(data, split)}
    for name, place in (out_of_distribution or {}).items():
        if name in sets:
            raise InputError(f"two sets are called {name!r}")
        sets[name] = open_set(place)
    guard = open_guard(guard, **options) if isinstance(guard, str) else guard
    for name, images in sets.items():
        check_labels(images, getattr(guard, "labels", ()), name)
    probed = probe_guard(guard, seed) if probe_images else None
    stored = getattr(guard, "stored", None)
    quantile = stored.set_quantile if stored else None
    scores: dict[str, Any] = {}
    for number, (name, images) in enumerate(sets.items()):
        readings = read_images(guard, of_equal_pixels(images, f"{name}, pixels", progress), name, progress)
        found = image_scores(readings, set_quantile=quantile, seed=seed, draws=draws)
        scores[name] = {"out_of_distribution": number > 0, **found}
    result: dict[str, Any] = {"model": guard.name, "decides": guard.decides, "note": guard.note, "sets": scores}
    if probed is not None:
        result |= {"image_probe": probed, "remarks": remark(probed, guard.name)}
    if stored is not None:
        chosen = ("temperature", "false_alarm_rate", "coverage")
        result["thresholds"] = {name: getattr(stored, name) for name in chosen}
    if published:
        from ..guards.published import FIGURES, PUBLISHED

        result["published"] = {name: dict(zip(FIGURES, row, strict=True)) for name, row in PUBLISHED.items()}
    return result
