"""Class balance: the weights, and the loss they make."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from sklearn.utils.class_weight import compute_class_weight

from holisafe.guard.head import guard_loss
from holisafe.tuning.balance import inverse_frequency

LABELS = [0] * 70 + [1] * 20 + [3] * 10


def test_weights_are_the_balanced_ones_of_scikit_learn() -> None:
    found = inverse_frequency([*LABELS, -100, -100], 5, cap=100.0)
    expected = compute_class_weight("balanced", classes=torch.tensor([0, 1, 3]).numpy(), y=LABELS)
    assert found[[0, 1, 3]].tolist() == pytest.approx(expected.tolist())
    assert found[[2, 4]].tolist() == [1.0, 1.0]


def test_a_cap_holds_before_scaling_and_the_mean_over_the_data_is_one() -> None:
    found = inverse_frequency(LABELS, 5, cap=2.0)
    assert float(found[LABELS].mean()) == pytest.approx(1.0)
    assert float(found[3] / found[0]) == pytest.approx(2.0 / (100 / (3 * 70)))
    assert inverse_frequency([-100], 3, cap=2.0).tolist() == [1.0, 1.0, 1.0]


def test_the_loss_is_the_weighted_mean_over_labelled_images() -> None:
    torch.manual_seed(0)
    logits, weights = torch.randn(5, 4, requires_grad=True), torch.tensor([1.0, 3.0, 0.5, 2.0])
    labels, valid = torch.tensor([1, 0, -100, 3, 2]), torch.tensor([True, True, True, True, False])
    found = guard_loss(logits, valid, labels, weights)
    each = [weights[labels[k]] * F.cross_entropy(logits[k], labels[k]) for k in (0, 1, 3)]
    assert float(found.detach()) == pytest.approx(float((sum(each) / 3).detach()), rel=1e-6)
    nothing = guard_loss(logits, torch.zeros(5, dtype=torch.bool), labels, weights)
    nothing.backward()
    assert float(nothing.detach()) == 0
    assert not logits.grad.any()
    single = guard_loss(logits[:1], valid[:1], labels[:1], weights)
    assert float(single.detach()) == pytest.approx(float((3 * F.cross_entropy(logits[:1], labels[:1])).detach())), (
        "not cancelled"
    )
