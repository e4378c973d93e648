"""`holisafe guard convert`: a guarded model, or a published checkpoint, in another form."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

Form = StrEnum("Form", ["native", "merged", "base", "adapter"])


def convert(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A guarded model's folder or hub id.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder.")],
    form: Annotated[
        Form | None, typer.Option(help="base: for vLLM, the guard apart in guard/. Default: adapter if it is one.")
    ] = None,
    vision_tower: Annotated[
        str | None, typer.Option(metavar="PATH", help="Folder or hub id of the vision tower that MODEL lacks.")
    ] = None,
    pool: Annotated[str | None, typer.Option(help="Where the guard reads, if MODEL does not record it.")] = None,
    dtype: Annotated[str, typer.Option(help="Of the weights written; auto: as they are.")] = "auto",
) -> None:
    """holisafe guard convert tuned served --form base

    Load a guarded model, published Safe-VLM checkpoints included, and save it in one of the forms.

    The processor and the guard's thresholds go along where MODEL has them.
    """
    from ..errors import InputError
    from ..guard import load_guarded, load_processor, save_guarded
    from ..guard.quiet import quiet
    from ..journal import whole_folder

    if out.exists():
        raise InputError("is there already; name a new folder", where=out)
    with quiet():
        loaded = load_guarded(model, dtype=dtype, device="cpu", vision_tower=vision_tower, pool=pool)
        kind: Any = form.value if form else None
        with whole_folder(out) as unfinished:
            save_guarded(loaded, unfinished, form=kind)
            try:
                load_processor(model).save_pretrained(str(unfinished))
            except InputError as error:
                typer.echo(f"without a processor: {error}", err=True)
    typer.echo(out)
