"""`holisafe guard predict`: read images with a model's guard."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ..records import GuardReading

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def guard() -> None:
    """Read images with a model's guard."""


@app.command()
def predict(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files.")],
    model: Annotated[
        str, typer.Option(metavar="PATH", help="A guarded model's folder or hub id, such as what holisafe tune wrote.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON an image.")] = False,
    top: Annotated[int | None, typer.Option(min=1, help="Labels to show: 3 in the table, all in JSON.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images read at once.")] = 8,
    device: Annotated[str | None, typer.Option(help="Such as cpu or cuda:0; the GPU if there is one.")] = None,
) -> None:
    """Print each image's safety labels with their probabilities: one pass of the model, nothing is generated."""
    from ..images import open_image

    for path in images:  # all of them before the model is loaded
        open_image(path)

    from ..guard import load_guarded, load_processor
    from ..guard.predict import predict as read

    processor = load_processor(model)
    guarded = load_guarded(model, device=device)
    readings = read(guarded, processor, (open_image(path) for path in images), batch_size=batch_size)
    pairs = zip(images, readings, strict=True)
    if as_json:
        _print_lines(pairs, top)
    else:
        _print_table(pairs, top or 3)


def _print_lines(pairs: Iterable[tuple[Path, GuardReading]], top: int | None) -> None:
    for path, reading in pairs:
        line: dict[str, Any] = {
            "image": str(path),
            "label": reading.label,
            "probabilities": dict(_likeliest(reading, top)),
        }
        if "safe" in reading.probabilities:
            line["unsafe"] = round(reading.unsafe, 6)
        typer.echo(json.dumps(line, ensure_ascii=False))


def _print_table(pairs: Iterable[tuple[Path, GuardReading]], top: int) -> None:
    from rich.table import Table
    from rich.text import Text

    from .screen import screen

    table = Table("image", "label", "probability")
    for path, reading in pairs:
        for row, (label, probability) in enumerate(_likeliest(reading, top)):
            table.add_row(Text("" if row else str(path), overflow="fold"), label, f"{probability:.1%}")
        table.add_section()
    screen().print(table)


def _likeliest(reading: GuardReading, top: int | None) -> list[tuple[str, float]]:
    """Labels with their probabilities, the likeliest first."""
    ranked = sorted(reading.probabilities.items(), key=lambda item: -item[1])
    return [(label, round(probability, 6)) for label, probability in ranked[:top]]
