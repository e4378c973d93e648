"""Adapters: the head and the settings go with them, or saving and loading refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

import holisafe
from holisafe.errors import InputError
from holisafe.guard import is_guarded, labels_of, load_model, save_guarded

from .checks import assert_same_weights, close
from .test_loading import edit_json, edit_weights, refuses

ADAPTER = "adapter_model.safetensors"
HEAD = "base_model.model.img_safety_head."


def lora(**changes: Any) -> LoraConfig:
    return LoraConfig(**{"r": 2, "target_modules": ["q_proj"], "modules_to_save": ["img_safety_head"]} | changes)


def wrap(folder: Path, config: LoraConfig | None = None, **settings: Any) -> Any:
    """A LoRA-wrapped guarded model on the stock model of a folder, its adapter not at its zero start."""
    torch.manual_seed(7)
    wrapped = get_peft_model(holisafe.attach_guard(load_model(folder), **settings), config or lora())
    for name, parameter in wrapped.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return wrapped.eval()


@pytest.fixture
def adapter(stock_folder: Path, tmp_path: Path) -> Path:
    save_guarded(wrap(stock_folder), tmp_path / "adapter")
    return tmp_path / "adapter"


def test_peft_alone_saves_everything(stock_folder: Path, tmp_path: Path, batch: dict[str, torch.Tensor]) -> None:
    for task in (None, "CAUSAL_LM"):
        wrapped = wrap(stock_folder, lora(task_type=task), labels=("a", "b", "c"), pool="projected")
        wrapped.save_pretrained(tmp_path / f"a{task}")
        again = holisafe.load_guarded(tmp_path / f"a{task}")
        assert labels_of(again) == ("a", "b", "c")
        assert again.config.safety_pool == "projected"
        close(again(**batch).img_safety_logits, wrapped(**batch).img_safety_logits, 1e-5)
        close(again(**batch).logits, wrapped(**batch).logits, 1e-5)


def test_head_left_out_of_the_adapter(stock_folder: Path, tmp_path: Path) -> None:
    for config in (lora(modules_to_save=None), lora(modules_to_save=None, target_modules="all-linear")):
        wrapped = wrap(stock_folder, config)
        with pytest.raises(ValueError, match="modules_to_save"):
            wrapped.save_pretrained(tmp_path / "a")
        with pytest.raises(ValueError, match="modules_to_save"):
            save_guarded(wrapped, tmp_path / "b")
    assert not [*tmp_path.glob("a/*.safetensors"), *tmp_path.glob("b/*")], "an adapter without its head was written"


def test_an_adapter_added_later(stock_folder: Path, tmp_path: Path) -> None:
    wrapped = wrap(stock_folder)
    wrapped.add_adapter("second", lora())
    save_guarded(wrapped, tmp_path / "both")
    for folder in (tmp_path / "both", tmp_path / "both" / "second"):
        assert is_guarded(holisafe.load_guarded(folder))
    wrapped.add_adapter("third", lora(modules_to_save=None))
    with pytest.raises(ValueError, match="modules_to_save"):
        wrapped.save_pretrained(tmp_path / "three")


def test_all_linear_with_the_head(stock_folder: Path, tmp_path: Path, batch: dict[str, torch.Tensor]) -> None:
    wrapped = wrap(stock_folder, lora(target_modules="all-linear"))
    save_guarded(wrapped, tmp_path / "a")
    again = holisafe.load_guarded(tmp_path / "a")
    close(again(**batch).img_safety_logits, wrapped(**batch).img_safety_logits, 1e-5)


def test_adapter_on_a_guarded_base(guarded_folder: Path, tmp_path: Path, batch: dict[str, torch.Tensor]) -> None:
    model = holisafe.load_guarded(guarded_folder)
    wrapped = get_peft_model(model, lora()).eval()
    torch.nn.init.normal_(wrapped.get_base_model().img_safety_head.modules_to_save["default"].mlp[3].bias)
    save_guarded(wrapped, tmp_path / "a")
    again = holisafe.load_guarded(tmp_path / "a")
    close(again(**batch).img_safety_logits, wrapped(**batch).img_safety_logits, 1e-5)
    (tmp_path / "a" / "guard.json").unlink()
    holisafe.load_guarded(tmp_path / "a")
    edit_json(guarded_folder, safety_categories=[f"label {number}" for number in range(20)])
    (tmp_path / "a" / "guard.json").write_text(
        json.dumps({"safety_categories": ["safe"] + [f"l{n}" for n in range(19)]})
    )
    refuses(tmp_path / "a", "differs between the adapter's guard and its base's", "safety_categories")


@pytest.mark.parametrize(
    ("field", "value"),
    [("safety_pool", "projected"), ("safety_unit", "image"), ("safety_verdict", "mean"), ("safety_token_id", 7)],
)
def test_an_adapters_guard_reads_as_its_bases(field: str, value: Any, guarded_folder: Path, tmp_path: Path) -> None:
    """The head's shape is the same whatever it reads: nothing else would notice."""
    save_guarded(get_peft_model(holisafe.load_guarded(guarded_folder), lora()), tmp_path / "a")
    holisafe.load_guarded(tmp_path / "a")
    edit_json(tmp_path / "a", "guard.json", **{field: value})
    refuses(tmp_path / "a", f"field {field!r}: differs between the adapter's guard and its base's: {value!r} and ")


def test_merging_keeps_the_head(adapter: Path, tmp_path: Path, batch: dict[str, torch.Tensor]) -> None:
    wrapped = holisafe.load_guarded(adapter)
    merged = wrapped.merge_and_unload()
    assert is_guarded(merged)
    merged.save_pretrained(tmp_path / "merged")
    again = holisafe.load_guarded(tmp_path / "merged")
    assert_same_weights(again, merged)
    close(again(**batch).img_safety_logits, merged(**batch).img_safety_logits, 1e-5)


def test_the_bases_place_in_the_package_is_not_written_down(
    stock_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from holisafe.guard import folders

    monkeypatch.setattr(folders, "shipped_folder", lambda: stock_folder)
    save_guarded(wrap("pictovlm"), tmp_path / "a")  # type: ignore[arg-type]
    assert json.loads((tmp_path / "a" / "adapter_config.json").read_text())["base_model_name_or_path"] == "pictovlm"
    assert is_guarded(holisafe.load_guarded(tmp_path / "a"))


def test_dropped_head(adapter: Path) -> None:
    def drop(tensors: dict[str, torch.Tensor]) -> None:
        for name in [name for name in tensors if HEAD in name]:
            del tensors[name]

    edit_weights(adapter, drop, ADAPTER)
    refuses(adapter, "the guard was dropped", "img_safety_head", load=holisafe.load_guarded)
    refuses(adapter, "the guard was dropped")


def test_missing_and_misshapen_parts(adapter: Path) -> None:
    edit_weights(adapter, lambda tensors: tensors.update({HEAD + "mlp.3.bias": torch.zeros(7)}), ADAPTER)
    refuses(adapter, "wrong shape", "img_safety_head.mlp.3.bias (7,) instead of (20,)")
    edit_weights(adapter, lambda tensors: tensors.pop(HEAD + "mlp.3.bias"), ADAPTER)
    refuses(adapter, "weights are missing", "img_safety_head.mlp.3.bias")


def test_missing_lora_weight(adapter: Path) -> None:
    edit_weights(adapter, lambda tensors: tensors.pop(next(name for name in tensors if "lora_B" in name)), ADAPTER)
    refuses(adapter, "weights are missing", "lora_B")


def test_labels_unknown(adapter: Path) -> None:
    (adapter / "guard.json").unlink()
    refuses(adapter, "guard.json is missing")


def test_labels_disagree_with_the_head(adapter: Path) -> None:
    edit_json(adapter, "guard.json", safety_categories=["safe", "b"], num_safety_categories=2)
    refuses(adapter, "wrong shape", "img_safety_head.mlp.3.weight (20, 32) instead of (2, 32)")


def test_base_model_gone(adapter: Path, tmp_path: Path) -> None:
    edit_json(adapter, "adapter_config.json", base_model_name_or_path=str(tmp_path / "gone"))
    with pytest.raises(InputError, match=r"'base_model_name_or_path': .*gone: no such model folder"):
        load_model(adapter)
    edit_json(adapter, "adapter_config.json", base_model_name_or_path=None)
    with pytest.raises(InputError, match="base_model_name_or_path"):
        load_model(adapter)


def test_a_local_adapter_makes_no_base_be_downloaded(adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("the hub was asked")

    edit_json(adapter, "adapter_config.json", base_model_name_or_path="owner/name")
    monkeypatch.setattr("socket.socket.connect", refused)
    monkeypatch.setattr("socket.getaddrinfo", refused)
    with pytest.raises(InputError, match="hf download owner/name"):
        load_model(adapter)
    edit_json(adapter, "adapter_config.json", base_model_name_or_path="//host/share")
    with pytest.raises(InputError, match="a folder of another machine"):
        load_model(adapter)


def test_code_that_an_adapter_or_a_config_brings_is_not_imported(adapter: Path, stock_folder: Path) -> None:
    edit_json(adapter, "adapter_config.json", megatron_config={"x": 1}, megatron_core="antigravity")
    with pytest.raises(InputError, match=r"field 'megatron_config': .* is not run"):
        load_model(adapter)


def test_pickled_adapter(adapter: Path) -> None:
    (adapter / ADAPTER).rename(adapter / "adapter_model.bin")
    refuses(adapter, "adapter_model.bin is a pickle")


def test_adapter_without_a_guard(stock_folder: Path, tmp_path: Path) -> None:
    get_peft_model(load_model(stock_folder), lora(modules_to_save=None)).save_pretrained(tmp_path / "plain")
    assert not is_guarded(load_model(tmp_path / "plain"))
    refuses(tmp_path / "plain", "has no guard", load=holisafe.load_guarded)


def test_transformers_own_adapters(stock_folder: Path, tmp_path: Path) -> None:
    model = holisafe.attach_guard(load_model(stock_folder))
    model.add_adapter(lora(modules_to_save=None))
    with pytest.raises(ValueError, match="modules_to_save"):
        model.save_pretrained(tmp_path / "a")


def test_headless_adapter_on_a_guarded_base(stock_folder: Path, guarded_folder: Path, tmp_path: Path) -> None:
    get_peft_model(load_model(stock_folder), lora(modules_to_save=None)).save_pretrained(tmp_path / "plain")
    edit_json(tmp_path / "plain", "adapter_config.json", base_model_name_or_path=str(guarded_folder))
    refuses(tmp_path / "plain", "holds no img_safety_head")
