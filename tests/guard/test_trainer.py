"""Through transformers' Trainer: the joint loss under gradient accumulation, label columns, checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import Trainer, TrainingArguments

import holisafe
from holisafe.guard import is_guarded
from holisafe.guard.model import GuardedModel

from .checks import without_dropout
from .conftest import FAMILY
from .tiny_families import answer_labels, build, collate, samples

ROWS = samples(FAMILY, images=(1,) * 8)


def inputs_of(rows: list[int]) -> dict[str, Any]:
    batch = collate(FAMILY, [ROWS[row] for row in rows])
    return {**batch, "labels": answer_labels(batch), "safety_labels": torch.tensor(rows) % 5}


def train(model: Any, folder: Path, batch_size: int, accumulation: int, **settings: Any) -> Trainer:
    arguments = TrainingArguments(
        str(folder),
        per_device_train_batch_size=batch_size,
        gradient_accumulation_steps=accumulation,
        optim="sgd",
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        remove_unused_columns=False,
        seed=0,
        **{"learning_rate": 1.0, "max_steps": 1, "save_strategy": "no", **settings},
    )
    without_dropout(model)
    trainer = Trainer(model, arguments, train_dataset=list(range(8)), data_collator=inputs_of)  # type: ignore[arg-type]
    trainer.train()
    return trainer


def head_step(folder: Path, batch_size: int, accumulation: int, *, lora: bool = False) -> torch.Tensor:
    """How far one optimiser step over all eight samples moves the head's first weight."""
    torch.manual_seed(0)
    model: Any = holisafe.attach_guard(build(FAMILY))
    if lora:
        model = get_peft_model(model, LoraConfig(target_modules=["q_proj"], modules_to_save=["img_safety_head"]))
    weight = next(p for name, p in model.named_parameters() if "safety" in name and p.requires_grad)
    before = weight.detach().clone()
    train(model, folder, batch_size, accumulation)
    return weight.detach() - before


@pytest.mark.parametrize("lora", [False, True])
def test_accumulation_changes_nothing(lora: bool, tmp_path: Path) -> None:
    at_once = head_step(tmp_path, 8, 1, lora=lora)
    in_four = head_step(tmp_path, 2, 4, lora=lora)
    assert at_once.abs().max() > 1e-4
    torch.testing.assert_close(in_four, at_once, rtol=1e-3, atol=1e-7)


def test_accumulation_would_multiply_the_guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GuardedModel, "accepts_loss_kwargs", True)
    ratio = head_step(tmp_path, 2, 4).norm() / head_step(tmp_path, 8, 1).norm()
    assert ratio.item() == pytest.approx(4, rel=1e-2)


def test_label_columns_and_checkpoints(tmp_path: Path) -> None:
    """Trainer finds the guard's labels by itself, and its checkpoints load as guarded models."""
    build(FAMILY).save_pretrained(tmp_path / "base")
    for name in ("full", "lora"):
        model: Any = holisafe.attach_guard(holisafe.guard.load_model(tmp_path / "base"))
        if name == "lora":
            model = get_peft_model(model, LoraConfig(target_modules=["q_proj"], modules_to_save=["img_safety_head"]))
        trainer = train(
            model, tmp_path / name, 4, 1, save_strategy="steps", save_steps=2, max_steps=2, learning_rate=1e-2
        )
        assert trainer.label_names == ["labels", "safety_labels"]
        again = holisafe.load_guarded(tmp_path / name / "checkpoint-2")
        assert is_guarded(again)
        model.eval()
        batch = {key: value for key, value in inputs_of([0, 1]).items() if "labels" not in key}
        torch.testing.assert_close(again(**batch).img_safety_logits, model(**batch).img_safety_logits)
