"""Pooling on its own: against loops, with NaN in the padding, in pieces."""

from __future__ import annotations

import pytest
import torch

from holisafe.guard.pooling import image_mask, image_mask_from_embeddings, pool

IDS = torch.tensor([[0, 1, 9, 9, 5], [1, 9, 4, 8, 9], [1, 2, 3, 4, 5], [1, 2, 9, 4, 5]])


def test_mean_over_image_positions() -> None:
    features = torch.randn(4, 5, 4)
    pooled = pool(features, image_mask(IDS, [8, 9]))
    assert pooled.count.tolist() == [2, 3, 0, 1]
    assert pooled.valid.tolist() == [True, True, False, True]
    for row in (0, 1, 3):
        chosen = [features[row, place] for place in range(5) if IDS[row, place] in (8, 9)]
        torch.testing.assert_close(pooled.mean[row], sum(chosen[1:], start=chosen[0]) / len(chosen))
    assert pooled.mean[2].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_other_positions_may_hold_anything(poison: float) -> None:
    features, mask = torch.randn(4, 5, 4), image_mask(IDS, [8, 9])
    clean = pool(features, mask).mean
    poisoned = torch.where(mask.unsqueeze(-1), features, poison).requires_grad_()
    pooled = pool(poisoned, mask).mean
    assert torch.equal(pooled, clean)
    pooled.sum().backward()
    assert poisoned.grad is not None
    assert poisoned.grad.isfinite().all()
    assert (poisoned.grad[~mask] == 0).all()


def test_bfloat16_is_summed_in_float32() -> None:
    features = torch.full((1, 4097, 1), 1.0, dtype=torch.bfloat16)
    assert pool(features, torch.ones(1, 4097, dtype=torch.bool)).total.item() == 4097


def test_pieces_add_up() -> None:
    features, mask = torch.randn(4, 5, 4), image_mask(IDS, [8, 9])
    halves = pool(features[:, :2], mask[:, :2]) + pool(features[:, 2:], mask[:, 2:])
    torch.testing.assert_close(halves.mean, pool(features, mask).mean)


def test_mask_from_embeddings() -> None:
    embedding = torch.nn.Embedding(10, 4)
    assert torch.equal(image_mask_from_embeddings(embedding(IDS), embedding, [8, 9]), image_mask(IDS, [8, 9]))
