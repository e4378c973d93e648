"""The guard computed another way: each sample alone and unpadded through the stock model's public outputs, its image
positions picked one by one, the head written out. Nothing of holisafe is called."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from .tiny_families import IMAGE, Family, Sample, collate


def features(stock: PreTrainedModel, family: Family, sample: Sample, pool: str) -> list[Tensor]:
    """One vector [H] for every image position of a sample."""
    batch = collate(family, [sample])
    output = stock(**batch, output_hidden_states=True)
    if pool == "visual":
        visual = output.image_hidden_states
        return list(visual.reshape(-1, visual.shape[-1]))
    language = output.get("language_model_outputs", output)  # BLIP-2 wraps its language model's output
    return [language.hidden_states[-1][0, place] for place, token in enumerate(sample.ids) if token == IMAGE]


def logits(stock: PreTrainedModel, family: Family, head: nn.Module, rows: Sequence[Sample], pool: str) -> list[Tensor]:
    """The guard's logits [K] of every sample that has an image."""
    weights = dict(head.named_parameters())
    found = []
    for sample in rows:
        if sample.images:
            vectors = features(stock, family, sample, pool)
            mean = sum(vectors[1:], start=vectors[0]) / len(vectors)
            inner = F.gelu(weights["mlp.0.weight"] @ mean + weights["mlp.0.bias"])
            found.append(weights["mlp.3.weight"] @ inner + weights["mlp.3.bias"])
    return found


def cross_entropy(logits: Sequence[Tensor], labels: Sequence[int]) -> Tensor:
    """Mean over samples of -log softmax(logits)[label]."""
    losses = [-(row - row.logsumexp(0))[label] for row, label in zip(logits, labels, strict=True)]
    return torch.stack(losses).mean()
