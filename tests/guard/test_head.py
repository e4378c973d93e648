"""The head's size, layout and settings."""

from __future__ import annotations

import pytest
import torch

from holisafe.guard import SafetyHead
from holisafe.guard.head import of_sample


def test_published_size() -> None:
    with torch.device("meta"):
        head = SafetyHead(3584, 20)
    assert sum(parameter.numel() for parameter in head.parameters()) == 6_460_180
    assert list(head.state_dict()) == ["mlp.0.weight", "mlp.0.bias", "mlp.3.weight", "mlp.3.bias"]


@pytest.mark.parametrize(("layers", "scale"), [(1, 0.5), (2, 0.25), (3, 2.0)])
def test_depth_and_width(layers: int, scale: float) -> None:
    head, hidden, labels = SafetyHead(16, 5, scale, layers), 16, 5
    inner = int(hidden * scale)
    expected = (hidden + 1) * inner + (layers - 1) * (inner + 1) * inner + (inner + 1) * labels
    assert sum(parameter.numel() for parameter in head.parameters()) == expected
    assert head(torch.randn(3, hidden)).shape == (3, labels)


def test_takes_float32_features_into_bfloat16_weights() -> None:
    assert SafetyHead(16, 5).to(torch.bfloat16)(torch.randn(2, 16)).dtype == torch.bfloat16


def test_an_absent_image_is_never_the_worst() -> None:
    logits = torch.tensor([[[9.0, 0.0], [-9.0, 0.0]], [[-9.0, 0.0], [9.0, 0.0]]])  # the absent one looks unsafe
    valid = torch.tensor([[True, False], [False, True]])
    for verdict in ("worst", "mean"):
        found, chances = of_sample(logits, logits.softmax(-1), valid, verdict, safe=0)
        torch.testing.assert_close(chances, torch.tensor([9.0, 0.0]).softmax(-1).expand(2, 2))
        assert found.argmax(-1).tolist() == [0, 0]


def test_a_samples_verdict() -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 2, 4)
    probabilities, valid = logits.softmax(-1), torch.tensor([[True, True], [False, True], [False, False]])
    for verdict in ("worst", "mean"):
        found, chances = of_sample(logits, probabilities, valid, verdict, safe=1)
        torch.testing.assert_close(found.softmax(-1), chances)
        torch.testing.assert_close(chances[1], probabilities[1, 1])
        worst = probabilities[0, probabilities[0, :, 1].argmin()]
        torch.testing.assert_close(chances[0], worst if verdict == "worst" else probabilities[0].mean(0))
        assert chances.isfinite().all()
