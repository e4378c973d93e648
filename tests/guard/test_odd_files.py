"""Whatever a stranger's checkpoint or adapter holds, loading it works or says one line."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from peft import LoraConfig, get_peft_model

import tiny_models
from holisafe.errors import InputError
from holisafe.guard import attach_guard, load_guarded, load_model, save_guarded

ODD = (None, [], {"a": []}, "x", -1, float("inf"), ["safe", "safe"])
FIELDS = {
    ("native", "config.json"): (
        *("safety_categories", "safety_head_hidden_scale", "safety_pool", "safety_schema", "safety_unit"),
        *("model_type", "text_config", "vision_config", "auto_map", "vision_feature_layer"),
    ),
    ("base", "guard/guard.json"): ("safety_categories", "safety_pool", "safety_schema"),
    ("adapter", "guard.json"): ("safety_categories", "safety_pool", "safety_schema"),
    ("adapter", "adapter_config.json"): ("base_model_name_or_path", "peft_type", "r", "modules_to_save"),
}
WEIGHTS = {"native": "model.safetensors", "base": "guard/model.safetensors", "adapter": "adapter_model.safetensors"}


def first(header: dict[str, Any]) -> dict[str, Any]:
    return header[next(name for name in header if name != "__metadata__")]


HEADERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "another type": lambda header: first(header).update(dtype="F7"),
    "a shape below zero": lambda header: first(header).update(shape=[-1]),
    "a shape of petabytes": lambda header: first(header).update(shape=[1 << 40, 1 << 20]),
    "a shape of text": lambda header: first(header).update(shape="x"),
    "offsets backwards": lambda header: first(header).update(data_offsets=[5, 1]),
    "metadata of lists": lambda header: header.update(__metadata__={"format": [1]}),
}
BODIES = {
    "empty": b"",
    "a header longer than the file": struct.pack("<Q", 1 << 62) + b"{}",
    "a list": struct.pack("<Q", 2) + b"[]",
    "brackets without end": struct.pack("<Q", 200_000) + b"[" * 100_000 + b"]" * 100_000,
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    model = attach_guard(load_model(tiny_models.llava(folder / "stock")))
    save_guarded(model, folder / "native")
    save_guarded(model, folder / "base", form="base")
    lora = LoraConfig(target_modules=["q_proj"], modules_to_save=["img_safety_head"])
    save_guarded(get_peft_model(model, lora), folder / "adapter")
    return folder


def opens_or_says_one_line(folder: Path) -> None:
    said = ""
    try:
        load_guarded(folder)
    except InputError as error:
        said = str(error)
    assert "\n" not in said
    assert "allocate" not in said, "memory was asked for before the file was looked at"


@pytest.mark.parametrize(("form", "file"), FIELDS)
def test_odd_fields(saved: Path, tmp_path: Path, form: str, file: str) -> None:
    folder = tmp_path / "odd"
    shutil.copytree(saved / form, folder)
    whole = json.loads((folder / file).read_text())
    tries = [whole | {name: value} for name in FIELDS[form, file] for value in ODD]
    for odd in [*tries, {}, [], None, {"a": 1}]:
        (folder / file).write_text(json.dumps(odd))
        opens_or_says_one_line(folder)


@pytest.mark.parametrize("form", WEIGHTS)
def test_odd_weights(saved: Path, tmp_path: Path, form: str) -> None:
    folder = tmp_path / "odd"
    shutil.copytree(saved / form, folder)
    body = (folder / WEIGHTS[form]).read_bytes()
    length = struct.unpack("<Q", body[:8])[0]
    bodies = list(BODIES.values())
    for change in HEADERS.values():
        header = json.loads(body[8 : 8 + length])
        change(header)
        text = json.dumps(header).encode()
        bodies.append(struct.pack("<Q", len(text)) + text + body[8 + length :])
    for odd in bodies:
        (folder / WEIGHTS[form]).write_bytes(odd)
        opens_or_says_one_line(folder)


def test_a_config_far_larger_than_its_weights_is_refused_before_it_is_made(saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved / "native", tmp_path / "odd")
    whole = json.loads((tmp_path / "odd" / "config.json").read_text())
    (tmp_path / "odd" / "config.json").write_text(json.dumps(whole | {"text_config": None}))  # LLaMA's, of 7 billion
    with pytest.raises(InputError, match=r"describes 6,\d{3},\d{3},\d{3} parameters"):
        load_guarded(tmp_path / "odd")
