"""Thresholds go along with a model that is saved as it was loaded; one that was trained on is saved without."""

from __future__ import annotations

import copy
import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

import holisafe
from holisafe.guard import labels_of, load_model, save_guarded
from holisafe.guard.thresholds import FILE, GuardThresholds, head_digest, load_thresholds, save_thresholds

from .test_thresholds import CHOSEN


@pytest.fixture
def chosen(guarded_folder: Path) -> GuardThresholds:
    labels = labels_of(holisafe.load_guarded(guarded_folder))
    made = replace(CHOSEN, labels=labels, head=head_digest(str(guarded_folder)))
    save_thresholds(made, guarded_folder)
    return made


def lora(model: Any) -> Any:
    return get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["img_safety_head"]))


@pytest.mark.parametrize("form", ["native", "base"])
def test_an_unchanged_model_keeps_them(
    form: Any, guarded_folder: Path, chosen: GuardThresholds, tmp_path: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        save_guarded(copy.deepcopy(load_model(guarded_folder)), tmp_path / "m", form=form)
    assert load_thresholds(tmp_path / "m", chosen.labels) == chosen


@pytest.mark.parametrize("form", ["adapter", "merged", "base"])
def test_an_adapter_keeps_its_own(form: Any, guarded_folder: Path, chosen: GuardThresholds, tmp_path: Path) -> None:
    """Not those of the base that it lies on; also when it is folded in."""
    (guarded_folder / FILE).unlink()
    save_guarded(lora(load_model(guarded_folder)), tmp_path / "a")
    save_thresholds(replace(chosen, temperature=3.0, head=head_digest(str(tmp_path / "a"))), tmp_path / "a")
    save_thresholds(chosen, guarded_folder)
    save_guarded(load_model(tmp_path / "a"), tmp_path / "b", form=form)
    kept = load_thresholds(tmp_path / "b", chosen.labels)
    assert kept is not None
    assert kept.temperature == 3.0


def test_in_another_precision_the_digest_is_of_what_was_written(
    guarded_folder: Path, chosen: GuardThresholds, tmp_path: Path
) -> None:
    save_guarded(load_model(guarded_folder, dtype=torch.bfloat16), tmp_path / "m")
    kept = load_thresholds(tmp_path / "m", chosen.labels)
    assert kept is not None
    assert kept.head == head_digest(str(tmp_path / "m")) != chosen.head
    assert replace(kept, head=chosen.head) == chosen


CHANGES: dict[str, Any] = {
    "head": lambda model: model.img_safety_head.mlp[3].bias.data.add_(1e-3),
    "language model, head untouched": lambda model: model.lm_head.weight.data.add_(1e-3),
    "vision tower": lambda model: next(model.model.vision_tower.parameters()).data.mul_(1.01),
    "precision": lambda model: model.to(torch.bfloat16),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.usefixtures("chosen")
def test_a_changed_model_is_saved_without_and_says_so(change: str, guarded_folder: Path, tmp_path: Path) -> None:
    model = load_model(guarded_folder)
    CHANGES[change](model)
    for folder in (tmp_path / "m", guarded_folder):  # also over the folder that it came from
        with pytest.warns(UserWarning, match=rf"saved without {FILE} \(the model changed since it was loaded\)"):
            save_guarded(model, folder)
        assert not (folder / FILE).exists()


@pytest.mark.usefixtures("chosen")
def test_an_adapter_put_on_later_has_none(guarded_folder: Path, tmp_path: Path) -> None:
    model = lora(load_model(guarded_folder))
    with pytest.warns(UserWarning, match="saved without"):
        save_guarded(model, tmp_path / "m")
    assert not (tmp_path / "m" / FILE).exists()


def test_a_step_of_any_optimiser_is_a_change(
    guarded_folder: Path, chosen: GuardThresholds, tmp_path: Path, batch: dict[str, torch.Tensor]
) -> None:
    """The head frozen, the language model trained: the head's digest alone would still fit."""
    model = load_model(guarded_folder).train()
    model.img_safety_head.requires_grad_(False)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    model(**batch, labels=batch["input_ids"]).loss.backward()
    optimiser.step()
    with pytest.warns(UserWarning, match="saved without"):
        save_guarded(model, tmp_path / "m")
    assert head_digest(str(tmp_path / "m")) == chosen.head


def test_thresholds_of_another_head_are_not_made_fit(
    guarded_folder: Path, chosen: GuardThresholds, tmp_path: Path
) -> None:
    save_thresholds(replace(chosen, head="0" * 16), guarded_folder)
    with pytest.warns(UserWarning, match="saved without .*chosen for another head"):
        save_guarded(load_model(guarded_folder), tmp_path / "m")
    assert not (tmp_path / "m" / FILE).exists()


def test_a_model_that_never_had_any_leaves_a_folders_alone(
    guarded: Any, guarded_folder: Path, chosen: GuardThresholds
) -> None:
    """The head's digest then decides when they are read."""
    save_guarded(guarded, guarded_folder)
    assert json.loads((guarded_folder / FILE).read_text())["head"] == chosen.head
