"""A patch scales what it marks and nothing else, and leaves every weight as it found it, bit for bit."""

from __future__ import annotations

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from guard.tiny_families import FAMILIES, build, collate, samples
from holisafe.calibration.weight.layers import layers_like, layers_named, scaled
from holisafe.errors import InputError


def tower(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 24), nn.GELU(), nn.Linear(24, 8)).to(dtype)


def bits(model: nn.Module) -> dict[str, bytes]:
    """Every tensor's bytes, in memory order."""
    return {name: value.detach().flatten().view(torch.uint8).numpy().tobytes() for name, value in named(model)}


def named(model: nn.Module) -> list[tuple[str, Tensor]]:
    return [*model.named_parameters(), *model.named_buffers()]


MARKED = {"0": torch.tensor([0, 17, 383]), "2": torch.tensor([3, 100])}


@pytest.mark.parametrize("alpha", [-1.0, 0.0, 0.5, 0.3, 3.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_marked_weights_are_scaled_and_every_bit_comes_back(dtype: torch.dtype, alpha: float) -> None:
    model, stock = tower(dtype), tower(dtype)
    with torch.no_grad():
        for one in (model, stock):
            one[0].weight[0, 0], one[0].weight[1, 1] = -0.0, torch.finfo(dtype).tiny / 4  # what arithmetic would lose
    before = bits(model)
    with scaled(layers_named(model, {"0": (24, 16), "2": (8, 24)}), MARKED, alpha):
        for name, value in model.named_parameters():
            layer, _, kind = name.partition(".")
            expected = stock.get_parameter(name).detach().flatten().clone()
            if kind == "weight":
                expected[MARKED[layer]] *= alpha
            assert torch.equal(value.flatten(), expected), name
    assert bits(model) == before == bits(stock)


def test_an_exception_leaves_nothing_behind_and_patches_nest() -> None:
    model = tower()
    before, layers = bits(model), layers_like(model, ".")

    def stop() -> None:
        with scaled(layers, MARKED, 0), scaled(layers, MARKED, -1):
            assert bits(model) != before
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        stop()
    assert bits(model) == before
    beyond = {**MARKED, "2": torch.tensor([8 * 24])}
    with pytest.raises(IndexError), scaled(layers, beyond, 0):
        pass
    assert bits(model) == before, "the first layer was patched before the second one failed"


def test_weights_that_do_not_lie_row_by_row() -> None:
    model = tower()
    model[0].weight = nn.Parameter(torch.randn(16, 24).T)
    assert not model[0].weight.is_contiguous()
    before = model[0].weight.detach().clone()
    with scaled({"0": model[0]}, {"0": torch.tensor([17])}, -1):
        assert torch.equal(model[0].weight != before, (torch.arange(384) == 17).view(24, 16))
    assert torch.equal(model[0].weight, before)


@pytest.mark.parametrize("name", ["llava-clip", "qwen2_5_vl", "gemma3", "internvl"])
def test_alpha_one_changes_no_logit_and_alpha_zero_does(name: str) -> None:
    family = FAMILIES[name]
    model = build(family)
    batch = collate(family, samples(family, images=(1, 2, 1)))
    layers = layers_like(model, r"vis.*(fc2|mlp\.down_proj)$|language.*down_proj$")
    marked = {name: torch.arange(0, layer.weight.numel(), 3) for name, layer in layers.items()}
    before = bits(model)

    def logits() -> Tensor:
        with torch.no_grad():
            found: Tensor = model(**batch).logits
        return found

    stock = logits()
    with scaled(layers, marked, 1.0):
        assert torch.equal(logits(), stock)
    with scaled(layers, marked, 0.0):
        assert not torch.allclose(logits(), stock)
    assert torch.equal(logits(), stock)
    assert bits(model) == before


def test_layers_are_found_by_name_in_the_models_order() -> None:
    model = tower()
    assert list(layers_like(model, r"\d")) == ["0", "2"]
    assert list(layers_like(model, "2$")) == ["2"]
    for pattern, words in (("(", "no regular expression"), ("1", "no linear layer"), ("x", "no linear layer")):
        with pytest.raises(InputError, match=words):
            layers_like(model, pattern)
    with pytest.raises(InputError, match="no linear layer 1"):
        layers_named(model, {"1": (24, 16)})
    with pytest.raises(InputError, match=r"0 has weights \[24, 16\], not \[16, 24\]"):
        layers_named(model, {"0": (16, 24)})


def test_layers_that_cannot_be_changed_are_refused_and_their_neighbours_not() -> None:
    tied = tower()
    tied.add_module("head", nn.Linear(24, 8))
    tied.head.weight = tied[2].weight
    with pytest.raises(InputError, match="2 shares its weights with head"):
        layers_like(tied, "2")
    assert list(layers_like(tied, "0")) == ["0"]

    quantised = tower()
    quantised[0].weight = nn.Parameter(torch.zeros(24, 16, dtype=torch.int8), requires_grad=False)
    with pytest.raises(InputError, match="0 is quantised"):
        layers_like(quantised, "0")
    with pytest.raises(InputError, match="not in memory"):
        layers_like(copy.deepcopy(tower()).to("meta"), "0")

    adapted = get_peft_model(tower(), LoraConfig(r=2, target_modules=["0"])).get_base_model()
    for pattern in ("0$", "base_layer", "lora_A"):
        with pytest.raises(InputError, match="0 carries an adapter"):
            layers_like(adapted, pattern)
    with pytest.raises(InputError, match="0 carries an adapter"):
        layers_named(adapted, {"0": (24, 16)})
    assert list(layers_like(adapted, "2")) == ["2"]
