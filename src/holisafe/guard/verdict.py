"""What a guard says of what was read: its head over the pooled features, image by image where it reads them apart.

Letters in shapes: B samples, H the decoder's width, P parts that are pooled, M images of a sample at most, K labels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .. import taxonomy
from .head import of_sample
from .outputs import safety_fields
from .reading import Reading


def classified(head: nn.Module, reading: Reading, config: Any) -> dict[str, Tensor]:
    """The fields of Safety: one row a sample; with unit "image" a row an image beside it, and the sample's is made of
    them. `config` is the guarded model's."""
    if config.safety_unit == "sample":
        features, valid = reading.image(0)  # [B, P * H], [B]
        logits = head(features)  # [B, K]
        return safety_fields(logits, logits.float().softmax(dim=-1), valid.to(logits.device))
    images = [reading.image(number) for number in range(reading.images)]
    logits = head(torch.stack([features for features, _ in images], dim=1))  # [B, M, P * H] -> [B, M, K]
    valid = torch.stack([valid for _, valid in images], dim=1).to(logits.device)  # [B, M]
    probabilities = logits.float().softmax(dim=-1)
    labels = list(config.safety_categories)
    safe = labels.index(taxonomy.SAFE) if taxonomy.SAFE in labels else 0
    sample = of_sample(logits, probabilities, valid, config.safety_verdict, safe)  # [B, K] twice
    return safety_fields(*sample, valid.any(dim=1), logits, probabilities, valid)
