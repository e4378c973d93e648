"""Folders that load, and folders that must not: each fault is one line of InputError."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText, LlamaConfig, LlamaForCausalLM

import holisafe
from holisafe.errors import InputError
from holisafe.guard import is_guarded, labels_of, load_model, save_guarded

from .checks import assert_same_weights, close
from .conftest import FAMILY
from .tiny_families import TEXT, build

WEIGHTS = "model.safetensors"


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any], name: str = WEIGHTS) -> None:
    tensors = load_file(folder / name)
    change(tensors)
    save_file(tensors, folder / name, metadata={"format": "pt"})


def edit_json(folder: Path, name: str = "config.json", **fields: Any) -> None:
    config = json.loads((folder / name).read_text())
    config |= fields
    (folder / name).write_text(json.dumps({key: value for key, value in config.items() if value is not ...}))


def refuses(path: Path | str, *reasons: str, load: Callable[..., Any] = load_model) -> None:
    with pytest.raises(InputError) as caught:
        load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    for reason in reasons:
        assert reason in message


def test_says_what_the_folder_holds(stock_folder: Path, guarded_folder: Path) -> None:
    assert not is_guarded(load_model(stock_folder))
    model = load_model(str(guarded_folder))
    assert is_guarded(model)
    assert not model.training
    assert len(labels_of(model)) == 20
    refuses(stock_folder, "has no guard", load=holisafe.load_guarded)


def test_dtype(guarded_folder: Path) -> None:
    assert load_model(guarded_folder, device="cpu").dtype == torch.float32
    model = load_model(guarded_folder, dtype="bfloat16", device="cpu")
    assert model.dtype == model.img_safety_head.mlp[0].weight.dtype == torch.bfloat16


def test_half_precision_folder_is_float32_on_a_cpu(guarded: Any, tmp_path: Path) -> None:
    guarded.half().save_pretrained(tmp_path / "half")
    assert load_model(tmp_path / "half", device="cpu").dtype == torch.float32


def test_settings_survive(stock: Any, tmp_path: Path, batch: dict[str, torch.Tensor]) -> None:
    model = holisafe.attach_guard(
        stock, ("a", "b"), pool="projected", hidden_scale=1.5, hidden_layers=3, dropout=0.3, loss_weight=0.2
    ).eval()
    save_guarded(model, tmp_path / "m")
    again = holisafe.load_guarded(tmp_path / "m")
    assert labels_of(again) == ("a", "b")
    for field in ("safety_pool", "safety_head_dropout", "safety_loss_lambda", "safety_num_hidden_layers"):
        assert getattr(again.config, field) == getattr(model.config, field)
    assert_same_weights(again, model)
    close(again(**batch).img_safety_logits, model(**batch).img_safety_logits, 1e-5)


def test_sharded_folder(guarded: Any, tmp_path: Path) -> None:
    guarded.save_pretrained(tmp_path / "m", max_shard_size="200KB")
    assert len(list((tmp_path / "m").glob("*.safetensors"))) > 1
    assert_same_weights(holisafe.load_guarded(tmp_path / "m"), guarded)


def test_published_config_fields_are_enough(guarded_folder: Path) -> None:
    edit_json(guarded_folder, safety_pool=..., safety_head_dropout=..., safety_schema=...)
    model = holisafe.load_guarded(guarded_folder)
    assert model.config.to_dict().get("safety_pool") == "last_hidden"
    assert model.img_safety_head.mlp[2].p == 0.1


def test_saving_needs_a_guard(stock: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no guard to save"):
        save_guarded(stock, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_no_model_there(tmp_path: Path, guarded_folder: Path) -> None:
    refuses(tmp_path / "nowhere", "no such model folder")
    refuses("./nowhere/at/all", "no such model folder")
    refuses(guarded_folder / "config.json", "is a file")
    (tmp_path / "empty").mkdir()
    refuses(tmp_path / "empty", "config.json is missing")


def test_no_weights(guarded_folder: Path) -> None:
    (guarded_folder / WEIGHTS).unlink()
    refuses(guarded_folder, "model.safetensors is missing")


def test_pickles_are_not_opened(guarded_folder: Path) -> None:
    (guarded_folder / WEIGHTS).rename(guarded_folder / "pytorch_model.bin")
    refuses(guarded_folder, "pytorch_model.bin is a pickle")


def test_cut_short(guarded_folder: Path) -> None:
    whole = (guarded_folder / WEIGHTS).read_bytes()
    for length in (0, 5, 1000, len(whole) // 2):
        (guarded_folder / WEIGHTS).write_bytes(whole[:length])
        refuses(guarded_folder)


def test_broken_config(guarded_folder: Path) -> None:
    (guarded_folder / "config.json").write_text('{"model_type": "lla')
    refuses(guarded_folder)
    (guarded_folder / "config.json").write_text('{"model_type": "no-such-type"}')
    refuses(guarded_folder, "no-such-type")


def test_not_an_image_text_model(tmp_path: Path) -> None:
    LlamaForCausalLM(LlamaConfig(**TEXT)).save_pretrained(tmp_path / "text")
    refuses(tmp_path / "text", "'llama' is no image-text-to-text model")


def test_a_missing_weight_is_named(stock_folder: Path, guarded_folder: Path) -> None:
    name = "model.language_model.layers.0.mlp.up_proj.weight"
    edit_weights(
        stock_folder, lambda tensors: tensors.pop(next(key for key in tensors if key.endswith("0.mlp.up_proj.weight")))
    )
    refuses(stock_folder, "weights are missing", name)
    edit_weights(guarded_folder, lambda tensors: tensors.pop("img_safety_head.mlp.3.bias"))
    refuses(guarded_folder, "weights are missing", "img_safety_head.mlp.3.bias")


def test_a_dropped_head_is_noticed(guarded_folder: Path, tmp_path: Path) -> None:
    """A stock model opened from a guarded folder and saved again keeps the config fields but not the head."""
    AutoModelForImageTextToText.from_pretrained(guarded_folder).save_pretrained(tmp_path / "dropped")
    for load in (load_model, holisafe.load_guarded):
        refuses(tmp_path / "dropped", "weights are missing", "img_safety_head.mlp.0.weight", load=load)


def test_a_head_without_its_config(guarded_folder: Path) -> None:
    edit_json(guarded_folder, safety_categories=..., num_safety_categories=...)
    refuses(guarded_folder, "no place in this model", "img_safety_head")


def test_an_unknown_weight_is_named(guarded_folder: Path) -> None:
    edit_weights(guarded_folder, lambda tensors: tensors.update({"img_safety_head.mlp.9.bias": torch.zeros(3)}))
    refuses(guarded_folder, "no place in this model", "img_safety_head.mlp.9.bias")


def test_a_stock_model_may_come_with_more(stock_folder: Path, guarded_folder: Path) -> None:
    for folder in (stock_folder, guarded_folder):
        edit_weights(folder, lambda tensors: tensors.update({"some.older.buffer": torch.zeros(3)}))
    load_model(stock_folder)
    refuses(guarded_folder, "no place in this model", "some.older.buffer")


def test_wrong_shape(guarded_folder: Path) -> None:
    edit_json(guarded_folder, safety_head_hidden_scale=0.25)
    refuses(guarded_folder, "wrong shape", "img_safety_head.mlp.0.weight (32, 64) instead of (16, 64)")


def test_labels_and_head_disagree(guarded_folder: Path) -> None:
    edit_json(guarded_folder, safety_categories=["safe", "b"], num_safety_categories=2)
    refuses(guarded_folder, "wrong shape", "img_safety_head.mlp.3.weight (20, 32) instead of (2, 32)")
    edit_json(guarded_folder, num_safety_categories=20)
    refuses(guarded_folder, "num_safety_categories", "20")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"safety_pool": "nowhere"}, "pool 'nowhere' is none of"),
        ({"safety_head_dropout": "much"}, "not supported between"),
        ({"safety_categories": "safe"}, "no list of labels"),
    ],
)
def test_unusable_settings(guarded_folder: Path, fields: dict[str, Any], reason: str) -> None:
    edit_json(guarded_folder, **fields)
    refuses(guarded_folder, reason, load=holisafe.load_guarded)


def test_no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    refuses("some-org/some-model", "no such model folder", "HF_HUB_OFFLINE")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "https://no-such-host.invalid")
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    refuses("some-org/some-model", "no such model folder", "cannot be reached")


def test_newer_schema(guarded_folder: Path) -> None:
    edit_json(guarded_folder, safety_schema=99)
    refuses(guarded_folder, "newer holisafe")


def test_shipped_name_wins_over_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from holisafe.guard import folders

    build(FAMILY).save_pretrained(tmp_path / "shipped")
    monkeypatch.setattr(folders, "shipped_folder", lambda: tmp_path / "shipped")
    assert load_model("pictovlm").config.model_type == "llava"
