"""More or less of what tuning changed: on folders and on adapters, against sums by hand, and removed bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from PIL import Image

import tiny_models
from asking import responses
from holisafe.calibration import calibrated
from holisafe.errors import InputError
from holisafe.guard import load_model, load_processor
from holisafe.records import GenerationSettings, Message, Picture, Request
from holisafe.targets import open_target
from holisafe.targets.huggingface import HuggingFaceTarget

SETTINGS = GenerationSettings(max_new_tokens=5)
RED = Picture("red", lambda: Image.new("RGB", (32, 32), "red"))
ASKED = [
    Request(sample_id=str(n), messages=(Message("user", text, (RED,)),), settings=SETTINGS)
    for n, text in enumerate(["what does the picture show", "which colour is it ?"])
]


def answers(target: Any) -> list[str]:
    return [response.text for response in responses(target, ASKED)]


def held(target: Any) -> dict[str, torch.Tensor]:
    return {name: one.detach().clone() for name, one in target.inner.named_parameters()}


@pytest.fixture(scope="module", params=["llava", "qwen2_5_vl", "gemma3"])
def folders(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A base, and the same with noise in every weight of its last layer."""
    root = tmp_path_factory.mktemp(request.param)
    base = getattr(tiny_models, request.param)(root / "base")
    model, processor = load_model(base), load_processor(base)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "layers.1." in name:
                parameter += 0.2 * torch.randn_like(parameter)
    model.save_pretrained(root / "tuned")
    processor.save_pretrained(root / "tuned")
    return base, root / "tuned"


@pytest.mark.parametrize("alpha", [-0.5, 0.0, 0.5, 2.0])
def test_the_weights_are_the_sum_and_come_back_bit_for_bit(folders: tuple[Path, Path], alpha: float) -> None:
    base, tuned = folders
    target = open_target(f"hf/{tuned}", SETTINGS)
    was, before = dict(load_model(base).named_parameters()), held(target)
    moved = calibrated(target, [f"weights,base={base},alpha={alpha}"])
    with moved.asking():
        for name, parameter in target.inner.named_parameters():
            torch.testing.assert_close(parameter.data, was[name] + alpha * (before[name] - was[name]))
    assert all(torch.equal(one, before[name]) for name, one in target.inner.named_parameters())
    assert moved.describe()["calibration"][0]["alpha"] == alpha


def test_0_answers_as_the_base_and_1_as_tuned(folders: tuple[Path, Path]) -> None:
    base, tuned = folders
    target = open_target(f"hf/{tuned}", SETTINGS)
    theirs, own = answers(open_target(f"hf/{base}", SETTINGS)), answers(target)
    assert theirs != own
    assert answers(calibrated(target, [f"weights,base={base},alpha=0"])) == theirs
    assert answers(calibrated(target, [f"weights,base={base},alpha=1"])) == own
    assert answers(target) == own


def adapted(base: Path, **more: Any) -> HuggingFaceTarget:
    torch.manual_seed(2)
    config = LoraConfig(r=2, target_modules=r".*language_model.*q_proj", init_lora_weights=False, **more)
    model = get_peft_model(load_model(base), config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "modules_to_save" in name:
                parameter += 0.1
    return HuggingFaceTarget("hf/adapted", model, load_processor(base), SETTINGS)


def test_an_adapter_is_scaled(tmp_path: Path) -> None:
    base = tiny_models.llava(tmp_path / "base")
    target = adapted(base, modules_to_save=["multi_modal_projector"])
    layer = next(m for n, m in target.inner.named_modules() if n.endswith("language_model.layers.0.self_attn.q_proj"))
    projector = target.inner.model.multi_modal_projector
    delta, before = layer.get_delta_weight("default").clone(), dict(layer.scaling)
    was, own = (dict(one.named_parameters()) for one in (projector.original_module, projector.modules_to_save.default))
    kept = {name: one.detach().clone() for name, one in own.items()}
    with calibrated(target, ["weights,alpha=2.5"]).asking():
        torch.testing.assert_close(layer.get_delta_weight("default"), 2.5 * delta)
        for name, one in own.items():
            torch.testing.assert_close(one.data, was[name] + 2.5 * (kept[name] - was[name]))
    assert layer.scaling == before
    assert all(torch.equal(one, kept[name]) for name, one in own.items())
    assert answers(calibrated(target, ["weights,alpha=0"])) == answers(open_target(f"hf/{base}", SETTINGS))


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("weights", "alpha"),
        ("weights,alpha=2", "needs base=FOLDER"),
        ("weights,alpha=nan,base=pictovlm", "finite"),
        ("weights,alpha=2,base=pictovlm", "the very weights"),
        ("weights,alpha=2,base=OTHER", "in the base and"),
    ],
)
def test_what_has_no_sum_is_refused(tmp_path: Path, spec: str, problem: str) -> None:
    target = open_target("hf/pictovlm", SETTINGS)
    with pytest.raises(InputError, match=problem):
        calibrated(target, [spec.replace("OTHER", str(tiny_models.llava(tmp_path / "other")))])


def test_an_adapter_takes_no_base_and_dora_does_not_scale(tmp_path: Path) -> None:
    base = tiny_models.llava(tmp_path / "base")
    with pytest.raises(InputError, match="leave out base="):
        calibrated(adapted(base), [f"weights,alpha=2,base={base}"])
    with pytest.raises(InputError, match="DoRA"):
        calibrated(adapted(base, use_dora=True), ["weights,alpha=2"])
