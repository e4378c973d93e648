"""`holisafe guard thresholds`: choose a guard's temperature and thresholds, and keep them with the model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .guard_model import Device, Pool, Processor, VisionTower
from .progress import showing_progress


def thresholds(
    model: Annotated[str, typer.Option(metavar="PATH", help="A guarded model's folder.")],
    data: Annotated[str, typer.Option(metavar="SET", help="Labelled images to choose on: see guard eval. Never test.")],
    split: Annotated[str | None, typer.Option(help="Such as validation; for a benchmark or a table.")] = None,
    false_alarms: Annotated[float, typer.Option(help="The wanted share of safe images above a threshold.")] = 0.05,
    coverage: Annotated[float, typer.Option(help="The wanted share of label sets that hold the true label.")] = 0.9,
    unlabelled: Annotated[
        str | None,
        typer.Option(metavar="SET", help="A folder, or as --data, labels unread: thresholds for images like these."),
    ] = None,
    unsafe_share: Annotated[float | None, typer.Option(help="What share of the unlabelled is unsafe, about.")] = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Divides the images into two halves.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Images read at once.")] = 8,
    processor: Processor = None,
    vision_tower: VisionTower = None,
    pool: Pool = None,
    device: Device = None,
) -> None:
    """holisafe guard thresholds --model tuned --data pictosafe --split validation

    Choose temperature, alarm thresholds and label sets on labelled images; write MODEL/guard_thresholds.json.

    One half of the images gives the temperature, the other the thresholds: the share of new safe images above each is
    at most --false-alarms, and a label set holds the true label with --coverage, on average, for images like these.
    """
    from ..evaluation.guard_thresholds import keep_thresholds
    from ..guards.visual_guard import Opening

    with showing_progress() as progress:
        chosen = keep_thresholds(
            model, data, split=split, false_alarms=false_alarms, coverage=coverage, unlabelled=unlabelled,
            unsafe_share=unsafe_share, seed=seed, batch_size=batch_size,
            how=Opening(device, processor, vision_tower, pool), progress=progress,
        )  # fmt: skip
    _say(*chosen)


def _say(file: Path, kept: Any, chosen: dict[str, Any]) -> None:
    n, nll = chosen["n"], chosen["nll"]
    limit = "never" if kept.unsafe is None else f"above {kept.unsafe:.4g}"
    lines = [f"{file}"]
    why = " (none is likelier: every one of them is named right)" if kept.temperature == 1 else ""
    lines.append(f"temperature {kept.temperature:.3f}, from {n['temperature']:,} images{why}")
    if nll["before"] is not None:
        lines.append(f"negative log-likelihood on the other half {nll['before']:.3f} -> {nll['after']:.3f}")
    source = f"{n['safe']:,} safe images"
    if "unlabelled" in n:
        source = f"{n['unlabelled']:,} unlabelled images, {kept.fitted_on['unsafe_share']:.1%} of them taken for unsafe"
    lines.append(f"alarm when 1 - P(safe) is {limit}: at most {kept.false_alarm_rate:.1%} false alarms, from {source}")
    if kept.unsafe is None and "unlabelled" not in n:
        lines.append(f"that rate needs at least {n['safe_needed']:,} safe images")
    sets = "every label, as the images are too few" if kept.set_quantile is None else f"from {n['sets']:,} images"
    lines.append(f"label sets hold the true label with {kept.coverage:.0%}: {sets}")
    sure = chosen["auroc"]
    if sure["rate"] is not None and (sure["rate"] if sure["low"] is None else sure["low"]) <= 0.5:
        lines.append(
            f"warning: nothing shows that the guard is better than chance on these images (AUROC {sure['rate']:.2f}, "
            "with 0.5 in its interval): its alarms may mean nothing"
        )
    typer.echo("\n".join(lines))
