"""Every shipped recipe for a family, on a tiny random model of it: its layers exist, a step lowers the loss, and only
adapters and guard move. And the accelerate configs: accelerate reads them as meant."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file

import tiny_models
from guard.tiny_families import FAMILIES, answer_labels, build, collate, samples
from holisafe.errors import InputError
from holisafe.guard import attach_guard, load_guarded, load_model, load_processor
from holisafe.tuning import train
from holisafe.tuning.assembly import make_trainer
from holisafe.tuning.data import load_examples
from holisafe.tuning.parts import vision_tower
from holisafe.tuning.recipe import Recipe, load_recipe, shipped
from holisafe.tuning.train import prepared, tune
from tuning.colours import colour_file

CONFIGS = Path(train.__file__).parent / "accelerate"

FAMILY_OF = {
    "llava-1.5-7b": "llava-clip",
    "qwen2.5-vl-7b": "qwen2_5_vl",
    "qwen3-vl-8b": "qwen3_vl",
    "gemma-3-12b": "gemma3",
    "internvl3-8b": "internvl",
    "smolvlm": "smolvlm",
}
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def test_every_family_recipe_is_tried_here() -> None:
    assert set(FAMILY_OF) | {"demo", "demo-robust", "demo-thoughts", "lora", "qlora"} == set(shipped())


@pytest.mark.parametrize("name", FAMILY_OF)
def test_a_family_recipe_fits_its_family(name: str) -> None:
    recipe, family = load_recipe(name), FAMILIES[FAMILY_OF[name]]
    assert recipe.base
    assert (recipe.guard.loss_weight, recipe.trainable.method) == (1.0, "lora")
    torch.manual_seed(0)
    model = prepared(build(family), recipe.with_settings(["trainable.lora.dropout=0"])).train()
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    adapted = {n.split(".lora_")[0].rpartition(".")[2] for n in trained if ".lora_" in n}
    assert adapted == set(PROJECTIONS), "all projections of the language model"
    assert not [n for n in trained if "vision" in n or "visual" in n]
    assert all(".lora_" in n or "img_safety_head" in n for n in trained)
    assert {n for n in trained if "img_safety_head" in n}

    if recipe.compute.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    batch: dict[str, Any] = collate(family, samples(family, (1, 2, 1)))
    batch |= {"labels": answer_labels(batch), "safety_labels": torch.tensor([0, 5, 11])}
    optimiser = torch.optim.AdamW(trained.values(), lr=5e-3)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    losses = []
    for _ in range(4):
        output = model(**batch)
        losses.append((float(output.lm_loss.detach()), float(output.safety_loss.detach())))
        optimiser.zero_grad()
        output.loss.backward()
        optimiser.step()
    assert losses[-1][0] < losses[0][0]
    assert losses[-1][1] < losses[0][1]
    for n, p in model.named_parameters():
        assert p.requires_grad or torch.equal(p, before[n]), n
    assert any(not torch.equal(p, before[n]) for n, p in trained.items() if ".lora_" in n)


def test_the_guard_alone_learns_on_a_frozen_model() -> None:
    family = FAMILIES["llava-clip"]
    recipe = Recipe().with_settings(["trainable.method=guard", "guard.dropout=0"])
    model = prepared(build(family), recipe).train()
    batch: dict[str, Any] = collate(family, samples(family, (1, 2, 1)))
    batch |= {"labels": answer_labels(batch), "safety_labels": torch.tensor([0, 5, 11])}
    model(**batch).loss.backward()
    moved = {n.split(".")[0] for n, p in model.named_parameters() if p.grad is not None}
    assert moved == {"img_safety_head"}
    for wrong in (["trainable.vision=true"], ["guard.enabled=false"]):
        with pytest.raises(InputError, match="the guard and nothing else"):
            recipe.with_settings(wrong)


def test_gathered_weights_make_the_whole_model_again(tmp_path: Path) -> None:
    """What the first rank does after FSDP or DeepSpeed: the base anew, every weight from the gathered ones."""
    base = tmp_path / "base"
    build(FAMILIES["llava-clip"]).save_pretrained(base)
    for settings in ([], ["trainable.method=lora"]):
        recipe = Recipe().with_settings(settings)
        trained = prepared(train.load_model(base), recipe)
        with torch.no_grad():
            for parameter in trained.parameters():
                parameter.add_(0.01 * torch.randn_like(parameter))
        again = train.rebuilt(base, recipe, trained.state_dict())
        for (name, one), (other_name, other) in zip(trained.named_parameters(), again.named_parameters(), strict=True):
            assert name == other_name
            assert torch.equal(one, other), name


BASE_OF = {
    "demo": None,
    "demo-robust": None,
    "demo-thoughts": None,
    "lora": None,
    "qlora": None,
    "llava-1.5-7b": "llava",
    "qwen2.5-vl-7b": "qwen2_5_vl",
    "qwen3-vl-8b": "qwen2_5_vl",
    "gemma-3-12b": "gemma3",
    "internvl3-8b": "llava",
    "smolvlm": "idefics3",
}
"""Recipe -> a base it can take: PictoVLM, or a tiny one with a processor."""


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_recipe_runs(name: str, tmp_path: Path) -> None:
    family = BASE_OF[name]
    base = "pictovlm" if family is None else tiny_models.FAMILIES[family](tmp_path / "base")
    settings = ["optimiser.max_steps=2", "optimiser.gradient_accumulation=2", "optimiser.warmup_ratio=0"]
    settings += ["compute.log_every=1", "data.shares={}", "data.mix=[]", "compute.quantise=null"]
    data = str(colour_file(tmp_path / "data"))
    out = tune(base, data, load_recipe(name).with_settings(settings), tmp_path / "out")
    lines = [json.loads(line) for line in (out / "training_log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    model, before = load_guarded(out), dict(load_model(base).named_parameters())
    moved = [n for n, p in model.named_parameters() if n in before and not torch.equal(p.float(), before[n].float())]
    assert [n for n in moved if "proj" in n] or name == "qlora", "adapters were merged"
    assert name != "qlora" or any(float(p.abs().max()) > 0 for n, p in model.named_parameters() if "lora_B" in n)


def test_a_frozen_tower_keeps_no_activations_for_checkpointed_layers(tmp_path: Path) -> None:
    """transformers asks a gradient of every embedding's output then, also in the tower, where nothing trains."""
    base, data = tiny_models.llava(tmp_path / "base"), str(colour_file(tmp_path / "data"))
    seen: list[bool] = []

    def watch(model: Any, inputs: Any, output: Any) -> None:
        seen.append(output.last_hidden_state.requires_grad)

    recipe = load_recipe("lora").with_settings(["optimiser.max_steps=1", "optimiser.gradient_accumulation=1"])
    model = prepared(load_model(base), recipe).train()
    vision_tower(model.get_base_model()).register_forward_hook(watch)
    trainer = make_trainer(model, load_processor(base), load_examples(data), recipe, tmp_path)
    trainer.train()
    assert seen
    assert not any(seen)


@pytest.mark.skipif(find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_qlora_says_what_it_needs(tmp_path: Path) -> None:
    recipe = load_recipe("qlora")
    assert (recipe.compute.quantise, recipe.trainable.lora.save) == ("nf4", "adapter")
    with pytest.raises(InputError, match="needs bitsandbytes") as caught:
        tune("pictovlm", "pictosafe", recipe, tmp_path / "out")
    assert caught.value.field == "compute.quantise"
    assert not list(tmp_path.iterdir())
    for wrong in (["trainable.method=full"], ["trainable.lora.save=merged"]):
        with pytest.raises(InputError, match="quantise needs"):
            recipe.with_settings(wrong)


@pytest.mark.parametrize(
    ("name", "processes", "distributed", "settings"),
    [
        ("one_gpu", 1, "NO", {}),
        ("fsdp2_8gpu", 8, "FSDP", {"fsdp_version": 2, "fsdp_state_dict_type": "SHARDED_STATE_DICT"}),
        ("zero3_8gpu", 8, "DEEPSPEED", {"zero_stage": 3, "zero3_save_16bit_model": True}),
    ],
)
def test_accelerate_reads_the_configs(name: str, processes: int, distributed: str, settings: dict[str, Any]) -> None:
    assert {path.stem for path in CONFIGS.glob("*.yaml")} == {"one_gpu", "fsdp2_8gpu", "zero3_8gpu"}
    config = load_config_from_file(str(CONFIGS / f"{name}.yaml"))
    assert (config.num_processes, config.mixed_precision) == (processes, "bf16")
    assert str(getattr(config.distributed_type, "value", config.distributed_type)) == distributed
    held = {**config.fsdp_config, **config.deepspeed_config}
    assert held.items() >= settings.items()


def test_a_guarded_base_keeps_its_head(tmp_path: Path) -> None:
    model = attach_guard(build(FAMILIES["llava-clip"]))
    head = model.img_safety_head
    assert prepared(model, Recipe().with_settings(["guard.loss_weight=0.3"])).img_safety_head is head
