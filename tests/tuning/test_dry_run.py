"""The plan of a run against the run itself, and the published size of the head."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import Qwen2_5_VLConfig

import tiny_models
from holisafe import cli
from holisafe.errors import InputError
from holisafe.guard import load_model
from holisafe.tuning.data import load_examples
from holisafe.tuning.dry_run import ASSUMED_TOKENS, on_meta, plan
from holisafe.tuning.recipe import Recipe, load_recipe
from holisafe.tuning.train import prepared, tune
from tuning.colours import colour_file

VARIANTS = {
    "full": [],
    "lora": ["trainable.method=lora"],
    "guard": ["trainable.method=guard"],
    "vision": ["trainable.vision=true", "guard.enabled=false"],
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.llava(tmp_path_factory.mktemp("base") / "llava")


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_plan_counts_what_then_trains(base: Path, variant: str) -> None:
    recipe = Recipe().with_settings(VARIANTS[variant])
    planned, real = plan(base, recipe, []), prepared(load_model(base), recipe)
    trained = sum(p.numel() for p in real.parameters() if p.requires_grad)
    assert sum(trainable for trainable, _ in planned.parts.values()) == trained
    assert planned.memory["weights"] == sum(p.nbytes for p in real.parameters())
    assert planned.memory["gradients"] == sum(p.nbytes for p in real.parameters() if p.requires_grad)
    assert (planned.tokens, planned.counted) == (ASSUMED_TOKENS, False)
    stock = sum(p.numel() for p in load_model(base).parameters())
    assert sum(total for part, (_, total) in planned.parts.items() if part not in ("guard", "adapters")) == stock


def test_steps_and_tokens_are_those_of_the_run(base: Path, tmp_path: Path) -> None:
    data = str(colour_file(tmp_path / "data"))
    settings = ["optimiser.batch_size=3", "optimiser.gradient_accumulation=4", "optimiser.epochs=1.5"]
    recipe = Recipe().with_settings(settings)
    planned = plan(base, recipe, load_examples(data))
    out = tune(base, data, recipe, tmp_path / "out")
    report = json.loads((out / "tuning.json").read_text())
    assert planned.steps == report["steps"]
    assert planned.steps_per_epoch == 2
    assert planned.counted
    assert 20 < planned.tokens < 80


def test_a_7b_shape_is_planned_without_its_weights(tmp_path: Path) -> None:
    """Qwen2.5-VL-7B's published shape: 8.29 billion parameters; the head for h = 3584 has 6,460,180."""
    text = {
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
    }
    vision = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 3584}
    Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=False).save_pretrained(tmp_path)
    planned = plan(tmp_path, load_recipe("qwen2.5-vl-7b"), [])
    assert planned.parts["guard"] == (6_460_180, 6_460_180)
    assert planned.parts["language"][1] + planned.parts["vision"][1] == 8_292_166_656
    rank = 16
    per_layer = 2 * (3584 + 3584) + 2 * (3584 + 512) + 3 * (3584 + 18944)
    assert planned.parts["adapters"] == (28 * rank * per_layer,) * 2
    assert 15.4 < planned.memory["weights"] / 2**30 < 16.2
    assert next(iter(on_meta(tmp_path, load_recipe("lora")).parameters())).device == torch.device("meta")


def test_unusable_bases(tmp_path: Path) -> None:
    for text in ("{}", '{"model_type": "llama"}'):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(InputError):
            plan(tmp_path, Recipe(), [])


def thoughtful(folder: Path) -> Path:
    """A file with one example that has a thought."""
    row = {"id": "1", "query": "how do i", "reasoning": "he asks . it is green .", "response": "it is green"}
    (folder / "thoughts.jsonl").write_text(json.dumps(row))
    return folder / "thoughts.jsonl"


def test_the_command_prints_the_plan_and_writes_nothing(
    base: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = colour_file(tmp_path / "data")
    given = ["tune", "--base", str(base), "--recipe", "lora", "--dry-run"]
    before = set(tmp_path.rglob("*"))
    with pytest.raises(SystemExit) as left:
        cli.app([*given, "--data", str(data), "--set", "data.check_against=[pictosafe]"])
    said = capfd.readouterr().out
    assert left.value.code == 0
    for words in ("adapters", "guard", "activations", "(counted)", "steps: 1 an epoch of 17 examples, 2 in all"):
        assert words in said
    assert "near-duplicates with pictosafe: 0" in said
    assert set(tmp_path.rglob("*")) == before
    thought = ["--data", str(thoughtful(tmp_path)), "--set", "safekey.enabled=true"]
    with pytest.raises(SystemExit) as left:
        cli.app([*given, "--data", str(data), *thought])
    said = capfd.readouterr().out
    for words in (
        "thoughts: 1 of 18 examples",
        "losses: 1 examples learnt from",
        "losses: 17 examples without a thought",
    ):
        assert words in said
    with pytest.raises(SystemExit) as left:
        cli.app(given[:-1])
    assert left.value.code == 2
    assert "--out is missing" in capfd.readouterr().err
