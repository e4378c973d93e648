"""A frozen vision tower run once an image: afterwards its output is looked up.

While the cache is on, a batch's `pixel_values` hold one number an image instead of pixels. The tower's `forward` turns
numbers into stored outputs and runs the real tower only on images it has not seen, in evaluation mode and exactly as
the model calls it, so whatever the model takes from the tower (any layers) is what was stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers.utils.generic import ModelOutput

from ..errors import InputError

KEPT = ("last_hidden_state", "hidden_states", "pooler_output")


class VisionCache:
    """Stored outputs of one tower. `admit` swaps an example's pixels for numbers; `on` makes the tower read them."""

    def __init__(self, tower: nn.Module, images: int, limit_bytes: int) -> None:
        """`images` are expected; their outputs may take `limit_bytes` together."""
        self.tower, self.images, self.limit = tower, images, limit_bytes
        self._pixels: dict[int, Tensor] = {}
        self._rows: list[list[Any] | None] = []
        self._kind: type[ModelOutput] | None = None
        self._names: list[str] = []

    def admit(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The example's tensors with numbers [N, 1, 1, 1] for pixels [N, 3, H, W].

        Raises InputError for a family whose tower does not take one such block an image.
        """
        pixels = tensors.get("pixel_values")
        if pixels is None:
            return tensors
        if pixels.dim() != 4 or {"image_sizes", "image_grid_thw", "pixel_attention_mask"} & tensors.keys():
            raise InputError("cache_vision does not fit how this family cuts images", where="recipe")
        numbers = range(len(self._rows), len(self._rows) + len(pixels))
        self._rows.extend([None] * len(pixels))
        self._pixels.update(zip(numbers, pixels, strict=True))
        return {**tensors, "pixel_values": torch.tensor(list(numbers), dtype=torch.float32).view(-1, 1, 1, 1)}

    @contextmanager
    def on(self) -> Iterator[None]:
        """Within it, the tower takes numbers for pixels."""
        run = self.tower.forward

        def look_up(pixel_values: Tensor, **arguments: Any) -> ModelOutput:
            if pixel_values.dtype != torch.float32:  # narrower types do not hold the numbers
                raise InputError("cache_vision needs dtype float32 with this family", where="recipe")
            numbers = [int(number) for number in pixel_values.flatten().tolist()]
            unseen = [number for number in dict.fromkeys(numbers) if self._rows[number] is None]
            if unseen:
                pixels = torch.stack([self._pixels.pop(number) for number in unseen])
                self._store(unseen, run(pixels.to(pixel_values.device), **arguments))
            return self._assemble(numbers, pixel_values.device)

        self.tower.forward = look_up
        try:
            yield
        finally:
            del self.tower.forward

    @torch.no_grad()
    def _store(self, numbers: list[int], output: ModelOutput) -> None:
        """Keep each image's row of each tensor of the output. Raises InputError when all rows would not fit."""
        first = self._kind is None
        self._kind, self._names = type(output), [name for name in KEPT if name in output]
        for place, number in enumerate(numbers):
            self._rows[number] = [_pick(output[name], place) for name in self._names]
        if first and (size := _bytes(self._rows[numbers[0]])) * self.images > self.limit:
            raise InputError(
                f"{self.images} images need {size * self.images // 2**20 + 1} megabytes; raise it or set "
                "cache_vision to false",
                where="recipe",
                field="compute.cache_megabytes",
            )

    def _assemble(self, numbers: list[int], device: torch.device) -> ModelOutput:
        """The tower's output for these images, as its own output class."""
        assert self._kind is not None
        columns = zip(*(self._rows[number] or [] for number in numbers), strict=True)
        return self._kind(**{name: _stack(column, device) for name, column in zip(self._names, columns, strict=True)})


def _pick(value: Any, row: int) -> Any:
    """One image's part of a tensor or of a tuple of tensors, on the CPU; layers the model did not ask for stay None."""
    if isinstance(value, Tensor):
        return value[row].detach().cpu().clone()
    return tuple(_pick(item, row) for item in value) if isinstance(value, tuple | list) else None


def _bytes(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.nbytes
    return sum(_bytes(item) for item in value) if isinstance(value, tuple | list) else 0


def _stack(rows: tuple[Any, ...], device: torch.device) -> Any:
    if isinstance(rows[0], Tensor):
        return torch.stack(rows).to(device)
    if isinstance(rows[0], tuple):
        return tuple(_stack(layer, device) for layer in zip(*rows, strict=True))
    return None
