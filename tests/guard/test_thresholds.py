"""Thresholds beside a model: written, read, refused where they do not belong, and what they say of a reading."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from holisafe.errors import InputError
from holisafe.guard import save_guarded
from holisafe.guard.thresholds import (
    FILE,
    GuardThresholds,
    head_digest,
    load_thresholds,
    read_thresholds,
    save_thresholds,
)
from holisafe.records import GuardReading

CHOSEN = GuardThresholds(
    labels=("safe", "suicide", "race"),
    temperature=1.5,
    false_alarm_rate=0.05,
    unsafe=0.4,
    by_label={"suicide": 0.2, "race": None},
    coverage=0.9,
    set_quantile=0.75,
    fitted_on={"data": "x"},
)


def reading(*probabilities: float) -> GuardReading:
    return GuardReading(probabilities=dict(zip(CHOSEN.labels, probabilities, strict=True)))


def test_what_they_say() -> None:
    assert [CHOSEN.alarm(reading(p, 1 - p, 0)) for p in (0.7, 0.6, 0.59)] == [False, False, True], "above, not at"
    assert CHOSEN.raised(reading(0.3, 0.3, 0.4)) == ["suicide"]
    assert CHOSEN.label_set(reading(0.3, 0.25, 0.45)) == ["race", "safe", "suicide"]
    assert CHOSEN.label_set(reading(0.8, 0.15, 0.05)) == ["safe"]
    never = replace(CHOSEN, unsafe=None, set_quantile=None)
    assert not never.alarm(reading(0, 1, 0))
    assert len(never.label_set(reading(1, 0, 0))) == 3


def test_kept_beside_the_model(guarded_folder: Path) -> None:
    from holisafe.guard import labels_of, load_guarded

    labels = labels_of(load_guarded(guarded_folder))
    assert load_thresholds(guarded_folder, labels) is None
    kept = replace(CHOSEN, labels=labels, by_label={}, head=head_digest(str(guarded_folder)))
    assert kept.head is not None
    assert save_thresholds(kept, guarded_folder) == guarded_folder / FILE
    assert load_thresholds(guarded_folder, labels) == kept
    with pytest.raises(InputError, match="other labels"):
        load_thresholds(guarded_folder, labels[:-1])

    (weights,) = guarded_folder.glob("*.safetensors")
    tensors = load_file(weights)
    save_file({**tensors, "img_safety_head.mlp.0.bias": tensors["img_safety_head.mlp.0.bias"] + 0.001}, weights)
    with pytest.raises(InputError, match="another head"):
        load_thresholds(guarded_folder, labels)
    save_file(tensors, weights)
    save_file({name: value for name, value in tensors.items() if "img_safety" not in name}, weights)
    assert load_thresholds(guarded_folder, labels) == kept, "a folder that stores no head cannot tell"


def test_the_digest_is_of_the_head_alone(guarded_folder: Path) -> None:
    (weights,) = guarded_folder.glob("*.safetensors")
    before, tensors = head_digest(str(guarded_folder)), load_file(weights)
    key = next(name for name in tensors if "img_safety" not in name)
    prefixed = {(f"base_model.model.{n}" if "img_safety" in n else n): v for n, v in tensors.items()}
    save_file({**prefixed, key: torch.zeros_like(tensors[key])}, weights)
    assert head_digest(str(guarded_folder)) == before
    assert head_digest("owner/name") is None
    (guarded_folder / "checkpoint-10").mkdir()
    other = {n: v + 1 for n, v in tensors.items()}
    save_file(other, guarded_folder / "checkpoint-10" / weights.name)
    assert head_digest(str(guarded_folder)) == before, "what lies deeper is another model"


def test_every_form_of_saving_has_the_same_digest(guarded: Any, tmp_path: Path) -> None:
    save_guarded(guarded, tmp_path / "native")
    save_guarded(guarded, tmp_path / "base", form="base")
    native = head_digest(str(tmp_path / "native"))
    assert native is not None
    assert head_digest(str(tmp_path / "base")) == native
    save_guarded(guarded.bfloat16(), tmp_path / "half")
    assert head_digest(str(tmp_path / "half")) != native, "rounded weights are other weights"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("schema", 2), ("schema", None), ("labels", "safe"), ("temperature", 0), ("temperature", "hot"),
        ("unsafe", True), ("by_label", []), ("by_label", {"race": "x"}), ("set_quantile", "x"), ("head", 3),
    ],
)  # fmt: skip
def test_a_broken_file_names_its_field(tmp_path: Path, field: str, value: Any) -> None:
    save_thresholds(CHOSEN, tmp_path)
    body = json.loads((tmp_path / FILE).read_text())
    (tmp_path / FILE).write_text(json.dumps({**body, field: value}))
    with pytest.raises(InputError, match=f"{FILE}, field '{field}"):
        read_thresholds(tmp_path / FILE)
    del body[field]
    (tmp_path / FILE).write_text(json.dumps(body))
    if field not in ("head", "fitted_on"):
        with pytest.raises(InputError, match=field):
            read_thresholds(tmp_path / FILE)


def test_nowhere_to_keep_them(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="folder"):
        save_thresholds(CHOSEN, tmp_path / "none")
