"""`holisafe guard thresholds`: choose a guard's temperature and thresholds, and keep them with the model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import InputError
from .guard_model import Device, Opening, Pool, Processor, VisionTower


def thresholds(
    model: Annotated[str, typer.Option(metavar="PATH", help="A guarded model's folder.")],
    data: Annotated[str, typer.Option(metavar="SET", help="Labelled images to choose on: see guard eval. Never test.")],
    root: Annotated[str | None, typer.Option(metavar="DIR", help="The folder of the benchmark's release.")] = None,
    split: Annotated[str | None, typer.Option(help="Such as validation; for a benchmark or a table.")] = None,
    false_alarms: Annotated[float, typer.Option(help="The wanted share of safe images above a threshold.")] = 0.05,
    coverage: Annotated[float, typer.Option(help="The wanted share of label sets that hold the true label.")] = 0.9,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Divides the images into two halves.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Images read at once.")] = 8,
    processor: Processor = None,
    vision_tower: VisionTower = None,
    pool: Pool = None,
    device: Device = None,
) -> None:
    """Choose temperature, alarm thresholds and label sets on labelled images; write MODEL/guard_thresholds.json.

    One half of the images gives the temperature, the other the thresholds: the share of new safe images above each is
    at most --false-alarms, and a label set holds the true label with --coverage, on average, for images like these.
    """
    for name, value in (("--false-alarms", false_alarms), ("--coverage", coverage)):
        if not 0 < value < 1:
            raise InputError(f"{name} {value:g} does not lie between 0 and 1")
    folder = Path(model).expanduser()
    if not folder.is_dir():
        raise InputError("thresholds are kept in a model's folder, and this is none", where=model)

    from ..guard.predict import read_logits
    from ..guard.thresholds import GuardThresholds, head_digest, save_thresholds
    from ..metrics.guard_thresholds import choose_thresholds
    from .guard_readers import OurGuard, open_guard
    from .guard_sets import check_labels, open_set
    from .progress import showing_progress

    images, how = open_set(data, root, split), Opening(device, processor, vision_tower, pool)
    guard = open_guard(model, threshold=None, batch_size=batch_size, how=how, bare=True)
    if not isinstance(guard, OurGuard):
        raise InputError("others' guard models have no thresholds of ours", where=model)
    check_labels(images, guard.labels, data)
    logits: list[list[float]] = []
    with showing_progress() as show:
        opened = (image.open() for image in images)
        for row in read_logits(guard.model, guard.processor, opened, batch_size=batch_size):
            logits.append(row)
            show("images", len(logits), len(images))
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
    _say(save_thresholds(kept, folder), kept, chosen)


def _say(file: Path, kept: Any, chosen: dict[str, Any]) -> None:
    n, nll = chosen["n"], chosen["nll"]
    limit = "never" if kept.unsafe is None else f"above {kept.unsafe:.4g}"
    lines = [f"{file}"]
    why = " (none is likelier: every one of them is named right)" if kept.temperature == 1 else ""
    lines.append(f"temperature {kept.temperature:.3f}, from {n['temperature']:,} images{why}")
    if nll["before"] is not None:
        lines.append(f"negative log-likelihood on the other half {nll['before']:.3f} -> {nll['after']:.3f}")
    lines.append(
        f"alarm when 1 - P(safe) is {limit}: at most {kept.false_alarm_rate:.1%} false alarms, "
        f"from {n['safe']:,} safe images"
    )
    if kept.unsafe is None:
        lines.append(f"that rate needs at least {n['safe_needed']:,} safe images")
    sets = "every label, as the images are too few" if kept.set_quantile is None else f"from {n['sets']:,} images"
    lines.append(f"label sets hold the true label with {kept.coverage:.0%}: {sets}")
    typer.echo("\n".join(lines))
