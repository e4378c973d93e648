"""The QLoRA recipe on tiny models, where bitsandbytes is installed: recent versions hold 4 bits on a CPU too."""

from __future__ import annotations

import json
import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import tiny_models
from holisafe.errors import InputError
from holisafe.guard import attach_guard, load_guarded, load_model, load_processor, save_guarded
from holisafe.guard.families import text_decoder
from holisafe.taxonomy import IMAGE_LABELS
from holisafe.tuning.collator import Collator
from holisafe.tuning.data import load_examples
from holisafe.tuning.recipe import Recipe, load_recipe
from holisafe.tuning.train import _load_base, prepared, tune
from tuning.colours import colour_file

pytestmark = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
KEPT = "img_safety_head"


def quick() -> Recipe:
    """As shipped, but for a tiny model's steps."""
    return load_recipe("qlora").with_settings(
        [
            "optimiser.max_steps=20",
            "optimiser.batch_size=8",
            "optimiser.gradient_accumulation=1",
            "optimiser.learning_rate=3e-3",
            "guard.learning_rate=5e-3",
            "compute.log_every=1",
            "compute.save_every=null",
        ]
    )


@pytest.fixture(params=["llava", "qwen2_5_vl"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tiny_models.FAMILIES[request.param](tmp_path / "base")


def test_only_the_language_model_is_in_four_bits(base: Path) -> None:
    from bitsandbytes.nn import Linear4bit

    plain, model = load_model(base), _load_base(base, quick())
    decoder = {id(module) for module in text_decoder(plain).modules()}
    linear = {name: id(module) in decoder for name, module in plain.named_modules() if isinstance(module, nn.Linear)}
    assert {*linear.values()} == {True, False}, "there is something to leave alone"
    four_bits = {name for name, module in model.named_modules() if isinstance(module, Linear4bit)}
    assert four_bits == {name for name, inside in linear.items() if inside}
    head = prepared(model, quick()).get_base_model().img_safety_head
    for parameter in head.parameters():
        assert parameter.dtype == torch.bfloat16


def test_a_run_learns_and_its_adapter_lies_on_the_whole_base(base: Path, tmp_path: Path) -> None:
    data = str(colour_file(tmp_path))
    out = tune(base, data, quick(), tmp_path / "out")
    lines = [json.loads(line) for line in (out / "training_log.jsonl").read_text().splitlines()]
    assert all(math.isfinite(line["loss"]) for line in lines)
    for loss in ("lm_loss", "safety_loss"):
        assert sum(line[loss] for line in lines[-3:]) < 0.8 * sum(line[loss] for line in lines[:3])

    written = load_file(out / "adapter_model.safetensors")
    assert {name.split(".")[2] for name in written if "lora_" not in name} == {KEPT}
    assert all(tensor.is_floating_point() for tensor in written.values())
    again: Any = load_guarded(out, device="cpu")
    head = again.get_base_model().img_safety_head.modules_to_save["default"].state_dict()
    for name, value in head.items():
        assert torch.equal(value.float(), written[f"base_model.model.{KEPT}.{name}"].float())

    examples, collate = load_examples(data), Collator(load_processor(base), ends=[2], labels=IMAGE_LABELS)
    with torch.no_grad():
        tuned, untuned = again(**collate(examples)), load_model(base)(**_without_guard(collate(examples)))
    assert tuned.safety_loss < 0.8 * math.log(len(IMAGE_LABELS))
    assert tuned.lm_loss < 0.9 * untuned.loss, "on the weights in full precision too"


def _without_guard(batch: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in batch.items() if name != "safety_labels"}


def test_a_base_that_has_a_guard_is_refused(base: Path, tmp_path: Path) -> None:
    """Its head would be left out without a word, and a new one attached."""
    model, processor, data = attach_guard(load_model(base)), load_processor(base), str(colour_file(tmp_path))
    for form in ("native", "base"):
        folder = tmp_path / form
        save_guarded(model, folder, form=form)  # type: ignore[arg-type]
        processor.save_pretrained(folder)
        with pytest.raises(InputError, match="only a stock model can be held in 4 bits"):
            tune(folder, data, quick(), tmp_path / "out")
