"""A guard's opinion of requests before they are answered: one prefill a batch, nothing is generated."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from ...errors import InputError
from ...guard.quiet import quiet
from ...records import Request
from ...taxonomy import SAFE

if TYPE_CHECKING:
    from ...targets.huggingface import HuggingFaceTarget
    from ...targets.huggingface_inside import Passage


def unsafe_log_odds(target: HuggingFaceTarget, requests: Sequence[Request]) -> list[float | None]:
    """log(P(unsafe) / P(safe)) of each request by the guard of `target`; None where it read nothing.

    Nothing is read where there is no image, or where the request cannot be prepared or read: answering it will tell.
    Raises InputError when the model has no guard with a label `safe`.
    """
    if target.labels is None or SAFE not in target.labels:
        raise InputError(f"{target.name} has no guard with a label {SAFE!r}")
    found: list[float | None] = [None] * len(requests)
    passages: dict[int, Passage] = {}
    for place, request in enumerate(requests):
        try:
            passages[place] = target.passage(request)
        except (InputError, ValueError, OSError):
            continue
    places = list(passages)
    with quiet(), torch.inference_mode():
        for place, value in zip(places, _read(target, list(passages.values())), strict=True):
            found[place] = value
    return found


def _read(target: HuggingFaceTarget, passages: Sequence[Passage]) -> list[float | None]:
    """A batch that fails is read again one by one, so that one image harms no other."""
    values: list[float | None] = [None] * len(passages)
    try:
        for prefill in target.prefills(passages):
            for place, value in zip(prefill.places, _forward(target, prefill.tensors), strict=True):
                values[place] = value
    except (InputError, ValueError, RuntimeError, OSError):
        if len(passages) > 1:
            return [_read(target, [passage])[0] for passage in passages]
        return [None]
    return values


def _forward(target: HuggingFaceTarget, tensors: dict[str, torch.Tensor]) -> list[float | None]:
    options: dict[str, Any] = {"do_safety": True, "use_cache": False}
    if "logits_to_keep" in inspect.signature(target.inner.forward).parameters:
        options["logits_to_keep"] = 1
    output = target.model(**tensors, **options)
    labels: tuple[str, ...] = target.labels or ()
    logits = output.img_safety_logits.double()
    safe = labels.index(SAFE)
    others = [place for place in range(len(labels)) if place != safe]
    odds = (logits[:, others].logsumexp(dim=-1) - logits[:, safe]).tolist()
    valid = output.img_safety_valid.tolist()
    return [value if good and math.isfinite(value) else None for value, good in zip(odds, valid, strict=True)]
