"""`holisafe guard convert`: every form, with the thresholds and the processor, or nothing at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import holisafe
from guard.published_replicas import llava_replica, write_tower
from guard.test_thresholds import CHOSEN
from holisafe.cli import app
from holisafe.guard import load_model, load_processor, save_guarded
from holisafe.guard.predict import predict
from holisafe.guard.thresholds import head_digest, load_thresholds, save_thresholds
from holisafe.taxonomy import IMAGE_LABELS


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as left:
        app([str(argument) for argument in arguments])
    return int(left.value.code or 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """PictoVLM with an untrained guard, its processor and a file of thresholds."""
    folder = tmp_path_factory.mktemp("models") / "m"
    torch.manual_seed(0)
    save_guarded(holisafe.attach_guard(load_model("pictovlm")), folder)
    load_processor("pictovlm").save_pretrained(folder)
    save_thresholds(replace(CHOSEN, labels=IMAGE_LABELS, head=head_digest(str(folder))), folder)
    return folder


def reading(folder: Path) -> list[float]:
    model: Any = holisafe.load_guarded(folder, device="cpu")
    image = Image.linear_gradient("L").convert("RGB")
    return list(next(predict(model, load_processor(folder), [image])).probabilities.values())


@pytest.mark.parametrize("form", ["native", "base"])
def test_forms(form: str, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    assert run("guard", "convert", folder, tmp_path / "out", "--form", form) == 0
    assert capfd.readouterr() == (f"{tmp_path / 'out'}\n", "")
    assert (tmp_path / "out" / "guard").is_dir() == (form == "base")
    assert load_thresholds(tmp_path / "out", IMAGE_LABELS) == load_thresholds(folder, IMAGE_LABELS) is not None
    assert reading(tmp_path / "out") == pytest.approx(reading(folder), abs=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_published_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    replica = llava_replica(tmp_path / "m", "last_hidden", tower_inside=False)
    out, tower = tmp_path / "out", write_tower(tmp_path / "tower", "clip")
    assert run("guard", "convert", replica.folder, out, "--vision-tower", tower, "--dtype", "float32") == 0
    assert "without a processor" in capsys.readouterr().err
    with torch.no_grad():
        probabilities = holisafe.load_guarded(out, device="cpu")(**replica.batch, do_safety=True).img_safety_probs
    torch.testing.assert_close(probabilities, replica.probabilities, atol=1e-5, rtol=0)


def test_mistakes_leave_nothing(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("guard", "convert", folder, folder) == 2
    assert run("guard", "convert", "pictovlm", tmp_path / "out") == 2
    assert run("guard", "convert", folder, tmp_path / "out", "--form", "merged") == 2
    assert run("guard", "convert", folder, tmp_path / "out", "--pool", "projected") == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 4
    for line, reason in zip(
        said, ("there already", "no guard", "no adapter to merge", "trained with pool"), strict=True
    ):
        assert reason in line
    assert not list(tmp_path.iterdir())
