"""`shieldgemma2/ID`: ShieldGemma 2 (arXiv 2504.01081), which answers Yes or No to each policy in one prefill.

For every image and policy transformers' class gives P(Yes) and P(No), in this order; Yes means that the image violates
the policy. An image is unsafe when it violates any: its score is the largest P(Yes), the threshold one half.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL.Image import Image

from ...errors import InputError
from ...taxonomy import SAFE
from ..conversation import placed
from ..errors import one_line
from ..folders import check_weights, locate, require_config
from ..processors import load_processor
from ..quiet import quiet
from . import Opinion

LABELS = {"sexual": "sexual_content"}
"""Policies that mean the same as one of our labels; `dangerous` and `violence` are wider or narrower."""

NOTE = (
    "ShieldGemma 2 knows three policies (dangerous, sexual, violence): other labels are outside what it was made for."
)


@dataclass
class ShieldGemma2:
    """The model with its processor."""

    name: str
    model: Any
    processor: Any
    note: str = NOTE

    def read(self, images: Sequence[Image]) -> list[Opinion]:
        policies = list(self.processor.policy_definitions)
        with one_line("the model's processor", "cannot take an image"):
            inputs = self.processor(images=list(images), return_tensors="pt")
        with torch.inference_mode():
            yes = (
                self.model(**placed(inputs, self.model)).probabilities[:, 0].float().reshape(len(images), len(policies))
            )
        return [_opinion(dict(zip(policies, row, strict=True))) for row in yes.tolist()]


def _opinion(violated: dict[str, float]) -> Opinion:
    worst = max(violated, key=lambda policy: violated[policy])
    score = violated[worst]
    if not 0 <= score <= 1:
        return Opinion(unsafe=None, invalid="no number")
    if score <= 0.5:
        return Opinion(unsafe=False, score=score, label=SAFE)
    return Opinion(unsafe=True, score=score, category=worst, label=LABELS.get(worst))


def load(name: str, device: str | None) -> ShieldGemma2:
    """Raises InputError when the folder or hub id holds no ShieldGemma 2, or not all of its weights."""
    from transformers import AutoConfig, ShieldGemma2ForImageClassification

    source = locate(name)
    check_weights(source, "model", "config.json")
    require_config(source)
    with quiet(), one_line(source):
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
        if config.model_type != "shieldgemma2":
            raise InputError(f"holds a {config.model_type} model, no ShieldGemma 2", where=source)
        processor = load_processor(source)
        loaded: Any = ShieldGemma2ForImageClassification.from_pretrained(
            source,
            dtype=torch.float32 if not torch.cuda.is_available() else "auto",
            use_safetensors=True,
            output_loading_info=True,
        )
    model, found = loaded
    if found["missing_keys"]:
        raise InputError(f"weights are missing: {sorted(found['missing_keys'])[0]}", where=source)
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return ShieldGemma2(f"shieldgemma2/{name}", model.to(place).eval(), processor)
