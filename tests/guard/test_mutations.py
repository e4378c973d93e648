"""Break the guard on purpose: the checks must notice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from holisafe.guard import model, pooling, reading, verdict
from holisafe.guard.pooling import Places, Pooled

from .checks import CHECKS, Case
from .tiny_families import FAMILIES

PLAIN_PLACES = pooling.places
PLAIN_POOL = pooling.pool
PLAIN_GENERATE = model.GuardedModel.generate
PLAIN_OUTPUT = model.guarded_output
PLAIN_TEXT = model.text_mask
PLAIN_SAMPLE = verdict.of_sample
PLAIN_WEIGHTS = model.GuardedModel.state_dict


def over_everything(mask: torch.Tensor, numbers: torch.Tensor | None) -> Places:
    return PLAIN_PLACES(torch.ones_like(mask), numbers)


def shifted(mask: torch.Tensor, numbers: torch.Tensor | None) -> Places:
    return PLAIN_PLACES(mask.roll(1, dims=1), numbers)


def over_the_batch(features: torch.Tensor, at: Places) -> Pooled:
    pooled = PLAIN_POOL(features, at)
    return Pooled(pooled.total.sum(0, keepdim=True).expand_as(pooled.total), pooled.count.sum().expand_as(pooled.count))


def last_chunk_only(self: Pooled, other: Pooled) -> Pooled:
    return other


def asks_twice(self: Any, *args: Any, **kwargs: Any) -> Any:
    result = PLAIN_GENERATE(self, *args, **kwargs)
    self(**{name: value for name, value in kwargs.items() if torch.is_tensor(value)})
    return result


def forgets_the_image_mask(logits: torch.Tensor, valid: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(logits, labels)


def nudged(stock: Any, **fields: Any) -> Any:
    return PLAIN_OUTPUT(stock, **{**fields, "logits": stock.logits + 1e-6})


def first_of_the_tokens(mask: torch.Tensor) -> torch.Tensor:
    return mask & (mask.cumsum(1) == 1)


def images_are_text(call: Any, image: torch.Tensor) -> torch.Tensor:
    mask: torch.Tensor = PLAIN_TEXT(call, image) | image
    return mask


def best_of(logits: Any, probabilities: Any, valid: Any, verdict: str, safe: int) -> Any:
    return PLAIN_SAMPLE(logits, probabilities, valid, "mean" if verdict == "worst" else "worst", safe)


def loses_the_head(self: Any, *args: Any, **kwargs: Any) -> Any:
    return {name: weight for name, weight in PLAIN_WEIGHTS(self, *args, **kwargs).items() if "safety" not in name}


def sums_over_samples(logits: torch.Tensor, valid: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(logits[valid], labels[valid], reduction="sum")


MUTATIONS: dict[str, tuple[Any, str, Callable[..., Any], list[str]]] = {
    "pool over all positions": (pooling, "places", over_everything, ["guard_equals_loop", "joint_loss"]),
    "mask shifted by one": (pooling, "places", shifted, ["guard_equals_loop", "joint_loss"]),
    "pool over the batch": (pooling, "pool", over_the_batch, ["guard_equals_loop", "joint_loss"]),
    "only the last chunk counts": (Pooled, "__add__", last_chunk_only, ["prefills_in_chunks"]),
    "a forward more in generate": (model.GuardedModel, "generate", asks_twice, ["generates_as_stock"]),
    "logits moved by 1e-6": (model, "guarded_output", nudged, ["language_model_is_untouched"]),
    "the first token, not the last": (reading, "_last", first_of_the_tokens, ["every_pool_equals_loop"]),
    "images count as text": (model, "text_mask", images_are_text, ["every_pool_equals_loop"]),
    "another verdict than asked": (verdict, "of_sample", best_of, ["each_image_equals_loop"]),
    "turns are forgotten": (
        model,
        "reading_of",
        lambda cache, rows: None,
        ["keeps_its_verdict_over_turns", "prefills_in_chunks"],
    ),
    "saved without the head": (model.GuardedModel, "state_dict", loses_the_head, ["saves_and_loads"]),
    "copies share their weights": (model.GuardedModel, "__deepcopy__", lambda self, memo: self, ["copies_and_pickles"]),
    "loss summed over samples": (model, "guard_loss", sums_over_samples, ["accumulates_gradients", "joint_loss"]),
    "loss without the image mask": (model, "guard_loss", forgets_the_image_mask, ["joint_loss", "no_image_at_all"]),
}


@pytest.mark.parametrize(
    ("name", "check"), [(name, check) for name, mutation in MUTATIONS.items() for check in mutation[3]]
)
def test_checks_notice(name: str, check: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case.of("llava-swin", FAMILIES["llava-swin"])
    CHECKS[check](case)
    owner, attribute, mutant, _ = MUTATIONS[name]
    monkeypatch.setattr(owner, attribute, mutant, raising=False)
    with pytest.raises(AssertionError):
        CHECKS[check](case)
