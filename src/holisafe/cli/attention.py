"""`holisafe guard attention`: where generated tokens look, per decoder layer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

FIELDS = ("layer", "to_token", "to_image_mean", "n")


def attention(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files, one a sample.")],
    model: Annotated[str, typer.Option(metavar="PATH", help="A guarded model whose guard reads a token.")],
    query: Annotated[str, typer.Option(help="What is asked about each image.")] = "What is in this image?",
    max_tokens: Annotated[int, typer.Option(min=2, help="Tokens generated for each.")] = 32,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at once.")] = 4,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Write table and figures here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
    device: Annotated[str | None, typer.Option(help="Such as cpu or cuda:0; the GPU if there is one.")] = None,
) -> None:
    """holisafe guard attention photo.png --model tuned --out figures

    Print how much generated tokens attend to the safety meta token and to image tokens, per decoder layer.

    DIR gets attention.csv, attention_layers.svg and attention_tokens.svg.
    """
    from ..images import open_image

    for path in images:  # all of them before the model is loaded
        open_image(path)

    from ..guard import load_guarded, load_processor
    from ..guard.attention import ask_attention

    found = ask_attention(
        load_guarded(model, device=device),
        load_processor(model),
        [open_image(path) for path in images],
        query,
        max_new_tokens=max_tokens,
        batch_size=batch_size,
    )
    table = found.table()
    if out is not None:
        _write(out, table, found.by_token())
    if as_json:
        typer.echo(json.dumps(table))
    else:
        _print(table)


def _write(folder: Path, table: Sequence[dict[str, Any]], by_token: list[list[float | None]]) -> None:
    from ..report.figures.attention import as_file, attention_heat, attention_lines
    from ..tables import write_csv

    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "attention.csv", FIELDS, [[row[name] for name in FIELDS] for row in table], marked=False)
    title = "Attention of generated tokens"
    layers = attention_lines(table, target="safety meta token", title=title, name="layers")
    tokens = attention_heat(by_token, target="the safety meta token", title=title, name="tokens")
    (folder / "attention_layers.svg").write_text(as_file(layers), encoding="utf-8")
    (folder / "attention_tokens.svg").write_text(as_file(tokens), encoding="utf-8")


def _print(table: Sequence[dict[str, Any]]) -> None:
    from ..report.grids import Grid
    from ..report.numbers import ABSENT
    from .screen import screen

    rows = tuple(
        (
            str(row["layer"]),
            *(ABSENT if row[name] is None else f"{100 * row[name]:.3g} %" for name in FIELDS[1:3]),
            str(row["n"]),
        )
        for row in table
    )
    screen().print(Grid("", ("Layer", "To the token", "To an image token", "n"), rows))
