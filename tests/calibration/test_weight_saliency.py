"""Scores of Unsafe Weights Manipulation against loops over pairs, rows and columns, and models of several families."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from guard.tiny_families import FAMILIES, Sample, build, collate, samples
from holisafe.calibration.weight.layers import layers_like
from holisafe.calibration.weight.saliency import Inputs, input_statistics, marked_weights, unsafe_scores
from holisafe.errors import InputError

LAYERS = {
    "llava-clip": r"vision.*fc2$|language.*(o_proj|down_proj)$",
    "qwen2_5_vl": r"visual.*down_proj$|language.*(o_proj|down_proj)$",
    "gemma3": r"vision.*fc2$|language.*(o_proj|down_proj)$",
    "internvl": r"vision.*fc2$|language.*(o_proj|down_proj)$",
}
"""Family -> the layers to look at."""


def statistics(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """n_j and d_j of tokens [tokens, in]."""
    deviations = rows.std(axis=0, ddof=1) if len(rows) > 1 else np.zeros(rows.shape[1])
    return np.linalg.norm(rows, axis=0), deviations


def score_by_loop(weight: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Equations 8 and 9, entry by entry."""
    n, d = statistics(rows)
    out, size = weight.shape
    s = [[abs(weight[i, j]) * n[j] for j in range(size)] for i in range(out)]
    a = [sum(s[i][j] for i in range(out)) / out for j in range(size)]
    b = [sum(s[i][j] for j in range(size)) / size for i in range(out)]
    return np.array([[b[i] * a[j] / (d[j] + 1e-8) for j in range(size)] for i in range(out)])


def final_by_loop(weight: np.ndarray, pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Equation 10: the mean over (safe, unsafe) pairs, a pair without a safe score adding nothing."""
    total = np.zeros(weight.shape)
    for safe, unsafe in pairs:
        below, above = score_by_loop(weight, safe), score_by_loop(weight, unsafe)
        for i, j in np.ndindex(weight.shape):
            total[i, j] += above[i, j] / below[i, j] if below[i, j] > 0 else 0
    return total / len(pairs)


def inputs_of(rows: Sequence[np.ndarray]) -> Inputs:
    found = [statistics(one) for one in rows]
    return Inputs(*(torch.from_numpy(np.stack(side)) for side in zip(*found, strict=True)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scores_are_those_of_the_equations(dtype: torch.dtype) -> None:
    draw = np.random.default_rng(0)
    weight = torch.from_numpy(draw.normal(size=(4, 6))).to(dtype)
    pairs = [(draw.normal(size=(5 + k, 6)) * (1 + k), draw.normal(size=(3 + k, 6))) for k in range(4)]
    pairs[0][0][:, 2] = 0  # silent in the safe sample
    pairs[1][1][:, 3] = 0  # silent in the unsafe one
    pairs[2][1][:, 4] = 7  # the same in every token
    weight[1] = 0  # a row that says nothing
    safe, unsafe = inputs_of([pair[0] for pair in pairs]), inputs_of([pair[1] for pair in pairs])
    expected = final_by_loop(weight.double().numpy(), pairs)
    assert unsafe_scores(weight, safe, unsafe).numpy() == pytest.approx(expected, rel=1e-10)
    assert np.ptp(expected[0]) > 1
    times = expected * weight.double().abs().numpy()
    assert unsafe_scores(weight, safe, unsafe, times_weight=True).numpy() == pytest.approx(times, rel=1e-10)


@pytest.mark.parametrize("tau", [0.0, 0.4, 0.9, 0.98])
def test_marked_are_those_where_the_sorted_sum_passes_tau(tau: float) -> None:
    scores = np.random.default_rng(1).gamma(0.5, size=(30, 20))
    order = sorted(range(600), key=lambda at: scores.flat[at])
    reached, expected = 0.0, []
    for at in order:
        reached += scores.flat[at] / scores.sum()
        if reached > tau:
            expected.append(at)
    assert marked_weights(torch.from_numpy(scores), tau).tolist() == sorted(expected)
    assert 0 < len(expected) <= 600


def test_marked_by_hand_and_without_any_score() -> None:
    scores = torch.tensor([[4.0, 1.0], [3.0, 2.0]])  # sums ascending: 0.1, 0.3, 0.6, 1.0
    assert marked_weights(scores, 0.5).tolist() == [0, 2]
    assert marked_weights(scores, 0.7).tolist() == [0]
    assert marked_weights(torch.zeros(2, 2), 0.5).tolist() == []


class Twice(nn.Module):
    """A tower whose layer sees [tokens, in] and then [tiles, tokens, in], and a decoder layer [B, S, in]."""

    def __init__(self) -> None:
        super().__init__()
        self.tower, self.text, self.idle = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, packed: Tensor, tiles: Tensor, states: Tensor, attention_mask: Tensor, use_cache: bool) -> None:
        self.tower(packed)
        self.tower(tiles)
        self.text(states)


def test_a_layer_called_again_and_padding_and_inputs_that_stay_the_same() -> None:
    torch.manual_seed(0)
    model, mask = Twice(), torch.tensor([[0, 0, 1, 1, 1]])
    packed, tiles, states = torch.randn(4, 3), torch.randn(2, 3, 3), torch.randn(1, 5, 3)
    packed[:, 1] = tiles[..., 1] = 1e4  # constant: its deviation must be 0, not what rounding leaves of it
    one = {"packed": packed, "tiles": tiles, "states": states, "attention_mask": mask}
    found = input_statistics(model, {"tower": model.tower, "text": model.text}, [one, one])
    seen = {"tower": torch.cat([packed, tiles.reshape(-1, 3)]), "text": states[0, 2:]}
    for name, rows in seen.items():
        norms, deviations = statistics(rows.double().numpy())
        for row in (0, 1):
            assert found[name].norms[row].numpy() == pytest.approx(norms)
            assert found[name].deviations[row].numpy() == pytest.approx(deviations)
    assert found["tower"].deviations[0, 1] == 0
    assert not model.tower._forward_pre_hooks
    with pytest.raises(InputError, match="idle is not called"):
        input_statistics(model, {"idle": model.idle}, [one])


def heard(model: nn.Module, layers: dict[str, nn.Linear], batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inputs of each layer in one forward of a batch."""
    seen: dict[str, Tensor] = {}
    hooks = [
        layer.register_forward_hook(lambda _, given, __, name=name: seen.__setitem__(name, given[0]))
        for name, layer in layers.items()
    ]
    with torch.no_grad():
        model(**batch)
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize("name", LAYERS)
def test_families_one_by_one_as_in_a_padded_batch(name: str) -> None:
    family = FAMILIES[name]
    model = build(family)
    layers = layers_like(model, LAYERS[name])
    rows = samples(family, images=(1, 2, 1, 1, 2, 1, 1, 1))
    assert len(layers) >= 4
    assert len({len(row.ids) for row in rows}) > 4
    alone = input_statistics(model, layers, [collate(family, [row]) for row in rows])
    padded = input_statistics(model, layers, [widened(collate(family, [row])) for row in rows])
    batch = collate(family, rows, side="left")
    seen = heard(model, layers, batch)
    for layer, inputs in alone.items():
        assert padded[layer].norms.numpy() == pytest.approx(inputs.norms.numpy(), rel=2e-4)
        if seen[layer].shape[:2] == batch["input_ids"].shape:
            for row, tokens in enumerate(seen[layer]):
                norms, deviations = statistics(tokens[batch["attention_mask"][row].bool()].double().numpy())
                assert inputs.norms[row].numpy() == pytest.approx(norms, rel=2e-4)
                assert inputs.deviations[row].numpy() == pytest.approx(deviations, rel=2e-4, abs=1e-5)
        else:
            assert "vis" in layer
            together = seen[layer].double().reshape(-1, seen[layer].shape[-1]).square().sum(0)
            assert inputs.norms.square().sum(0).numpy() == pytest.approx(together.numpy(), rel=2e-4), "every token once"
    for part in ("vis", "language"):
        assert any(part in layer for layer in layers)


def widened(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The conversation with five pad tokens on its left."""
    fill = {"input_ids": 0, "attention_mask": 0, "token_type_ids": 0, "mm_token_type_ids": 0}
    return {k: nn.functional.pad(v, (5, 0), value=fill[k]) if k in fill else v for k, v in batch.items()}


def test_two_images_of_a_sample_are_that_samples_tokens() -> None:
    family: Any = FAMILIES["qwen2_5_vl"]
    model = build(family)
    layers = layers_like(model, r"visual.*down_proj$")
    both = samples(family, images=(2,))[0]
    apart = [Sample(both.ids, [image]) for image in both.images]
    one = input_statistics(model, layers, [collate(family, [both])])
    seen = [heard(model.model.visual, layers, pixels_of(collate(family, [row]))) for row in apart]
    for name, inputs in one.items():
        rows = torch.cat([part[name] for part in seen])
        norms, _ = statistics(rows.double().numpy())
        assert inputs.norms[0].numpy() == pytest.approx(norms, rel=1e-4)


def pixels_of(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return {"hidden_states": batch["pixel_values"], "grid_thw": batch["image_grid_thw"]}
