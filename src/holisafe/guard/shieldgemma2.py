"""ShieldGemma 2's own class (arXiv 2504.01081): P(Yes) for every image and policy, from one prefill each.

transformers' note on the class calls column 1 the violation; by its code column 0 is P(Yes), which is what is used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL.Image import Image

from ..errors import InputError
from .conversation import placed
from .errors import one_line
from .folders import check_weights, locate, require_config
from .processors import load_processor
from .quiet import quiet


@dataclass
class ShieldGemma2:
    """The model with its processor. `policies` are names with what an image must not hold."""

    model: Any
    processor: Any
    policies: Mapping[str, str]

    def violations(self, images: Sequence[Image]) -> list[dict[str, float]]:
        """For each image (RGB), policy -> P(Yes), Yes being that the image violates it."""
        with one_line("the model's processor", "cannot take an image"):
            inputs = self.processor(
                images=list(images), policies=list(self.policies), custom_policies=dict(self.policies),
                return_tensors="pt",
            )  # fmt: skip
        with torch.inference_mode():
            yes = self.model(**placed(inputs, self.model)).probabilities[:, 0].float()
        rows = yes.reshape(len(images), len(self.policies)).tolist()
        return [dict(zip(self.policies, row, strict=True)) for row in rows]


def load_shieldgemma2(name: str, device: str | None, policies: Mapping[str, str] | None = None) -> ShieldGemma2:
    """With the processor's policies where none are given. Raises InputError when the folder or hub id holds no
    ShieldGemma 2, or not all of its weights."""
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
    return ShieldGemma2(model.to(place).eval(), processor, policies or processor.policy_definitions)
