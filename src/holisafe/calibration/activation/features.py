"""What a model, or its guard, makes of requests before it answers: one prefill a batch, nothing is generated.

None stands for a request that cannot be prepared or read: answering it will tell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...errors import InputError
from ...guard.families import text_decoder
from ...records import Request
from ...taxonomy import SAFE

if TYPE_CHECKING:
    from ...targets.huggingface import HuggingFaceTarget
    from ...targets.huggingface_inside import Prefill

Features = np.ndarray[Any, np.dtype[np.float32]]


def pooled_features(target: HuggingFaceTarget, requests: Sequence[Request]) -> list[Features | None]:
    """The text decoder's last hidden state (after its final norm), averaged over the prompt's image and text positions:
    one vector [H] a request, which does not depend on the others.

    Raises InputError for a model without a text decoder of its own.
    """
    decoder = text_decoder(target.inner)

    def read(prefill: Prefill) -> Features:
        kept: list[torch.Tensor] = []  # of this layer alone, where the model would keep every layer's
        with decoder.register_forward_hook(lambda _, __, output: kept.append(output[0])):
            target.forward(prefill)
        mask = prefill.tensors["attention_mask"].bool().to(kept[-1].device).unsqueeze(-1)
        total = torch.where(mask, kept[-1], 0).sum(dim=1, dtype=torch.float32)
        mean: Features = (total / mask.sum(dim=1)).cpu().numpy()
        return mean

    return target.each_or_none(requests, read)


def unsafe_log_odds(target: HuggingFaceTarget, requests: Sequence[Request]) -> list[float | None]:
    """log(P(unsafe) / P(safe)) of each request by the guard of `target`; None also where there is no image.

    Raises InputError when the model has no guard with a label `safe`.
    """
    if target.labels is None or SAFE not in target.labels:
        raise InputError(f"{target.name} has no guard with a label {SAFE!r}")
    safe = target.labels.index(SAFE)
    others = [place for place in range(len(target.labels)) if place != safe]

    def read(prefill: Prefill) -> list[float | None]:
        output = target.forward(prefill, do_safety="alone")
        logits = output.img_safety_logits.double()
        odds = (logits[:, others].logsumexp(dim=-1) - logits[:, safe]).tolist()
        valid = output.img_safety_valid.tolist()
        return [value if good and math.isfinite(value) else None for value, good in zip(odds, valid, strict=True)]

    return target.each_or_none(requests, read)
