"""How `holisafe guard` opens a model of ours: itself, its processor, and what its folder does not say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

Device = Annotated[str | None, typer.Option(help="Such as cpu or cuda:0; the GPU if there is one.")]
Processor = Annotated[
    str | None, typer.Option(metavar="PATH", help="Folder or hub id of the processor, if MODEL holds none.")
]
VisionTower = Annotated[
    str | None, typer.Option(metavar="PATH", help="Folder or hub id of the vision tower that MODEL lacks.")
]
Pool = Annotated[str | None, typer.Option(help="Where the guard reads, if MODEL does not record it.")]


@dataclass(frozen=True)
class Opening:
    """What the user said beside the model's name. None: the GPU if there is one; what the folder holds or records; for
    a published checkpoint's hub id, its base model's processor and the tower that its config names."""

    device: str | None = None
    processor: str | None = None
    vision_tower: str | None = None
    pool: str | None = None

    @property
    def of_the_folder(self) -> tuple[str | None, ...]:
        """What stands in for something in the folder: readings depend on it."""
        return self.processor, self.vision_tower, self.pool


def open_model(model: str, how: Opening) -> tuple[Any, Any]:
    """The guarded model and its processor. Raises InputError when one of them cannot be loaded."""
    from ..guard import load_guarded, load_processor
    from ..guard.quiet import quiet

    with quiet():
        processor = load_processor(how.processor or model)  # first: it takes seconds where weights take minutes
        return load_guarded(model, device=how.device, vision_tower=how.vision_tower, pool=how.pool), processor
