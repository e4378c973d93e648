"""`holisafe guard`: read images with a model's guard, measure it, choose its thresholds, convert it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from .attention import attention
from .command import RARE, Commands, leave_if
from .guard_convert import convert
from .guard_eval import evaluate, pairs
from .guard_model import Device, Pool, Processor, VisionTower
from .guard_thresholds import thresholds

if TYPE_CHECKING:
    from ..evaluation.guard_readings import Reader
    from ..records import GuardReading

app = Commands("Read images with a model's guard, measure it, choose its thresholds, convert it.")


@app.command()
def predict(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE|FOLDER...", help="Image files, or folders of them.")],
    model: Annotated[
        str, typer.Option(metavar="MODEL", help="A guarded model's folder or hub id: what holisafe tune wrote.")
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Append to FILE.jsonl, or write FILE.parquet; goes on.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON an image.")] = False,
    threshold: Annotated[
        float | None, typer.Option(metavar="P", min=0, max=1, help="Unsafe above this 1 - P(safe).")
    ] = None,
    top: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Labels to show: 3 in the table, all in JSON.")
    ] = None,
    batch_size: Annotated[int, typer.Option(metavar="N", min=1, help="Images read at once.", rich_help_panel=RARE)] = 8,
    device: Device = None,
    processor: Processor = None,
    vision_tower: VisionTower = None,
    pool: Pool = None,
) -> None:
    """holisafe guard predict photos/ --model tuned --out readings.jsonl

    Print or write each image's safety labels: one pass of the model, nothing is generated. Thresholds in the model's
    folder (holisafe guard thresholds) add a verdict. Of several images one that cannot be read becomes a row with its
    error, and the exit code is 3.
    """
    from ..evaluation.guard_readings import found_images, open_reader, write_readings
    from ..guards.visual_guard import Opening
    from .progress import showing_progress

    found, left_out = found_images(images)
    for line in left_out:
        typer.echo(f"holisafe: {line}", err=True)
    apart = out is not None or len(images) > 1 or images[0].is_dir()
    if not apart:
        for opener in found.values():  # before the model is loaded
            opener()
    how = Opening(device, processor, vision_tower, pool)
    reader = open_reader(model, threshold=threshold, top=top, batch_size=batch_size, how=how)
    if out is not None:
        with showing_progress() as progress:
            written = write_readings(found, reader, out, progress)
        failed = written.failed
        typer.echo(f"{out}: {written.images:,} images, {written.read:,} of them read now, {failed:,} with an error")
    elif apart:
        with showing_progress() as progress:
            failed = _show(reader.each(found, progress), reader, as_json)
    else:
        failed = _show(zip(found, reader.read(found.values(), strict=True), strict=True), reader, as_json)
    leave_if(failed, f"of {len(found):,} images could not be read")


def _show(said: Iterable[tuple[Path, GuardReading | InputError]], reader: Reader, as_json: bool) -> int:
    """Print the readings; how many of the images have an error."""
    return _print_lines(said, reader) if as_json else _print_table(said, reader)


def _print_lines(said: Iterable[tuple[Path, GuardReading | InputError]], reader: Reader) -> int:
    from ..image_files import shown_name

    failed = 0
    for path, reading in said:
        failed += isinstance(reading, InputError)
        typer.echo(json.dumps({"image": shown_name(path), **reader.row(reading)}, ensure_ascii=False))
    return failed


def _print_table(said: Iterable[tuple[Path, GuardReading | InputError]], reader: Reader) -> int:
    from ..evaluation.guard_readings import likeliest
    from ..image_files import shown_name
    from ..report.grids import Grid
    from .screen import screen

    rows: list[tuple[str, ...]] = []
    failed = 0
    for path, reading in said:
        if isinstance(reading, InputError):
            failed += 1
            rows.append((f"{shown_name(path)}: error: {reading.problem}",))
        else:
            verdict = reader.row(reading).get("verdict")
            rows.append((f"{shown_name(path)}{f': {verdict}' if verdict else ''}",))
            rows += [(label, f"{100 * share:.1f} %") for label, share in likeliest(reading, reader.top or 3)]
    screen().print(Grid("", ("Image, and its likeliest labels", "Probability"), tuple(rows)))
    return failed


app.command()(pairs)
app.command("eval")(evaluate)
app.command()(thresholds)
app.command()(attention)
app.command()(convert)
