"""`holisafe guard`: read images with a model's guard, choose its thresholds, measure how good it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import ExitCode, InputError
from ..evaluation.guards import Opening, open_model
from ..evaluation.image_files import image_files, shown_name
from .attention import attention
from .guard_eval import evaluate, pairs
from .guard_model import Device, Pool, Processor, VisionTower
from .guard_thresholds import thresholds

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..guard.thresholds import GuardThresholds
    from ..records import GuardReading

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def guard() -> None:
    """Read images with a model's guard, choose its thresholds, measure how good it is."""


app.command()(attention)
app.command("eval")(evaluate)
app.command()(pairs)
app.command("thresholds")(thresholds)


@dataclass(frozen=True)
class Wanted:
    """What is shown of each reading. `limit` replaces the stored threshold on P(unsafe)."""

    top: int | None
    stored: GuardThresholds | None
    limit: float | None

    def row(self, reading: GuardReading) -> dict[str, Any]:
        """label, unsafe, probabilities; verdict and threshold where there is one; raised labels and label set."""
        row: dict[str, Any] = {"label": reading.label}
        has_safe = "safe" in reading.probabilities
        if has_safe:
            row["unsafe"] = reading.unsafe
        limit = self.limit if self.limit is not None or self.stored is None else self.stored.unsafe
        if has_safe and (self.limit is not None or self.stored is not None):
            row["verdict"] = "unsafe" if limit is not None and reading.unsafe > limit else "safe"
            row["threshold"] = limit
        if self.stored is not None:
            row["raised"] = self.stored.raised(reading)
            row["label_set"] = self.stored.label_set(reading)
        row["probabilities"] = dict(_likeliest(reading, self.top))
        return row


@app.command()
def predict(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE|FOLDER...", help="Image files, or folders of them.")],
    model: Annotated[
        str, typer.Option(metavar="PATH", help="A guarded model's folder or hub id, such as what holisafe tune wrote.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON an image.")] = False,
    top: Annotated[int | None, typer.Option(min=1, help="Labels to show: 3 in the table, all in JSON.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Append to FILE.jsonl, or write FILE.parquet; the same command goes on."),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Unsafe above this 1 - P(safe), whatever the model's file says.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images read at once.")] = 8,
    processor: Processor = None,
    vision_tower: VisionTower = None,
    pool: Pool = None,
    device: Device = None,
) -> None:
    """Print or write each image's safety labels: one pass of the model, nothing is generated.

    Of files named one by one, each is opened before the model is loaded. In a folder, or with --out, an image that
    cannot be read becomes a row with its error, the others go on, and the exit code is 3. Thresholds in the model's
    folder (holisafe guard thresholds) add a verdict, the labels raised, and the label set.
    """
    found = {path: opener for given in images for path, opener in _files(given).items()}
    apart = out is not None or any(path.is_dir() for path in images)
    if not apart:
        for opener in found.values():  # all of them before the model is loaded
            opener()

    from ..guard import labels_of
    from ..guard.thresholds import load_thresholds

    how = Opening(device, processor, vision_tower, pool)
    guarded, its_processor = open_model(model, how)
    labels = labels_of(guarded)
    stored = load_thresholds(model, labels)
    if threshold is not None and "safe" not in labels:
        raise InputError("the guard has no label 'safe', so --threshold has nothing to compare", where=model)
    wanted = Wanted(top, stored, threshold)
    read = partial(_read, guarded, its_processor, batch_size, stored.temperature if stored else 1.0)
    if out is not None:
        failed = _write(found, out, _made_by(model, how, wanted), read, wanted)
    elif apart:
        failed = _show(_each(found, read), as_json, wanted)
    else:
        shown = zip(found, read(found.values(), strict=True), strict=True)
        failed = _show(shown, as_json, wanted)
    if failed:
        typer.echo(f"holisafe: {failed:,} of {len(found):,} images could not be read", err=True)
        raise typer.Exit(ExitCode.RESUMABLE)


def _files(given: Path) -> dict[Path, Callable[[], Image]]:
    """An image file itself, or the images anywhere in a folder, and how each is opened; says what is left out."""
    from ..images import open_image

    if not given.is_dir():
        return {given: partial(open_image, given)}
    images, left_out = image_files(given)
    others = ", ".join(f"{count:,} {kind}" for kind, count in left_out.most_common(5))
    if not images:
        raise InputError("holds no images" + (f", but {others}" if others else ""), where=given)
    if others:
        typer.echo(f"holisafe: {given}: left out: {others}", err=True)
    return images


def _read(
    model: Any,
    processor: Any,
    batch_size: int,
    temperature: float,
    openers: Iterable[Callable[[], Image]],
    strict: bool = False,
) -> Iterator[GuardReading | InputError]:
    """Readings in order; where `strict` is not set, the reason in place of one that could not be had."""
    from ..guard.predict import each_or_fault
    from ..guard.predict import predict as read

    options: dict[str, Any] = {"batch_size": batch_size, "temperature": temperature}
    readings: Iterator[GuardReading | InputError]
    if strict:
        readings = read(model, processor, (opener() for opener in openers), **options)
    else:
        readings = each_or_fault(lambda images: list(read(model, processor, images, **options)), openers, batch_size)
    for reading in readings:
        broke_down = not isinstance(reading, InputError) and not reading.finite
        yield InputError("the guard gave no number") if broke_down else reading


def _each(
    found: Mapping[Path, Callable[[], Image]], read: Callable[..., Iterator[Any]]
) -> Iterator[tuple[Path, GuardReading | InputError]]:
    from .progress import showing_progress

    with showing_progress() as show:
        readings = read(found.values())
        for done, (path, reading) in enumerate(zip(found, readings, strict=True), start=1):
            show("images", done, len(found))
            yield path, reading


def _write(
    found: Mapping[Path, Callable[[], Image]],
    out: Path,
    made_by: str,
    read: Callable[..., Iterator[Any]],
    wanted: Wanted,
) -> int:
    """Append the rows that are missing; how many of the images have an error."""
    from ..evaluation.readings_file import ReadingsFile, file_hash, row_of

    with ReadingsFile(out, made_by) as file:
        hashes = {path: file_hash(path) if path.is_file() else None for path in found}
        missing = {path: found[path] for path, sha256 in hashes.items() if not file.has(shown_name(path), sha256)}
        for path, reading in _each(missing, read):
            said = {"error": reading.problem} if isinstance(reading, InputError) else wanted.row(reading)
            file.append(row_of(shown_name(path), hashes[path], said))
        file.finish()
        failed = sum(file.rows[shown_name(path)]["error"] is not None for path in hashes)
    typer.echo(f"{out}: {len(hashes):,} images, {len(missing):,} of them read now, {failed:,} with an error")
    return failed


def _made_by(model: str, how: Opening, wanted: Wanted) -> str:
    """Identifies what a row depends on besides the image: the model's name and head, what was given for what it lacks,
    and the thresholds."""
    import dataclasses

    from ..guard.folders import locate
    from ..guard.thresholds import head_digest
    from ..records import digest

    source = locate(model)
    stored = dataclasses.asdict(wanted.stored) if wanted.stored else None
    name = str(Path(source).resolve()) if Path(source).is_dir() else source
    given = [list(how.of_the_folder)] if any(how.of_the_folder) else []
    return digest([name, head_digest(source), stored, wanted.limit, wanted.top, *given])


def _show(pairs: Iterable[tuple[Path, GuardReading | InputError]], as_json: bool, wanted: Wanted) -> int:
    """Print the readings; how many of the images have an error."""
    return _print_lines(pairs, wanted) if as_json else _print_table(pairs, wanted)


def _print_lines(pairs: Iterable[tuple[Path, GuardReading | InputError]], wanted: Wanted) -> int:
    failed = 0
    for path, reading in pairs:
        if isinstance(reading, InputError):
            failed += 1
            line: dict[str, Any] = {"image": shown_name(path), "error": reading.problem}
        else:
            line = {"image": shown_name(path), **wanted.row(reading)}
        typer.echo(json.dumps(line, ensure_ascii=False))
    return failed


def _print_table(pairs: Iterable[tuple[Path, GuardReading | InputError]], wanted: Wanted) -> int:
    from rich.table import Table
    from rich.text import Text

    from .screen import screen

    table, failed = Table("image", "label", "probability", "verdict"), 0
    for path, reading in pairs:
        name = Text(shown_name(path), overflow="fold")
        if isinstance(reading, InputError):
            failed += 1
            table.add_row(name, Text(f"error: {reading.problem}"), "", "")
        else:
            verdict = str(wanted.row(reading).get("verdict", ""))
            for row, (label, probability) in enumerate(_likeliest(reading, wanted.top or 3)):
                first = (name, label, f"{probability:.1%}", verdict)
                table.add_row(*(first if not row else ("", label, f"{probability:.1%}", "")))
        table.add_section()
    if wanted.stored is None and wanted.limit is None:
        table.columns.pop()
    screen().print(table)
    return failed


def _likeliest(reading: GuardReading, top: int | None) -> list[tuple[str, float]]:
    """Labels with their probabilities, the likeliest first."""
    return sorted(reading.probabilities.items(), key=lambda item: -item[1])[:top]
