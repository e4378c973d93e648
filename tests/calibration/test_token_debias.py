"""TSDI: the bias against log-probabilities taken one context at a time, and what the first tokens become without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import tiny_models
from asking import responses
from holisafe.calibration import calibrated
from holisafe.calibration.decoding.token_bias import contexts
from holisafe.calibration.learned import Learned, load_learned
from holisafe.calibration.methods.token_debias import TokenDebias
from holisafe.cli import app
from holisafe.errors import InputError
from holisafe.guard import load_model, load_processor
from holisafe.records import GenerationSettings, Message, Picture, Request
from holisafe.targets import open_target

SETTINGS = GenerationSettings(max_new_tokens=6)
RED = Picture("red", lambda: Image.new("RGB", (32, 32), "red"))
ASKED = [
    Request(sample_id=str(n), messages=(Message("user", text, (RED,)),), settings=SETTINGS)
    for n, text in enumerate(["what does the picture show", "which colour is it ? it is green"])
]
SMALL = {"prompts": "6", "length": "4", "positions": "3"}


def answers(target: Any, asked: list[Request] = ASKED) -> list[str]:
    return [response.text for response in responses(target, asked)]


@pytest.fixture(scope="module", params=["llava", "qwen2_5_vl", "gemma3"])
def folders(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A reference, and the same with noise in its last layer: aligned."""
    root = tmp_path_factory.mktemp(request.param)
    base = getattr(tiny_models, request.param)(root / "base")
    model = load_model(base)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "layers.1." in name:
                parameter += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(root / "aligned")
    load_processor(base).save_pretrained(root / "aligned")
    return base, root / "aligned"


@pytest.fixture(scope="module")
def fitted(folders: tuple[Path, Path]) -> tuple[Any, Path, Learned]:
    base, aligned = folders
    target = open_target(f"hf/{aligned},batch_size=4", SETTINGS)
    learned = TokenDebias.fit(target, None, {"reference": str(base), **SMALL})
    return target, learned.save(aligned / "bias.safetensors"), learned


def test_the_bias_is_the_mean_of_differences_taken_one_by_one(folders: Any, fitted: Any) -> None:
    target, _, learned = fitted
    processor = target.processor
    total, count = 0, np.zeros(3)
    for context in contexts(processor.tokenizer, "vocabulary", 6, 4, 3, 0):
        said = [{"role": "user", "content": [{"type": "text", "text": context.question}]}]
        prompt = processor.apply_chat_template(said, add_generation_prompt=True, tokenize=False)
        before = processor.tokenizer(prompt, add_special_tokens=False, return_tensors="pt")["input_ids"]
        whole = processor.tokenizer(prompt + context.answer, add_special_tokens=False, return_tensors="pt")["input_ids"]
        assert torch.equal(whole[:, : before.shape[1]], before)
        first = before.shape[1] - 1
        logs = [load_model(folder)(input_ids=whole).logits[0].log_softmax(-1) for folder in folders]
        difference = (logs[1] - logs[0])[first : first + 3].detach().double().numpy()
        assert difference.shape[0] == 3
        total, count = total + difference, count + 1
    np.testing.assert_allclose(learned.tensors["bias"], total / count[:, None], atol=2e-5)


def test_zero_changes_nothing_and_the_rest_is_a_shift_of_the_first_tokens(fitted: Any) -> None:
    target, path, learned = fitted
    own = answers(target)
    assert answers(calibrated(target, [f"token-debias,file={path},s=0"])) == own
    seen: list[torch.Tensor] = []
    head = target.inner.get_output_embeddings()
    hook = head.register_forward_hook(lambda module, args, output: seen.append(output[:, -1].float()))
    shifted = calibrated(target, [f"token-debias,file={path},s=200"])
    text = answers(shifted, ASKED[:1])
    hook.remove()
    bias = torch.as_tensor(learned.tensors["bias"])
    expected = [int((logits[0] - 200 * bias[at]).argmax()) for at, logits in enumerate(seen[:3])]
    expected += [int(logits[0].argmax()) for logits in seen[3:]]
    written = target.processor.tokenizer.decode(until(expected, target.ends))
    assert text == [written.strip()]
    assert answers(target) == own  # nothing is left behind


def until(tokens: list[int], ends: list[int]) -> list[int]:
    return next((tokens[:place] for place, token in enumerate(tokens) if token in ends), tokens)


def test_debiasing_lays_itself_around_other_methods(fitted: Any) -> None:
    target, path, _ = fitted
    both = calibrated(target, ["reminder,wording=brief", f"token-debias,file={path}"])
    assert [one["method"] for one in both.describe()["calibration"]] == ["reminder", "token-debias"]
    assert not both.capabilities.likelihoods
    assert len(answers(both)) == 2


def test_an_adapter_left_off_is_the_reference(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    from holisafe.targets.huggingface import HuggingFaceTarget

    base = tiny_models.llava(tmp_path / "base")
    torch.manual_seed(2)
    config = LoraConfig(r=2, target_modules=r".*language_model.*q_proj", init_lora_weights=False)
    adapted = HuggingFaceTarget("hf/a", get_peft_model(load_model(base), config), load_processor(base), SETTINGS)
    off = TokenDebias.fit(adapted, None, {"reference": "adapter-off", **SMALL})
    named = TokenDebias.fit(adapted, None, {"reference": str(base), **SMALL})
    np.testing.assert_allclose(off.tensors["bias"], named.tensors["bias"], atol=1e-6)
    assert np.abs(off.tensors["bias"]).max() > 1e-3


def test_a_text_may_be_the_pool_and_a_picture_be_shown(tmp_path: Path) -> None:
    base = tiny_models.llava(tmp_path / "base")
    (tmp_path / "pool.txt").write_text("red red green")
    tokenizer = load_processor(base).tokenizer
    drawn = contexts(tokenizer, str(tmp_path / "pool.txt"), 50, 3, 2, 0)
    assert {letter for one in drawn for letter in one.question + one.answer if letter != " "} == set("redgreen")
    target = open_target(f"hf/{base}", SETTINGS)
    seen = TokenDebias.fit(target, None, {"reference": str(base), "image": "neutral", **SMALL})
    assert np.abs(seen.tensors["bias"]).max() == 0  # of a model and itself


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "reference"),
        ({"reference": "adapter-off"}, "no adapter to leave off"),
        ({"reference": "OTHER"}, "another vocabulary"),
        ({"reference": "pictovlm", "pool": "EMPTY"}, "no token to draw from"),
        ({"reference": "pictovlm", "positions": "0"}, "positions"),
    ],
)
def test_what_cannot_be_fitted_is_said(tmp_path: Path, options: dict[str, str], problem: str) -> None:
    (tmp_path / "empty.txt").write_text(" \n")
    places = {"EMPTY": str(tmp_path / "empty.txt")}
    if "OTHER" in options.values():
        places["OTHER"] = str(tiny_models.llava(tmp_path / "other"))
    told = {name: places.get(value, value) for name, value in options.items()}
    with pytest.raises(InputError, match=problem):
        TokenDebias.fit(open_target("hf/pictovlm", SETTINGS), None, told)


def test_the_verb_fits_it_without_data(tmp_path: Path) -> None:
    out = tmp_path / "bias.safetensors"
    spec = "token-debias,reference=pictovlm,prompts=4,length=4,positions=2"
    result = CliRunner().invoke(app, ["calibrate", "fit", spec, "--target", "hf/pictovlm", "--out", str(out)])
    assert (result.exit_code, load_learned(out).tensors["bias"].shape) == (0, (2, 1400))
    other = ["calibrate", "fit", "few-shot", "--target", "hf/pictovlm", "--out", str(out)]
    result = CliRunner().invoke(app, other)
    assert (result.exit_code, "give --data" in result.stderr) == (2, True)
