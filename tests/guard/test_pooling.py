"""Pooling on its own: against loops, with NaN in the padding, in pieces."""

from __future__ import annotations

import pytest
import torch

from holisafe.guard.pooling import (
    image_mask,
    image_mask_from_embeddings,
    parts_of,
    pool,
    read,
    segments,
    segments_of_positions,
    split_at,
)

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


def test_sources_and_their_old_names() -> None:
    assert parts_of("hidden") == parts_of("last_hidden") == (("output", "image"),)
    assert parts_of("visual+token") == (("input", "image"), ("output", "token"))


def test_pieces_of_images_join() -> None:
    """Cut anywhere, also inside an image: the same images, each with the same mean."""
    ids = torch.tensor([[1, 9, 9, 4, 9, 9, 9, 5], [9, 1, 1, 9, 9, 1, 7, 7]])
    features, masks = torch.randn(2, 8, 4), {"image": ids == 9, "token": ids == 1, "text": ids < 8}
    parts = (*parts_of("last_hidden+token"), *parts_of("image_and_text")[1:])
    whole = read({"output": features}, masks, parts, per_image=True)  # type: ignore[arg-type]
    assert whole.features.shape == (2, 2, 12)
    torch.testing.assert_close(whole.features[0, 1, :4], features[0, 4:7].mean(0))
    torch.testing.assert_close(whole.features[1, 0, 4:8], features[1, 2])
    assert whole.valid.tolist() == [[False, False], [True, True]]  # row 0 has no token after an image
    for cut in range(1, 8):
        reading = None
        for piece in (slice(None, cut), slice(cut, None)):
            here = {kind: mask[:, piece] for kind, mask in masks.items()}
            reading = read({"output": features[:, piece]}, here, parts, per_image=True, before=reading)  # type: ignore[arg-type]
        assert reading is not None
        torch.testing.assert_close(reading.features, whole.features)
        assert torch.equal(reading.valid, whole.valid)


def test_segments() -> None:
    ids = torch.tensor([[0, 0, 1, 1, 1, -1], [5, 5, 5, 5, 6, 6]])
    spans = segments(ids)
    assert spans == [(0, slice(0, 2)), (0, slice(2, 5)), (1, slice(0, 4)), (1, slice(4, 6))]
    assert split_at(spans, ids).tolist() == [[0, 0, 0, 0], [1, 1, 1, 0], [5, 5, 5, 5], [6, 6, 0, 0]]
    positions = torch.tensor([[0, 1, 0, 1, 2, 0]])
    assert segments_of_positions(positions).tolist() == [[0, 0, 1, 1, 1, 2]]
