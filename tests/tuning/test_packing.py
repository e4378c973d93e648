"""Packed batches: the loss and the gradients of the padded batch, or a refusal; family by family."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from transformers import CONFIG_MAPPING, LlavaConfig

import tiny_models
from guard.checks import with_head, without_dropout
from guard.tiny_configs import CLIP, TEXT
from guard.tiny_families import FAMILIES, IMAGE, Family, answer_labels, collate, samples
from holisafe.errors import InputError
from holisafe.guard import load_model, load_processor
from holisafe.taxonomy import IMAGE_LABELS
from holisafe.tuning import packing
from holisafe.tuning.collator import Collator
from holisafe.tuning.data import load_examples
from holisafe.tuning.packing import check_packable, pack
from holisafe.tuning.recipe import Recipe
from holisafe.tuning.train import prepared, tune
from tuning.colours import colour_file

QWEN3 = dataclasses.replace(
    FAMILIES["internvl"], config={**FAMILIES["internvl"].config, "text_config": {"model_type": "qwen3", **TEXT}}
)
PACKED = {n: family for n, family in FAMILIES.items() if family.model_type in packing.FAMILIES} | {"qwen3": QWEN3}
REFUSED = [name for name in FAMILIES if name not in PACKED]
KINDS = torch.tensor([3, 7, 0, 11])


def gradients(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def by_examples(model: Any, family: Family, images: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor, Any]:
    """Both losses of the batch from one forward an example: sums over answer tokens and images, over their numbers."""
    words, guards, tokens = [], [], 0
    for row, kind in zip(samples(family, images), KINDS, strict=False):
        one = collate(family, [row])
        labels = answer_labels(one)
        labels[:, 0] = -100
        output = model(**one)
        words.append(F.cross_entropy(output.logits[0, :-1], labels[0, 1:], ignore_index=-100, reduction="sum"))
        tokens += int((labels[0, 1:] != -100).sum())
        if row.images:
            guards.append(F.cross_entropy(output.img_safety_logits, kind[None]))
    loss, guard = torch.stack(words).sum() / tokens, torch.stack(guards).mean()
    return loss.detach(), guard.detach(), gradients(model, loss + guard)


def packed_batch(model: Any, family: Family, images: tuple[int, ...]) -> dict[str, Any]:
    batch = collate(family, samples(family, images))
    batch |= {"labels": answer_labels(batch), "safety_labels": KINDS[: len(images)]}
    return pack(model, batch, segments=True)


def ready(family: Family, attention: str) -> Any:
    model = with_head(family)
    model.set_attn_implementation(attention)
    without_dropout(model)
    return model


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Within float tolerance of the largest gradient: some are zero but for rounding."""
    assert found.keys() == expected.keys()
    largest = max(float(value.abs().max()) for value in expected.values())
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], atol=2e-5 * largest, rtol=1e-3, msg=lambda t, n=name: n + t)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", PACKED)
def test_packed_loss_and_gradients_are_the_sum_over_examples(name: str, attention: str) -> None:
    family, images = PACKED[name], (1, 2, 0, 1)
    model = ready(family, attention)
    check_packable(model.config)
    batch = packed_batch(model, family, images)
    assert len(batch["input_ids"]) == 1
    assert "attention_mask" not in batch
    assert batch["input_ids"].shape[1] == sum(len(row.ids) for row in samples(family, images)), "no padding"
    output = model(**batch)
    loss, guard, expected = by_examples(model, family, images)
    torch.testing.assert_close(output.lm_loss.detach(), loss, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(output.safety_loss.detach(), guard, rtol=1e-5, atol=1e-5)
    assert output.img_safety_valid.tolist() == [True, True, False, True]
    assert_same(gradients(model, model(**batch).loss), expected)


def test_every_shipped_family_is_packed_or_refused_with_its_reason() -> None:
    types = {"llava", "qwen2_5_vl", "qwen3_vl", "gemma3", "internvl", "smolvlm"}
    assert types - {family.model_type for family in PACKED.values()} == {"gemma3"}
    assert not packing.FAMILIES & packing.WHY_NOT.keys()


def test_no_family_or_decoder_is_allowed_that_is_not_tried_here() -> None:
    configs = [CONFIG_MAPPING[family.model_type](**family.config) for family in PACKED.values()]
    assert {config.model_type for config in configs} == packing.FAMILIES
    assert {config.get_text_config().model_type for config in configs} == packing.DECODERS


@pytest.mark.parametrize("name", REFUSED)
def test_other_families_are_refused(name: str) -> None:
    family = FAMILIES[name]
    with pytest.raises(InputError, match=f"{family.model_type} cannot be packed") as caught:
        check_packable(with_head(family).config)
    assert caught.value.field == "compute.packing"


@pytest.mark.parametrize("name", [n for n in REFUSED if FAMILIES[n].model_type in packing.WHY_NOT])
def test_a_reason_is_true(name: str) -> None:
    """Packed all the same, these families' loss is another: the day it is not, they can be packed."""
    family, images = FAMILIES[name], (1, 2, 1)
    model = ready(family, "eager")
    loss, _, _ = by_examples(model, family, images)
    try:
        found = model(**packed_batch(model, family, images)).lm_loss.detach()
    except (TypeError, ValueError):
        return
    assert abs(float(found - loss)) > 1e-3


def test_an_unknown_decoder_is_refused() -> None:
    config = LlavaConfig(text_config={"model_type": "mamba"}, vision_config=CLIP, image_token_id=IMAGE)
    with pytest.raises(InputError, match="llava with mamba inside"):
        check_packable(config)


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "idefics3"])
def test_the_collator_packs_what_it_would_have_padded(family: str, tmp_path: Path) -> None:
    folder = tiny_models.FAMILIES[family](tmp_path / family)
    processor, examples = load_processor(folder), load_examples(str(colour_file(tmp_path)))[:5]
    model = prepared(load_model(folder), Recipe().with_settings(["guard.dropout=0", "compute.packing=true"])).train()
    padded = Collator(processor, ends=[2], labels=IMAGE_LABELS)(examples)
    batch = Collator(processor, ends=[2], labels=IMAGE_LABELS, pack=functools.partial(pack, model, segments=True))(
        examples
    )
    assert batch["input_ids"].shape == (1, int(padded["attention_mask"].sum()))
    assert torch.equal(batch["safety_labels"], padded["safety_labels"])
    first, second = model(**padded), model(**batch)
    torch.testing.assert_close(first.lm_loss, second.lm_loss, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(first.safety_loss, second.safety_loss, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_packed_run_learns_what_a_padded_run_learns(tmp_path: Path, method: str) -> None:
    base, data = tiny_models.llava(tmp_path / "base", spread=1.5), str(colour_file(tmp_path))
    recipe = Recipe().with_settings(
        ["optimiser.max_steps=3", "optimiser.batch_size=5", "compute.log_every=1", "optimiser.learning_rate=1e-3",
         "guard.dropout=0", f"trainable.method={method}", "trainable.lora.dropout=0"]
    )  # fmt: skip
    found = [
        load_model(tune(base, data, recipe.with_settings(settings), tmp_path / name)).state_dict()
        for name, settings in (("padded", []), ("packed", ["compute.packing=true"]))
    ]
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, atol=2e-4, rtol=1e-3, msg=lambda t, n=name: f"{n}: {t}")


def test_a_family_that_cannot_be_packed_ends_before_training(tmp_path: Path) -> None:
    base = tiny_models.FAMILIES["gemma3"](tmp_path / "base")
    with pytest.raises(InputError, match="gemma3 cannot be packed: the masks of its sliding layers"):
        tune(base, str(colour_file(tmp_path)), Recipe().with_settings(["compute.packing=true"]), tmp_path / "out")
    assert not (tmp_path / "out").exists()
