"""Which weights train under which recipe."""

from __future__ import annotations

from pathlib import Path

import pytest

import tiny_models
from holisafe.errors import InputError
from holisafe.guard import attach_guard, load_model
from holisafe.tuning.parts import part_of, set_trainable
from holisafe.tuning.recipe import Recipe

PREFIXES = {
    "llava": {"model.vision_tower": "vision", "model.multi_modal_projector": "projector"},
    "gemma3": {"model.vision_tower": "vision", "model.multi_modal_projector": "projector"},
    "idefics3": {"model.vision_model": "vision", "model.connector": "projector", "model.text_model": "language"},
    "qwen2_5_vl": {"model.visual": "vision"},
}


@pytest.mark.parametrize("family", sorted(tiny_models.FAMILIES))
def test_every_weight_belongs_where_its_name_says(tmp_path: Path, family: str) -> None:
    prefixes = PREFIXES[family] | {
        "img_safety_head": "guard",
        "model.language_model": "language",
        "lm_head": "language",
    }
    model = attach_guard(load_model(tiny_models.FAMILIES[family](tmp_path / family)))
    parts = part_of(model)
    assert parts.keys() == dict(model.named_parameters()).keys()
    for name, part in parts.items():
        assert part == next(value for prefix, value in prefixes.items() if name.startswith(prefix)), name


def trained(recipe: Recipe, folder: Path, guard: bool = True) -> set[str]:
    model = load_model(folder)
    model = set_trainable(attach_guard(model) if guard else model, recipe)
    names = {name.removeprefix("base_model.model.") for name, p in model.named_parameters() if p.requires_grad}
    return {".".join(name.removeprefix("model.").split(".")[:1]) for name in names} | {
        "lora" for name in names if "lora_" in name
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.llava(tmp_path_factory.mktemp("m") / "llava")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ([], {"language_model", "lm_head", "multi_modal_projector", "img_safety_head"}),
        (["trainable.projector=false"], {"language_model", "lm_head", "img_safety_head"}),
        (
            ["trainable.vision=true"],
            {"language_model", "lm_head", "multi_modal_projector", "img_safety_head", "vision_tower"},
        ),
        (["trainable.method=guard"], {"img_safety_head"}),
        (["trainable.method=lora"], {"language_model", "lora", "multi_modal_projector", "img_safety_head"}),
        (["trainable.method=lora", "trainable.projector=false"], {"language_model", "lora", "img_safety_head"}),
        (
            ["trainable.method=lora", "guard.enabled=false"],
            {"language_model", "lora", "multi_modal_projector"},
        ),
    ],
)
def test_what_trains(folder: Path, settings: list[str], expected: set[str]) -> None:
    recipe = Recipe().with_settings(settings)
    assert trained(recipe, folder) == expected
    if "guard.enabled=false" in settings:
        assert trained(recipe, folder, guard=False) == expected


def test_lora_picks_layers_of_the_decoder_by_their_own_name(folder: Path) -> None:
    recipe = Recipe().with_settings(["trainable.method=lora", "trainable.lora.targets=q_proj|v_proj"])
    model = set_trainable(attach_guard(load_model(folder)), recipe)
    adapted = {
        n.split(".lora_")[0].removeprefix("base_model.model.") for n, _ in model.named_parameters() if "lora_" in n
    }
    assert adapted == {f"model.language_model.layers.{k}.self_attn.{p}_proj" for k in (0, 1) for p in "qv"}
    for targets, said in (("conv9", "it has: down_proj"), ("(", "not a pattern")):
        bad = recipe.with_settings([f"trainable.lora.targets='{targets}'"])
        with pytest.raises(InputError, match=said):
            set_trainable(attach_guard(load_model(folder)), bad)
