"""Pooling on its own: against loops, with NaN in the padding, in pieces."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from holisafe.guard.calls import segment_spans, segments_of_positions, split_at
from holisafe.guard.pooling import Part, Positions, image_mask, image_mask_from_embeddings, parts_of, places, pool
from holisafe.guard.reading import Reader, Reading

IDS = torch.tensor([[0, 1, 9, 9, 5], [1, 9, 4, 8, 9], [1, 2, 3, 4, 5], [1, 2, 9, 4, 5]])


def test_mean_over_image_positions() -> None:
    features = torch.randn(4, 5, 4)
    pooled = pool(features, places(image_mask(IDS, [8, 9])))
    assert pooled.count.tolist() == [2, 3, 0, 1]
    assert pooled.valid.tolist() == [True, True, False, True]
    for row in (0, 1, 3):
        chosen = [features[row, place] for place in range(5) if IDS[row, place] in (8, 9)]
        torch.testing.assert_close(pooled.mean[row], sum(chosen[1:], start=chosen[0]) / len(chosen))
    assert pooled.mean[2].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_other_positions_may_hold_anything(poison: float) -> None:
    features, mask = torch.randn(4, 5, 4), image_mask(IDS, [8, 9])
    clean = pool(features, places(mask)).mean
    poisoned = torch.where(mask.unsqueeze(-1), features, poison).requires_grad_()
    pooled = pool(poisoned, places(mask)).mean
    assert torch.equal(pooled, clean)
    pooled.sum().backward()
    assert poisoned.grad is not None
    assert poisoned.grad.isfinite().all()
    assert (poisoned.grad[~mask] == 0).all()


def test_bfloat16_is_summed_in_float32() -> None:
    features = torch.full((1, 4097, 1), 1.0, dtype=torch.bfloat16)
    assert pool(features, places(torch.ones(1, 4097, dtype=torch.bool))).total.item() == 4097


def test_bfloat16_is_summed_in_float32_in_a_ragged_batch_too() -> None:
    features, mask = torch.full((2, 4097, 1), 1.0, dtype=torch.bfloat16), torch.ones(2, 4097, dtype=torch.bool)
    mask[1, 4000:] = False
    pooled = pool(features, places(mask))
    assert pooled.total.flatten().tolist() == [4097, 4000]
    assert pooled.total.dtype == torch.float32


def test_pieces_add_up() -> None:
    features, mask = torch.randn(4, 5, 4), image_mask(IDS, [8, 9])
    halves = pool(features[:, :2], places(mask[:, :2])) + pool(features[:, 2:], places(mask[:, 2:]))
    torch.testing.assert_close(halves.mean, pool(features, places(mask)).mean)


def test_mask_from_embeddings() -> None:
    embedding = torch.nn.Embedding(10, 4)
    assert torch.equal(image_mask_from_embeddings(embedding(IDS), embedding, [8, 9]), image_mask(IDS, [8, 9]))


def test_sources_and_their_old_names() -> None:
    assert parts_of("hidden") == parts_of("last_hidden") == (("output", "image"),)
    assert parts_of("visual+token") == (("input", "image"), ("output", "token"))


def read(features: Tensor, masks: dict[Positions, Tensor], parts: tuple[Part, ...], before: Reading | None) -> Reading:
    reader = Reader(features.shape[:2], masks, parts, per_image=True, before=before)
    reader.take("output", features)
    return reader.reading()


def images_of(reading: Reading) -> tuple[Tensor, Tensor]:
    """[B, M, P * H] and [B, M]."""
    features, valid = zip(*[reading.image(number) for number in range(reading.images)], strict=True)
    return torch.stack(features, dim=1), torch.stack(valid, dim=1)


def test_pieces_of_images_join() -> None:
    """Cut anywhere, also inside an image: the same images, each with the same mean."""
    ids = torch.tensor([[1, 9, 9, 4, 9, 9, 9, 5], [9, 1, 1, 9, 9, 1, 7, 7]])
    features = torch.randn(2, 8, 4)
    masks: dict[Positions, Tensor] = {"image": ids == 9, "token": ids == 1, "text": ids < 8}
    parts = (*parts_of("last_hidden+token"), *parts_of("image_and_text")[1:])
    means, valid = images_of(read(features, masks, parts, None))
    assert means.shape == (2, 2, 12)
    torch.testing.assert_close(means[0, 1, :4], features[0, 4:7].mean(0))
    torch.testing.assert_close(means[1, 0, 4:8], features[1, 2])
    assert valid.tolist() == [[False, False], [True, True]]  # row 0 has no token after an image
    for cut in range(1, 8):
        reading = None
        for piece in (slice(None, cut), slice(cut, None)):
            here = {kind: mask[:, piece] for kind, mask in masks.items()}
            reading = read(features[:, piece], here, parts, reading)
        assert reading is not None
        here_means, here_valid = images_of(reading)
        torch.testing.assert_close(here_means, means)
        assert torch.equal(here_valid, valid)


def test_rows_cut_out_of_a_batch() -> None:
    """Two conversations of 3 and 2 in each row: pooled where they stand."""
    features, mask = torch.randn(2, 5, 4), torch.tensor([[0, 1, 1, 0, 1], [1, 0, 0, 0, 0]]).bool()
    spans = segment_spans(torch.tensor([[0, 0, 0, 1, 1], [4, 4, 4, 2, 2]]))
    numbers = split_at(spans, torch.arange(10).view(2, 5))
    pooled = pool(features, places(split_at(spans, mask), numbers))
    assert pooled.count.tolist() == [2, 1, 1, 0]
    expected = [features[0, 1] + features[0, 2], features[0, 4], features[1, 0], torch.zeros(4)]
    torch.testing.assert_close(pooled.total, torch.stack(expected))


def test_segments() -> None:
    ids = torch.tensor([[0, 0, 1, 1, 1, -1], [5, 5, 5, 5, 6, 6]])
    spans = segment_spans(ids)
    assert spans == [(0, slice(0, 2)), (0, slice(2, 5)), (1, slice(0, 4)), (1, slice(4, 6))]
    assert split_at(spans, ids).tolist() == [[0, 0, 0, 0], [1, 1, 1, 0], [5, 5, 5, 5], [6, 6, 0, 0]]
    positions = torch.tensor([[0, 1, 0, 1, 2, 0]])
    assert segments_of_positions(positions).tolist() == [[0, 0, 1, 1, 1, 2]]
