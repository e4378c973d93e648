"""The options by which `holisafe guard` opens a model: the device, and what its folder does not say."""

from __future__ import annotations

from typing import Annotated

import typer

from .command import RARE

Device = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Such as cpu or cuda:0; else the GPU, if there is one.", rich_help_panel=RARE),
]
Processor = Annotated[
    str | None, typer.Option(metavar="PATH", help="The processor, if MODEL holds none.", rich_help_panel=RARE)
]
VisionTower = Annotated[
    str | None, typer.Option(metavar="PATH", help="The vision tower that MODEL lacks.", rich_help_panel=RARE)
]
Pool = Annotated[
    str | None,
    typer.Option(metavar="WORD", help="Where the guard reads, if MODEL does not record it.", rich_help_panel=RARE),
]
