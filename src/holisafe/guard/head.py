"""The classifier on top: HoliSafe's Visual Guard Module (arXiv 2506.04704, v5)."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

HEAD = "img_safety_head"
"""Name of the head inside its model, as in the published checkpoints."""


class SafetyHead(nn.Module):
    """Pooled visual features [B, H] -> one logit a label [B, K].

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
