"""A guard that reads a state between layers: it learns, is saved, generates along, and says where it cannot read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch

import holisafe
from holisafe.errors import InputError
from holisafe.guard import save_guarded
from holisafe.guard.pooling import layers_of, parts_of

from . import checks
from .tiny_families import FAMILIES, build

FAMILY = FAMILIES["llava-swin"]


def test_sources_between_layers() -> None:
    assert parts_of("hidden@3") == ((3, "image"),)
    assert parts_of("projected+image_and_text@12") == (("input", "image"), (12, "image"), (12, "text"))
    assert layers_of("token@4+hidden@1+last_hidden") == (1, 4)


@pytest.mark.parametrize("pool", ["hidden@0", "hidden@", "projected@1", "hidden@1.5", "hidden@2", "hidden@99"])
def test_where_there_is_no_such_state(pool: str) -> None:
    with pytest.raises(InputError, match=r"hidden@\d+, but of 2 layers|is none of .*hidden@LAYERS"):
        holisafe.attach_guard(build(FAMILY), pool=pool)


@pytest.mark.parametrize("family", ["llava-clip", "qwen2_5_vl", "gemma3"])
def test_it_learns_the_same_with_and_without_checkpoints(family: str) -> None:
    guarded = checks.with_head(FAMILIES[family], pool="hidden@1")
    checks.without_dropout(guarded)
    batch = checks.Case(family, FAMILIES[family], guarded, guarded).batch()
    inputs = {**batch, "labels": checks.answer_labels(batch), "safety_labels": checks.SAFETY_LABELS}
    _, plain = checks.gradients(guarded, **inputs)
    guarded.gradient_checkpointing_enable()
    _, checkpointed = checks.gradients(guarded, **inputs)
    first, head = "layers.0.self_attn.q_proj.weight", "img_safety_head.mlp.0.weight"
    assert any(name.endswith(first) and gradient.any() for name, gradient in plain.items())
    assert plain[head].any()
    assert plain.keys() == checkpointed.keys()
    for name, gradient in plain.items():
        checks.close(checkpointed[name], gradient, 1e-3)


@torch.no_grad()
def test_it_is_saved_wrapped_and_read_while_it_answers(tmp_path: Path, batch: dict[str, Any]) -> None:
    guarded = checks.with_head(FAMILY, pool="hidden@1")
    wanted = guarded(**batch).img_safety_logits
    save_guarded(guarded, tmp_path / "saved")
    again = holisafe.load_guarded(tmp_path / "saved")
    assert again.config.safety_pool == "hidden@1"
    checks.close(again(**batch, do_safety="alone").img_safety_logits, wanted, 1e-5)
    again.generate(**batch, max_new_tokens=2, do_sample=False)
    checks.close(again.last_safety.img_safety_logits, wanted, 1e-5)
    wrapped = peft.get_peft_model(
        again, peft.LoraConfig(target_modules=["q_proj"], modules_to_save=["img_safety_head"])
    )
    checks.close(wrapped(**batch, do_safety="alone").img_safety_logits, wanted, 1e-5)


@torch.no_grad()
def test_weights_that_come_and_go_are_left_in_order(batch: dict[str, Any]) -> None:
    """accelerate puts weights back after a forward that ends; where it does, the forward ends."""
    guarded = checks.with_head(FAMILY, pool="projected")
    wanted, calls = guarded(**batch).img_safety_logits, []
    guarded.get_output_embeddings().register_forward_hook(lambda *_: calls.append(1))
    guarded.hf_device_map = {"": "cpu"}
    assert torch.equal(guarded(**batch, do_safety="alone").img_safety_logits, wanted)
    assert calls == [1]
