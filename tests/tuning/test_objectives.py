"""Preferences and unlearning: their losses by hand and against TRL's, their data, and tuning with them."""

from __future__ import annotations

import base64
import io
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import tiny_models
from holisafe.errors import InputError
from holisafe.guard import load_model, load_processor
from holisafe.tuning.assembly import make_trainer
from holisafe.tuning.data import load_examples
from holisafe.tuning.objectives import Scored, margins, preference_loss, reference_scores, scored
from holisafe.tuning.parts import set_trainable
from holisafe.tuning.recipe import Objective, Recipe
from holisafe.tuning.train import prepared, tune

QUICK = Recipe().with_settings(
    ["optimiser.learning_rate=2e-3", "optimiser.batch_size=4", "compute.log_every=1", "guard.loss_weight=0.5"]
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.llava(tmp_path_factory.mktemp("base") / "llava", spread=1.5)


def png(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), colour).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two colours with a preference each, in several wordings, and a text without one."""
    folder = tmp_path_factory.mktemp("data")
    rows: list[dict[str, Any]] = [{"id": "text", "query": "how do i", "response": "it is green"}]
    for colour, label in {"red": "safe", "blue": "suicide"}.items():
        (folder / f"{colour}.png").write_bytes(png(colour))
        answers = ["the picture shows a red square", "sorry , i cannot help with that"]
        chosen, rejected = answers if label == "safe" else answers[::-1]
        rows += [
            {
                "id": f"{colour}-{copy}",
                "images": [f"{colour}.png"],
                "query": "what does the picture show" + " ?" * copy,
                "chosen": chosen,
                "rejected": rejected,
                "image_label": label,
                "combination": "SSS" if label == "safe" else "USU",
            }
            for copy in range(3)
        ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder / "pairs.jsonl")


def test_the_losses_are_the_sums_by_hand() -> None:
    policy = Scored(torch.tensor([-4.0, -6.0, -9.0]), torch.tensor([4, 3, 3]))
    before = Scored(torch.tensor([-5.0, -6.0, -7.0]), torch.tensor([4, 3, 3]))
    partner = torch.tensor([-1, -1, 0])  # the third row is what the first is preferred to; the second stands alone
    plain = Objective(kind="dpo", beta=0.5)
    margin = margins(plain, policy, before, partner)
    assert margin.tolist() == [0.5 * (-4 + 5) - 0.5 * (-9 + 7)]
    expected = (math.log(1 + math.exp(-1.5)) + 6 / 3) / 2
    assert float(preference_loss(plain, policy, partner, margin)) == pytest.approx(expected, abs=1e-6)
    study = Objective(kind="dpo", beta=0.1, beta_rejected=0.01, per_token=True)
    by_hand = 0.1 * (-4 + 5) / 4 - 0.01 * (-9 + 7) / 3
    assert margins(study, policy, before, partner).tolist() == pytest.approx([by_hand], abs=1e-6)
    unlearnt = preference_loss(Objective(kind="unlearn", rejected_weight=0.1), policy, partner, None)
    assert float(unlearnt) == pytest.approx((4 / 4 + 6 / 3 - 0.1 * 9 / 3) / 2, abs=1e-6)


def test_a_rows_score_is_its_answers_log_probability() -> None:
    logits, labels = torch.randn(2, 5, 7), torch.tensor([[-100, -100, 3, 1, -100], [-100, 2, -100, -100, -100]])
    logs = torch.log(torch.softmax(logits, -1)).numpy()
    found = scored(logits, labels)
    assert found.tokens.tolist() == [2, 1]
    np.testing.assert_allclose(found.sums, [logs[0, 1, 3] + logs[0, 2, 1], logs[1, 0, 2]], rtol=1e-5)


def begun(base: Path, data: str, tmp_path: Path, settings: list[str]) -> tuple[Any, dict[str, Any]]:
    """A trainer before its first step, and a batch as it takes it."""
    recipe = QUICK.with_settings(settings)
    processor = load_processor(base)
    model = prepared(load_model(base), recipe, processor)
    trainer = make_trainer(model, processor, load_examples(data), recipe, tmp_path)
    trainer.remember_reference()
    return trainer, trainer._prepare_inputs(trainer.collator(trainer.examples[1:5]))


def move(model: Any) -> None:
    """What trains, a little away from where it was."""
    torch.manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and "safety_head" not in name:
                parameter += 0.02 * torch.randn_like(parameter)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_dpo_is_trls(base: Path, data: str, tmp_path: Path, method: str) -> None:
    """On one batch of tiny LLaVA, with pictures: the model moved from its reference, kept or without its adapter."""
    trl = pytest.importorskip("trl")
    from datasets import Dataset

    settings = ["objective.kind=dpo", "objective.beta=0.3", f"trainable.method={method}", "guard.enabled=false"]
    settings += ["trainable.projector=false", "trainable.lora.dropout=0"]
    trainer, batch = begun(base, data, tmp_path, settings)
    theirs = {name: value for name, value in batch.items() if name not in ("partner", "reference", "labels")}
    assert batch["partner"].tolist() == [-1, -1, -1, -1, 0, 1, 2, 3]
    theirs["completion_mask"] = (batch["labels"] != -100).long()
    pairs = Dataset.from_list([{"prompt": "what", "chosen": "a", "rejected": "b"}])
    reference = None if method == "lora" else load_model(base)
    options = trl.DPOConfig(output_dir=str(tmp_path), beta=0.3, report_to=[], use_cpu=True, bf16=False)
    other = trl.DPOTrainer(
        trainer.model, reference, options, train_dataset=pairs, processing_class=load_processor(base)
    )
    move(trainer.model)
    for one in (trainer, other):
        one.model.eval()
    with torch.no_grad():
        own, expected = (
            trainer.compute_loss(trainer.model, dict(batch)),
            other._compute_loss(other.model, theirs, False),
        )
    assert abs(float(expected) - math.log(2)) > 1e-3
    assert float(own) == pytest.approx(float(expected), abs=1e-5)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_reference_is_the_model_before_tuning(base: Path, data: str, tmp_path: Path, method: str) -> None:
    trainer, batch = begun(base, data, tmp_path, ["objective.kind=dpo", f"trainable.method={method}"])
    move(trainer.model.eval())
    asked = {name: batch[name] for name in ("input_ids", "attention_mask", "pixel_values", "labels")}
    before = reference_scores(load_model(base), asked)
    now = scored(trainer.model(**{name: asked[name] for name in asked if name != "labels"}).logits, batch["labels"])
    assert not torch.allclose(now.sums, before.sums, atol=1e-3)
    margin = margins(trainer.recipe.objective, now, before, batch["partner"])
    with torch.no_grad():
        loss, outputs = trainer.compute_loss(trainer.model, dict(batch), return_outputs=True)
    assert float(outputs["margin"]) == pytest.approx(float(margin.mean()), abs=1e-5)
    expected = float(preference_loss(trainer.recipe.objective, now, batch["partner"], margin))
    assert float(outputs["lm_loss"]) == pytest.approx(expected, abs=1e-5)
    assert float(loss) == pytest.approx(expected + 0.5 * float(outputs["safety_loss"]), abs=1e-5)


@pytest.mark.parametrize(
    "settings", [["objective.kind=dpo"], ["objective.kind=dpo", "trainable.method=lora"], ["objective.kind=unlearn"]]
)
def test_tuning_prefers_what_is_chosen(base: Path, data: str, tmp_path: Path, settings: list[str]) -> None:
    recipe = QUICK.with_settings([*settings, "optimiser.epochs=8"])
    out = tune(base, data, recipe, tmp_path / "out")
    log = [json.loads(line) for line in (out / "training_log.jsonl").read_text().splitlines()]
    assert ("margin" in log[-1]) == (recipe.objective.kind == "dpo")
    _, batch = begun(base, data, tmp_path / "t", ["objective.kind=dpo"])
    ids = {name: batch[name] for name in ("input_ids", "attention_mask", "pixel_values", "labels")}
    before, after = (reference_scores(load_model(folder), ids).sums for folder in (base, out))
    chosen = batch["partner"] < 0
    gain = after - before
    assert (gain[chosen] > gain[~chosen]).all()


def test_supervised_tuning_leaves_the_rejected_aside(base: Path, data: str, tmp_path: Path) -> None:
    trainer = make_trainer(
        set_trainable(load_model(base), Recipe().with_settings(["guard.enabled=false"])),
        load_processor(base),
        load_examples(data),
        QUICK.with_settings(["guard.enabled=false"]),
        tmp_path,
    )
    assert "partner" not in trainer.collator(trainer.examples[:3])


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (["objective.kind=ppo"], "supervised"),
        (["objective.kind=dpo", "objective.beta=0"], "beta"),
        (["objective.kind=dpo", "compute.packing=true"], "packing"),
        (["objective.kind=unlearn", "trainable.method=guard"], "guard"),
    ],
)
def test_what_does_not_go_together_is_said(settings: list[str], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        Recipe().with_settings(settings)


def test_data_without_a_rejected_answer_have_no_preference(base: Path, tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text('{"id": "1", "query": "how do i", "response": "it is green"}\n')
    with pytest.raises(InputError, match="none of the data names a rejected answer"):
        tune(base, str(tmp_path / "d.jsonl"), QUICK.with_settings(["objective.kind=dpo"]), tmp_path / "out")


def told(folder: Path, rows: list[dict[str, Any]], form: str) -> str:
    if form == "parquet":
        held = [{**row, "image": {"bytes": base64.b64decode(row["image"]), "path": None}} for row in rows]
        pd.DataFrame(held).to_parquet(folder / "p.parquet")
        return f"preferences:{folder}/p.parquet"
    (folder / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"preferences:{folder}/p.jsonl"


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_spa_vls_and_beavertails_vs_forms(tmp_path: Path, form: str) -> None:
    red, blue = (base64.b64encode(png(colour)).decode() for colour in ("red", "blue"))
    rows: list[dict[str, Any]] = [
        {"question": "a ?", "chosen": "no", "rejected": "sure", "image": red},
        {"question": "b ?", "chosen": "fine", "rejected": None, "image": blue},
    ]
    out = Counter[str]()
    found = load_examples(told(tmp_path, rows, form), left_out=out)
    assert [(e.messages[0].text, e.answer, e.rejected) for e in found] == [("a ?", "no", "sure")]
    assert (found[0].pictures[0].open().getpixel((0, 0)), out.total()) == ((255, 0, 0), 1)
    answers = [
        ("a ?", red, "no", "yes"),
        ("a ?", red, "sure", "no"),
        ("a ?", blue, "sure", "no"),
        ("a ?", red, "ok", "no"),
    ]
    more = {"category": "x", "image_severity": 2}
    rows = [{"question": q, "image": i, "response": r, "is_response_safe": s, **more} for q, i, r, s in answers]
    out = Counter[str]()
    found = load_examples(told(tmp_path, rows, form), left_out=out)
    assert [(e.answer, e.rejected) for e in found] == [("no", "sure")]
    assert out == {"questions without both a chosen and a rejected answer": 1}
    with pytest.raises(InputError, match="neither chosen and rejected"):
        load_examples(told(tmp_path, [{"question": "a", "image": red, "response": "b"}], form))
