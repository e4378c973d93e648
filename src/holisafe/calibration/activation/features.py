"""What a model makes of requests before it answers: one vector each, by which requests can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...errors import InputError
from ...guard.families import text_decoder
from ...guard.quiet import quiet
from ...records import Request

if TYPE_CHECKING:
    from ...targets.huggingface import HuggingFaceTarget
    from ...targets.huggingface_inside import Passage

Features = np.ndarray[Any, np.dtype[np.float32]]


def pooled_features(target: HuggingFaceTarget, requests: Sequence[Request]) -> list[Features | None]:
    """The text decoder's last hidden state (after its final norm), averaged over the prompt's image and text positions.

    Returns one vector [H] a request, which does not depend on the others; None where the request cannot be prepared or
    read: answering it will tell. Raises InputError for a model without a text decoder of its own.
    """
    text_decoder(target.inner)
    places, passages = list[int](), list["Passage"]()
    for place, request in enumerate(requests):
        try:
            passages.append(target.passage(request))
        except (InputError, ValueError, OSError):
            continue
        places.append(place)
    found: list[Features | None] = [None] * len(requests)
    with quiet(), torch.inference_mode():
        for place, vector in zip(places, _read(target, passages), strict=True):
            found[place] = vector
    return found


def _read(target: HuggingFaceTarget, passages: Sequence[Passage]) -> list[Features | None]:
    """What fails together is read again one by one, so that one image harms no other."""
    vectors: list[Features | None] = [None] * len(passages)
    try:
        for prefill in target.prefills(passages):
            for place, vector in zip(prefill.places, _forward(target, prefill.tensors), strict=True):
                vectors[place] = vector
    except (InputError, ValueError, RuntimeError, OSError):
        if len(passages) > 1:
            return [_read(target, [passage])[0] for passage in passages]
        return [None]
    return vectors


def _forward(target: HuggingFaceTarget, tensors: dict[str, torch.Tensor]) -> Features:
    """Vectors [B, H] of one batch. A hook takes the last hidden state, so that no other layer's is kept."""
    kept: list[torch.Tensor] = []

    def keep(module: Any, given: Any, output: Any) -> None:
        kept.append(output[0])

    hook = text_decoder(target.inner).register_forward_hook(keep)
    try:
        target.model(**tensors, use_cache=False)
    finally:
        hook.remove()
    mask = tensors["attention_mask"].bool().to(kept[-1].device).unsqueeze(-1)
    total = torch.where(mask, kept[-1], 0).sum(dim=1, dtype=torch.float32)
    mean: Features = (total / mask.sum(dim=1)).cpu().numpy()
    return mean
