"""Break the guard on purpose: the checks must notice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from holisafe.guard import model, pooling
from holisafe.guard.pooling import Pooled

from .checks import CHECKS, Case
from .tiny_families import FAMILIES

PLAIN_POOL = pooling.pool
PLAIN_GENERATE = model.GuardedModel.generate
PLAIN_SWAP = model.guarded_class


def over_everything(features: torch.Tensor, mask: torch.Tensor) -> Pooled:
    return PLAIN_POOL(features, torch.ones_like(mask))


def shifted(features: torch.Tensor, mask: torch.Tensor) -> Pooled:
    return PLAIN_POOL(features, mask.roll(1, dims=1))


def over_the_batch(features: torch.Tensor, mask: torch.Tensor) -> Pooled:
    pooled = PLAIN_POOL(features, mask)
    return Pooled(pooled.total.sum(0, keepdim=True).expand_as(pooled.total), pooled.count.sum().expand_as(pooled.count))


def last_chunk_only(self: Pooled, other: Pooled) -> Pooled:
    return other


def asks_twice(self: Any, *args: Any, **kwargs: Any) -> Any:
    result = PLAIN_GENERATE(self, *args, **kwargs)
    self(**{name: value for name, value in kwargs.items() if torch.is_tensor(value)})
    return result


def forgets_the_image_mask(logits: torch.Tensor, valid: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(logits, labels)


MUTATIONS: dict[str, tuple[Any, str, Callable[..., Any], list[str]]] = {
    "pool over all positions": (pooling, "pool", over_everything, ["guard_equals_loop", "joint_loss"]),
    "mask shifted by one": (pooling, "pool", shifted, ["guard_equals_loop", "joint_loss"]),
    "pool over the batch": (pooling, "pool", over_the_batch, ["guard_equals_loop", "joint_loss"]),
    "only the last chunk counts": (Pooled, "__add__", last_chunk_only, ["prefills_in_chunks"]),
    "a forward more in generate": (model.GuardedModel, "generate", asks_twice, ["generates_as_stock"]),
    "loss without the image mask": (model, "_guard_loss", forgets_the_image_mask, ["joint_loss", "no_image_at_all"]),
}


@pytest.mark.parametrize(
    ("name", "check"), [(name, check) for name, mutation in MUTATIONS.items() for check in mutation[3]]
)
def test_checks_notice(name: str, check: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case.of("llava-swin", FAMILIES["llava-swin"])
    CHECKS[check](case)
    owner, attribute, mutant, _ = MUTATIONS[name]
    monkeypatch.setattr(owner, attribute, mutant)
    with pytest.raises(AssertionError):
        CHECKS[check](case)
