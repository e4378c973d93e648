"""The options by which `holisafe guard` opens a model: the device, and what its folder does not say."""

from __future__ import annotations

from typing import Annotated

import typer

Device = Annotated[str | None, typer.Option(help="Such as cpu or cuda:0; the GPU if there is one.")]
Processor = Annotated[
    str | None, typer.Option(metavar="PATH", help="Folder or hub id of the processor, if MODEL holds none.")
]
VisionTower = Annotated[
    str | None, typer.Option(metavar="PATH", help="Folder or hub id of the vision tower that MODEL lacks.")
]
Pool = Annotated[str | None, typer.Option(help="Where the guard reads, if MODEL does not record it.")]
