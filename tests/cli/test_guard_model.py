"""What `holisafe guard` is told beside the model's name: a processor, a vision tower, where the guard reads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import holisafe
from guard.published_replicas import CLIP, llava_replica, write_tower
from holisafe.guard import load_model, load_processor, save_guarded
from holisafe.guard.predict import predict
from holisafe.guard.published import layouts
from tiny_models import llava, tokenizer

from .test_guard import Captured, labelled, run


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.effect_noise((40, 30), 60).convert("RGB").save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def probabilities(out: str) -> list[float]:
    labels: dict[str, float] = json.loads(out)["probabilities"]
    return [labels[name] for name in sorted(labels)]


def by_hand(model: Any, processor: Any, picture: Path) -> list[float]:
    with Image.open(picture) as image:
        reading = next(predict(model, processor, [image.convert("RGB")]))
    return [reading.probabilities[name] for name in sorted(reading.probabilities)]


def test_a_folder_without_a_processor(picture: Path, tmp_path: Path, capfd: Captured) -> None:
    base, model = llava(tmp_path / "base"), tmp_path / "model"
    torch.manual_seed(0)
    save_guarded(holisafe.attach_guard(load_model(base)), model)
    predicting = ("predict", picture, "--model", model, "--json", "--device", "cpu")
    evaluating = ("eval", "--data", labelled(tmp_path / "set", 4), "--model", model, "--draws", 100, "--device", "cpu")
    for command in (predicting, evaluating):
        code, out, err = run(capfd, *command)
        assert (code, out, len(err.splitlines())) == (2, "", 1)
        assert "holds no processor" in err
    code, out, _ = run(capfd, *predicting, "--processor", base)
    expected = by_hand(holisafe.load_guarded(model, device="cpu"), load_processor(base), picture)
    assert (code, probabilities(out)) == (0, pytest.approx(expected, abs=1e-5))
    assert run(capfd, *evaluating, "--processor", base)[0] == 0


def test_a_published_folder_without_its_tower(
    picture: Path, tmp_path: Path, capfd: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LLaVA's own layout: the tower elsewhere, and where the guard reads not recorded."""
    monkeypatch.setitem(layouts.TOWERS, "tiny/tower", {"model_type": "clip_vision_model", **CLIP})
    settings = {"mm_vision_tower": "tiny/tower", "image_token_index": -200}
    replica = llava_replica(tmp_path / "m", "last_hidden", tower_inside=False, **settings)
    tokenizer().save_pretrained(replica.folder)
    command = ("predict", picture, "--model", replica.folder, "--json", "--device", "cpu")
    code, _, err = run(capfd, *command)
    assert (code, "vision tower's weights are not in the folder" in err) == (2, True)
    tower, seen = write_tower(tmp_path / "tower", "clip"), []
    for pool in ("last_hidden", "projected"):
        code, out, err = run(capfd, *command, "--vision-tower", tower, "--pool", pool)
        assert code == 0, err
        seen.append(probabilities(out))
        model = holisafe.load_guarded(replica.folder, device="cpu", vision_tower=tower, pool=pool)
        assert seen[-1] == pytest.approx(by_hand(model, load_processor(replica.folder), picture), abs=1e-5)
    assert seen[0] != pytest.approx(seen[1], abs=1e-3)


def test_rows_read_in_another_way_are_not_mixed(picture: Path, tmp_path: Path, capfd: Captured) -> None:
    model, other = llava(tmp_path / "m"), llava(tmp_path / "other")
    save_guarded(holisafe.attach_guard(load_model(model)), model)
    command = ("predict", picture, "--model", model, "--out", tmp_path / "rows.jsonl", "--device", "cpu")
    assert run(capfd, *command)[0] == 0
    assert run(capfd, *command)[0] == 0
    code, _, err = run(capfd, *command, "--processor", other)
    assert (code, len(err.splitlines())) == (2, 1)


def test_others_guards_take_none_of_it(tmp_path: Path, capfd: Captured) -> None:
    folder = llava(tmp_path / "m")
    shutil.copytree(folder, tmp_path / "p")
    data = labelled(tmp_path / "set", 4)
    code, _, err = run(
        capfd, "eval", "--model", f"llama-guard/{folder}", "--data", data, "--processor", tmp_path / "p",
        "--device", "cpu",
    )  # fmt: skip
    assert (code, "are for a guard of ours" in err) == (2, True)
