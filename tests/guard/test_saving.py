"""The four forms of a saved model: each is reloaded with nothing lost, and stock transformers opens all full ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

import holisafe
import holisafe.errors
from holisafe.guard import is_guarded, labels_of, load_model, save_guarded
from holisafe.guard.settings import SCHEMA

from .checks import assert_same_weights, close
from .test_loading import edit_json, edit_weights, refuses

SETTINGS: dict[str, Any] = {"labels": ("safe", "b", "c"), "pool": "projected", "unit": "image"}


def wrapped(folder: Path) -> Any:
    """A LoRA-wrapped guarded model whose adapter and head are both away from their start."""
    torch.manual_seed(9)
    model = holisafe.attach_guard(load_model(folder), **SETTINGS)
    model = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["img_safety_head"]))
    for name, parameter in model.named_parameters():
        if "lora_" in name or "modules_to_save" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return model.eval()


def readings(model: Any, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.no_grad():
        output = model(**batch)
    return output.logits, output.img_safety_probs


def same(a: Any, b: Any, batch: Mapping[str, torch.Tensor]) -> None:
    for one, other in zip(readings(a, batch), readings(b, batch), strict=True):
        close(one, other, 1e-5)


def recorded(fields: Mapping[str, Any]) -> None:
    assert fields["safety_schema"] == SCHEMA
    assert fields["safety_pool"] == "projected"
    assert fields["safety_unit"] == "image"
    assert fields["safety_categories"] == ["safe", "b", "c"]


def read(*parts: str | Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(Path(*parts).read_text())
    return value


@pytest.mark.parametrize("form", ["adapter", "merged", "base"])
def test_forms_of_a_wrapped_model(form: Any, stock_folder: Path, tmp_path: Path, batch: dict[str, Any]) -> None:
    model = wrapped(stock_folder)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_guarded(model, tmp_path / "m", form=form)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items()), "the model changed"
    again = holisafe.load_guarded(tmp_path / "m", device="cpu")
    same(again, model, batch)
    assert labels_of(again) == ("safe", "b", "c")
    assert again.config.safety_unit == "image"
    recorded(read(tmp_path, "m", {"adapter": "guard.json", "merged": "config.json", "base": "guard/guard.json"}[form]))
    assert not torch.allclose(readings(again, batch)[0], readings(load_with_head(stock_folder), batch)[0], atol=1e-4)


def load_with_head(folder: Path) -> Any:
    return holisafe.attach_guard(load_model(folder)).eval()


@pytest.mark.parametrize("form", ["native", "base", None])
def test_forms_of_a_plain_model(form: Any, stock: Any, tmp_path: Path, batch: dict[str, Any]) -> None:
    model = holisafe.attach_guard(stock, **SETTINGS).eval()
    save_guarded(model, tmp_path / "m", form=form)
    again = holisafe.load_guarded(tmp_path / "m", device="cpu")
    assert_same_weights(again, model)
    same(again, model, batch)
    assert {name: again.config.to_dict()[name] for name in read_fields(model)} == read_fields(model)


def read_fields(model: Any) -> dict[str, Any]:
    return {name: value for name, value in model.config.to_dict().items() if "safety" in name}


@pytest.mark.parametrize("form", ["native", "merged", "base"])
def test_stock_transformers_opens_it(form: Any, stock_folder: Path, tmp_path: Path, batch: dict[str, Any]) -> None:
    model = wrapped(stock_folder)
    expected = readings(model, batch)[0]
    if form == "native":
        model = model.merge_and_unload()
    save_guarded(model, tmp_path / "m", form=form)
    load: Any = AutoModelForImageTextToText.from_pretrained
    stock, report = load(tmp_path / "m", output_loading_info=True)
    assert not report["missing_keys"]
    heads = {name for name in report["unexpected_keys"] if name.startswith("img_safety_head.")}
    assert set(report["unexpected_keys"]) == heads
    assert len(heads) == (0 if form == "base" else 4)
    close(stock(**batch).logits, expected, 1e-5)


def test_a_base_bears_no_trace_of_its_guard(stock: Any, stock_folder: Path, tmp_path: Path) -> None:
    save_guarded(holisafe.attach_guard(stock), tmp_path / "m", form="base")
    assert not [name for name in read(tmp_path, "m", "config.json") if "safety" in name]
    plain, base = (load_file(folder / "model.safetensors") for folder in (stock_folder, tmp_path / "m"))
    assert plain.keys() == base.keys()
    assert all(torch.equal(tensor, base[name]) for name, tensor in plain.items())
    assert sorted(path.name for path in (tmp_path / "m" / "guard").iterdir()) == ["guard.json", "model.safetensors"]
    assert all(name.startswith("img_safety_head.mlp.") for name in load_file(tmp_path / "m/guard/model.safetensors"))


def test_a_base_in_several_files(stock: Any, tmp_path: Path, batch: dict[str, Any]) -> None:
    model = holisafe.attach_guard(stock).eval()
    save_guarded(model, tmp_path / "m", form="base")
    load_model(tmp_path / "m").eval()
    AutoModelForImageTextToText.from_pretrained(tmp_path / "m").save_pretrained(tmp_path / "s", max_shard_size="200KB")
    (tmp_path / "m" / "guard").rename(tmp_path / "s" / "guard")
    assert len(list((tmp_path / "s").glob("*.safetensors"))) > 1
    same(holisafe.load_guarded(tmp_path / "s", device="cpu"), model, batch)


def test_a_guard_beside_its_base_is_checked(stock: Any, tmp_path: Path) -> None:
    save_guarded(holisafe.attach_guard(stock), tmp_path / "m", form="base")
    guard = tmp_path / "m" / "guard"
    edit_weights(guard, lambda tensors: tensors.update({"img_safety_head.mlp.9.bias": torch.zeros(3)}))
    refuses(tmp_path / "m", "no place in this model: img_safety_head.mlp.9.bias")
    edit_weights(guard, lambda tensors: [tensors.pop(f"img_safety_head.mlp.{key}.bias") for key in (3, 9)])
    refuses(tmp_path / "m", "weights are missing: img_safety_head.mlp.3.bias")
    edit_weights(guard, lambda tensors: tensors.update({"img_safety_head.mlp.3.bias": torch.zeros(7)}))
    refuses(tmp_path / "m", "wrong shape: img_safety_head.mlp.3.bias (7,) instead of (20,)")
    (guard / "model.safetensors").unlink()
    refuses(tmp_path / "m", "model.safetensors is missing")
    edit_json(guard, "guard.json", safety_schema=99)
    refuses(tmp_path / "m", "newer holisafe")
    (guard / "guard.json").unlink()
    refuses(tmp_path / "m", "has no guard", load=holisafe.load_guarded)
    assert not is_guarded(load_model(tmp_path / "m"))


def test_two_guards_in_one_folder(stock: Any, tmp_path: Path) -> None:
    model = holisafe.attach_guard(stock)
    save_guarded(model, tmp_path / "base", form="base")
    save_guarded(model, tmp_path / "native")
    (tmp_path / "base" / "guard").rename(tmp_path / "native" / "guard")
    refuses(tmp_path / "native", "has a guard in its own config and another in guard/guard.json")


@pytest.mark.parametrize(
    ("form", "reason"), [("adapter", "no adapter to save"), ("merged", "no adapter to merge"), ("vllm", "is no form")]
)
def test_forms_that_do_not_fit(form: Any, reason: str, guarded: Any, tmp_path: Path) -> None:
    with pytest.raises(holisafe.errors.InputError, match=reason):
        save_guarded(guarded, tmp_path / "m", form=form)
    assert not (tmp_path / "m").exists()


def test_one_form_a_folder(stock_folder: Path, guarded: Any, tmp_path: Path) -> None:
    model = wrapped(stock_folder)
    with pytest.raises(holisafe.errors.InputError, match="save it as adapter, merged or base"):
        save_guarded(model, tmp_path / "m", form="native")
    save_guarded(model, tmp_path / "m")
    for form in ("merged", "base"):
        with pytest.raises(holisafe.errors.InputError, match=r"another form of model already: adapter_config\.json"):
            save_guarded(model, tmp_path / "m", form=form)
    save_guarded(guarded, tmp_path / "b", form="base")
    save_guarded(guarded, tmp_path / "b", form="base")
    with pytest.raises(holisafe.errors.InputError, match="another form of model already: guard"):
        save_guarded(guarded, tmp_path / "b")
