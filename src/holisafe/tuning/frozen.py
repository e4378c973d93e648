"""A guard on a frozen model: what its head reads of an example never changes, so it is worked out once.

    examples ─ Collator ─ guarded model ─ pooled features ─ kept
                                                              └─ head ─ loss       every epoch

The language model's loss, which has nothing to teach then, is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers.utils.generic import ModelOutput

from ..guard.head import HEAD, guard_loss
from .collator import Collator
from .examples import Example


class FrozenReadings:
    """In the place of a `Collator`; gives what `HeadAlone` takes.

    An example's features are kept in float32 from when it first occurs. `autocast`: the frozen model multiplies in
    bfloat16.
    """

    def __init__(self, model: Any, collator: Collator, *, autocast: bool) -> None:
        self.model, self.collator, self.autocast = model, collator, autocast
        self.vision = collator.vision
        self._kept: dict[int, tuple[Example, Tensor, bool]] = {}

    def __call__(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """features [B, W], valid [B] (False without image), safety_labels [B]."""
        if new := [one for key, one in {id(one): one for one in examples}.items() if key not in self._kept]:
            self._read(new)
        kept = [self._kept[id(example)] for example in examples]
        return {
            "features": torch.stack([features for _, features, _ in kept]),
            "valid": torch.tensor([valid for _, _, valid in kept]),
            "safety_labels": torch.tensor([self.collator.label_id(example) for example in examples]),
        }

    @torch.no_grad()
    def _read(self, examples: Sequence[Example]) -> None:
        """One forward of what the guard needs of the model, with an ear at the input of the head."""
        heard: list[Tensor] = []
        hook = getattr(self.model, HEAD).register_forward_pre_hook(lambda _, given: heard.append(given[0]))
        training, device = self.model.training, self.model.device
        self.model.eval()
        try:
            batch = {name: value.to(device) for name, value in self.collator(examples).items()}
            with torch.autocast(device.type, torch.bfloat16, enabled=self.autocast):
                output = self.model(**batch, do_safety="alone")
        finally:
            hook.remove()
            self.model.train(training)
        rows = zip(examples, heard[0].flatten(1).float().cpu(), output.img_safety_valid.tolist(), strict=True)
        self._kept |= {id(example): (example, features, valid) for example, features, valid in rows}


class HeadAlone(nn.Module):
    """What trains: the head of a guarded model, on features that are there already."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.guarded = model

    def get_base_model(self) -> Any:
        return self.guarded

    def forward(self, features: Tensor, valid: Tensor, safety_labels: Tensor) -> ModelOutput:
        """The guard's loss and what it is made of, as the guarded model names them."""
        logits: Tensor = getattr(self.guarded, HEAD)(features)
        loss = guard_loss(logits, valid, safety_labels)
        return ModelOutput(
            loss=self.guarded.config.safety_loss_lambda * loss,
            safety_loss=loss,
            img_safety_logits=logits,
            img_safety_valid=valid,
        )
