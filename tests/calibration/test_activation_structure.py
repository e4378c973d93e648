"""Layers and heads found by structure, against what a forward of the model itself calls."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from guard.tiny_configs import FAMILIES
from guard.tiny_families import build, collate, samples
from holisafe.calibration.activation.structure import heads, structure
from holisafe.errors import InputError

NAMES = ("llava-clip", "qwen2_5_vl", "gemma3", "internvl", "blip-2", "qwen3_vl_moe", "llama4", "fuyu", "aria")
HYBRID = {"qwen3_5": "Qwen3_5DecoderLayer", "lfm2_vl": "Lfm2DecoderLayer"}
"""Families with a first layer that has no attention."""


def called(model: Any, batch: dict[str, torch.Tensor], modules: list[nn.Module]) -> list[tuple[int, Any, Any]]:
    """The modules in the order a forward ends them: place, first input, output."""
    calls: list[tuple[int, Any, Any]] = []

    def keep(place: int) -> Any:
        return lambda module, args, output: calls.append((place, args[0] if args else None, output))

    handles = [module.register_forward_hook(keep(place)) for place, module in enumerate(modules)]
    with torch.no_grad():
        model(**batch)
    for handle in handles:
        handle.remove()
    return calls


@pytest.mark.parametrize("name", [*NAMES, *HYBRID])
def test_layers_pass_on_what_the_next_takes_and_projections_end_the_attention(name: str) -> None:
    model = build(FAMILIES[name])
    batch = collate(FAMILIES[name], samples(FAMILIES[name], (1, 1)), "left")
    found = structure(model)
    calls = called(model, batch, list(found.layers))
    assert [place for place, _, _ in calls] == [0, 1]
    states = [output if isinstance(output, torch.Tensor) else output[0] for _, _, output in calls]
    assert all(state.shape == (2, batch["input_ids"].shape[1], found.width) for state in states)

    if name in HYBRID:
        with pytest.raises(InputError, match=rf"layer 0 \({HYBRID[name]}\) has no attention.*layer-revision works"):
            heads(model)
        return
    each = heads(model)
    assert (each.number, each.size, len(each.projections)) == (4, 16, 2)
    for layer, projection in zip(found.layers, each.projections, strict=True):
        attention = next(one for one in layer.children() if projection in list(one.children()))
        inside = list(attention.modules())
        linear = [module for module in inside if isinstance(module, nn.Linear)]
        order = called(model, batch, linear)
        last, _, output = order[-1]
        assert linear[last] is projection, "the attention's last linear step is its output projection"
        (_, _, whole), *_ = called(model, batch, [attention])
        assert torch.equal(whole[0], output)


def test_an_adapted_projection_is_taken_whole() -> None:
    from peft import LoraConfig, get_peft_model

    model = build(FAMILIES["llava-clip"])
    get_peft_model(model, LoraConfig(target_modules=r".*language_model.*o_proj", r=2))
    projections = heads(model).projections
    assert all(hasattr(one, "lora_A") and (one.in_features, one.out_features) == (64, 64) for one in projections)


def test_a_model_without_a_list_of_layers_is_refused() -> None:
    model = build(FAMILIES["llava-clip"])
    model.config.text_config.num_hidden_layers = 5
    with pytest.raises(InputError, match="LlamaModel holds no list of 5 layers"):
        structure(model)


def test_heads_of_several_sizes_are_refused() -> None:
    model = build(FAMILIES["llava-clip"])
    structure(model).layers[1].self_attn.o_proj = nn.Linear(128, 64)
    with pytest.raises(InputError, match=r"heads of several sizes \(\[16, 32\]\)"):
        heads(model)
