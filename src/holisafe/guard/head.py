"""The classifier on top, HoliSafe's Visual Guard Module (arXiv 2506.04704, v5), and its loss: cross-entropy over the
samples that have an image and a label."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEAD = "img_safety_head"
"""Name of the head inside its model, as in the published checkpoints."""


class SafetyHead(nn.Module):
    """Pooled features [..., H] -> one logit a label [..., K]. H is the decoder's hidden size, times the number of
    parts where several are concatenated.

        [ Linear(H, rH) -> GELU -> Dropout ] x hidden_layers -> Linear(rH, K)

    r is `hidden_scale`; the second and later hidden layers are Linear(rH, rH). With one hidden layer the weights are
    `mlp.0` and `mlp.3`, the published layout.
    """

    def __init__(
        self, hidden_size: int, labels: int, hidden_scale: float = 0.5, hidden_layers: int = 1, dropout: float = 0.1
    ) -> None:
        super().__init__()
        width, inner = hidden_size, int(hidden_size * hidden_scale)
        layers: list[nn.Module] = []
        for _ in range(hidden_layers):
            layers += [nn.Linear(width, inner), nn.GELU(), nn.Dropout(dropout)]
            width = inner
        self.mlp = nn.Sequential(*layers, nn.Linear(width, labels))

    def forward(self, features: Tensor) -> Tensor:
        # The features come in float32; under PEFT the trained copy may have another dtype than the rest of the model.
        weight = cast(Tensor, self.mlp[0].weight)
        logits: Tensor = self.mlp(features.to(weight.device, weight.dtype))
        return logits


def of_sample(logits: Tensor, probabilities: Tensor, valid: Tensor, verdict: str, safe: int) -> tuple[Tensor, Tensor]:
    """A sample's logits and probabilities [B, K] out of its images' [B, M, K], of which valid [B, M] count.

    "worst": those of the image with the lowest probability of the label `safe`; "mean": the mean probabilities.
    """
    if verdict == "worst":
        unsafe = (1 - probabilities[..., safe]).masked_fill(~valid, -1)
        worst = unsafe.argmax(dim=1)  # [B, M] -> [B]
        rows = torch.arange(len(logits), device=logits.device)
        return logits[rows, worst], probabilities[rows, worst]  # [B, M, K] -> [B, K]
    weights = valid.float() / valid.sum(dim=1, keepdim=True).clamp(min=1)
    mean = (probabilities * weights.unsqueeze(-1)).sum(dim=1)  # [B, M, K] x [B, M, 1] -> [B, K]
    mean = torch.where(valid.any(dim=1, keepdim=True), mean, 1 / logits.shape[-1])
    return mean.clamp(min=torch.finfo(mean.dtype).tiny).log().to(logits.dtype), mean


IGNORED = -100
"""The id of a sample, or a token, that has nothing to learn."""


def guard_loss(logits: Tensor, valid: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """logits [B, K], valid [B], labels [B] ids or -100, weights [K] of the labels, None: alike -> the mean, a number.

    Divided by the number of samples that count, not by the sum of their weights: in a micro-batch of one a weight would
    cancel out. 0, with a gradient of 0, where no sample counts. Raises ValueError unless every sample has an id.
    """
    if labels.shape != logits.shape[:1]:
        raise ValueError(f"safety_labels must have one id a sample, {len(logits)} in all, not {tuple(labels.shape)}")
    labels = torch.where(valid, labels.to(logits.device), IGNORED)
    weights = None if weights is None else weights.to(logits.device)
    total = F.cross_entropy(logits.float(), labels, weight=weights, ignore_index=IGNORED, reduction="sum")
    return total / (labels != IGNORED).sum().clamp(min=1)
