"""Tuning end to end on a tiny LLaVA: against a hand-written loop, with LoRA, without a guard, and going wrong."""

from __future__ import annotations

import asyncio
import json
import math
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, TrainerCallback

import tiny_models
from holisafe.errors import InputError
from holisafe.guard import is_guarded, labels_of, load_guarded, load_model, load_processor
from holisafe.records import GenerationSettings, Request, Response
from holisafe.targets import open_target
from holisafe.taxonomy import IMAGE_LABELS
from holisafe.tuning.assembly import make_trainer
from holisafe.tuning.collator import Collator
from holisafe.tuning.data import hold_back, load_examples
from holisafe.tuning.parts import set_trainable
from holisafe.tuning.recipe import Recipe, load_recipe
from holisafe.tuning.resume import unfinished
from holisafe.tuning.train import tune, with_guard
from tuning.colours import COLOURS, colour_file

QUICK = Recipe().with_settings(
    ["optimiser.learning_rate=3e-3", "optimiser.batch_size=9", "compute.log_every=1", "guard.loss_weight=0.5"]
)
SAFETY_FIELDS = {"safety_categories", "num_safety_categories"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.llava(tmp_path_factory.mktemp("base") / "llava", spread=1.5)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(colour_file(tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="module")
def tuned(base: Path, data: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tuned") / "out"
    steps: list[tuple[int, int]] = []
    recipe = QUICK.with_settings(["optimiser.epochs=20"])
    assert tune(base, data, recipe, out, progress=lambda step, total, _: steps.append((step, total))) == out
    assert steps == [(step, 40) for step in range(1, 41)]
    return out


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def log(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "training_log.jsonl").read_text().splitlines()]


def readings(folder: Path, data: str) -> list[Response]:
    """The target's answers to the tuning images."""
    settings = GenerationSettings(max_new_tokens=10)

    async def give():
        for example in load_examples(data):
            yield Request(sample_id=example.id, messages=example.messages, settings=settings)

    async def collect() -> list[Response]:
        return [response async for response in open_target(f"hf/{folder}", settings).respond(give())]

    return asyncio.run(collect())


def test_both_losses_fall_and_add_up(tuned: Path) -> None:
    lines = log(tuned)
    assert [line["step"] for line in lines] == list(range(1, 41))
    assert lines[-1]["lm_loss"] < 0.3 * lines[0]["lm_loss"]
    assert lines[-1]["safety_loss"] < 0.3 * lines[0]["safety_loss"]
    for line in lines:
        assert line["loss"] == pytest.approx(line["lm_loss"] + 0.5 * line["safety_loss"], abs=2e-5)
        assert math.isfinite(line["learning_rate"])


def test_the_folder_opens_everywhere_and_reads_what_it_was_taught(tuned: Path, data: str) -> None:
    model = load_guarded(tuned)
    assert labels_of(model) == IMAGE_LABELS
    assert type(AutoModelForImageTextToText.from_pretrained(tuned)).__name__ == "LlavaForConditionalGeneration"
    for response in readings(tuned, data):
        colour = response.sample_id.split("-")[0]
        if colour == "text":
            assert response.guard is None
        else:
            assert response.guard is not None
            assert response.guard.label == COLOURS[colour]
            assert response.text.startswith("the picture shows a")


def test_what_is_frozen_stays_and_configs_gain_only_the_guard(base: Path, tuned: Path) -> None:
    before, after = weights(base), weights(tuned)
    for name, value in before.items():
        assert torch.equal(value, after[name]) == ("vision_tower" in name), name
    assert {name.split(".")[0] for name in after.keys() - before.keys()} == {"img_safety_head"}
    configs = [json.loads((folder / "config.json").read_text()) for folder in (base, tuned)]
    assert configs[1].items() >= configs[0].items()
    assert all(name.startswith("safety") or name in SAFETY_FIELDS for name in configs[1].keys() - configs[0].keys())
    for name in ("tokenizer.json", "chat_template.jinja", "processor_config.json", "generation_config.json"):
        assert (base / name).read_bytes() == (tuned / name).read_bytes(), name


def test_what_went_in_is_written_down(base: Path, data: str, tuned: Path) -> None:
    report = json.loads((tuned / "tuning.json").read_text())
    assert (report["base"], report["data"], report["steps"]) == (str(base), [data], 40)
    assert report["examples"] == {"SSS": 4, "USU": 12, "utility": 1}
    assert load_recipe(tuned / "recipe.yaml") == QUICK.with_settings(["optimiser.epochs=20"])


def test_a_seed_fixes_the_weights(base: Path, data: str, tmp_path: Path) -> None:
    recipe = QUICK.with_settings(["optimiser.max_steps=3"])
    first, again, other = (
        weights(tune(base, data, recipe, tmp_path / name, seed=seed)) for name, seed in (("a", 7), ("b", 7), ("c", 8))
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    assert load_recipe(tmp_path / "c" / "recipe.yaml").seed == 8


def by_hand(base: Path, data: str, recipe: Recipe, steps: int) -> dict[str, torch.Tensor]:
    """The same tuning on full batches: losses from logits and hidden states, AdamW, cosine with warm-up, by hand."""
    model, processor, examples = load_model(base), load_processor(base), load_examples(data)
    torch.manual_seed(recipe.seed)
    from transformers import set_seed

    set_seed(recipe.seed)
    model = with_guard(model, recipe)
    batch = Collator(processor, ends=[2], labels=IMAGE_LABELS)(examples)
    labels, kinds = batch.pop("labels"), batch.pop("safety_labels")
    named = {n: p for n, p in model.named_parameters() if "vision_tower" not in n}
    decay = [p for n, p in named.items() if not ("norm" in n or n.endswith("bias"))]
    plain = [p for n, p in named.items() if "norm" in n or n.endswith("bias")]
    rate = recipe.optimiser.learning_rate
    optimiser = torch.optim.AdamW(
        [{"params": decay, "weight_decay": recipe.optimiser.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=rate,
        betas=recipe.optimiser.betas,
        eps=1e-8,
    )
    for step in range(steps):
        scale = step if step < 1 else 0.5 * (1 + math.cos(math.pi * (step - 1) / (steps - 1)))
        for group in optimiser.param_groups:
            group["lr"] = rate * scale
        output = model(**batch, do_safety=False, output_hidden_states=True)
        answer = F.cross_entropy(output.logits[:, :-1].transpose(1, 2), labels[:, 1:], ignore_index=-100)
        images = (batch["input_ids"] == model.config.image_token_id).float().unsqueeze(-1)
        pooled = (output.hidden_states[-1] * images).sum(1) / images.sum(1).clamp(min=1)
        guard = F.cross_entropy(model.img_safety_head(pooled), kinds, ignore_index=-100)
        optimiser.zero_grad()
        (answer + recipe.guard.loss_weight * guard).backward()
        torch.nn.utils.clip_grad_norm_(list(named.values()), recipe.optimiser.max_grad_norm)
        optimiser.step()
    return {name: value.detach() for name, value in model.state_dict().items()}


def test_trainer_does_what_a_hand_written_loop_does(base: Path, data: str, tmp_path: Path) -> None:
    recipe = QUICK.with_settings(
        [
            "optimiser.batch_size=17",
            "optimiser.max_steps=6",
            "optimiser.warmup_ratio=0.16",
            "optimiser.weight_decay=0.05",
            "optimiser.betas=[0.9, 0.98]",
            "guard.dropout=0",
            "seed=5",
        ]
    )
    found = load_model(tune(base, data, recipe, tmp_path / "out")).state_dict()
    expected, before = by_hand(base, data, recipe, 6), load_model(base).state_dict()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], atol=3e-4, rtol=1e-3, msg=lambda text, n=name: f"{n}: {text}")
    assert max(float((found[name] - before[name]).abs().max()) for name in before) > 5e-3, "they moved far more"


def test_accumulated_steps_are_the_same_steps(base: Path, data: str, tmp_path: Path) -> None:
    """With as many answer tokens and images in each part, the mean of the parts is the whole."""
    examples = [example for example in load_examples(data) if example.id in ("red-0", "red-1", "green-0", "green-1")]
    results = []
    for name, settings in (
        ("a", ["optimiser.batch_size=4"]),
        ("b", ["optimiser.batch_size=1", "optimiser.gradient_accumulation=4"]),
    ):
        recipe = QUICK.with_settings([*settings, "optimiser.max_steps=3", "guard.dropout=0"])
        results.append(weights(tune(base, examples, recipe, tmp_path / name)))
        assert log(tmp_path / name)[0]["step"] == 1
    first, second = log(tmp_path / "a"), log(tmp_path / "b")
    for one, other in zip(first, second, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-3)
        assert one["safety_loss"] == pytest.approx(other["safety_loss"], rel=1e-3)
    for name, value in results[0].items():
        torch.testing.assert_close(value, results[1][name], atol=1e-3, rtol=1e-2)


def test_without_weight_the_guard_changes_nothing_else(base: Path, data: str, tmp_path: Path) -> None:
    settings = ["optimiser.max_steps=4", "compute.log_every=1"]
    unweighted = tune(base, data, QUICK.with_settings([*settings, "guard.loss_weight=0"]), tmp_path / "zero")
    without = tune(base, data, QUICK.with_settings([*settings, "guard.enabled=false"]), tmp_path / "off")
    assert is_guarded(load_model(unweighted))
    assert not is_guarded(load_model(without))
    first, second = weights(unweighted), weights(without)
    assert first.keys() - second.keys() == {n for n in first if n.startswith("img_safety_head")}
    for name, value in second.items():
        torch.testing.assert_close(first[name], value, atol=1e-6, rtol=1e-5)
    assert [line["loss"] for line in log(unweighted)] == pytest.approx(
        [line["loss"] for line in log(without)], abs=1e-5
    )
    assert all("safety_loss" not in line for line in log(without))


def test_lora_merged_and_as_adapter_are_the_same_model(base: Path, data: str, tmp_path: Path) -> None:
    lora = ["trainable.method=lora", "trainable.lora.dropout=0", "optimiser.epochs=8", "optimiser.learning_rate=1e-2"]
    merged = tune(base, data, QUICK.with_settings(lora), tmp_path / "merged")
    adapter = tune(base, data, QUICK.with_settings([*lora, "trainable.lora.save=adapter"]), tmp_path / "adapter")
    assert log(merged)[-1]["loss"] < 0.8 * log(merged)[0]["loss"]
    assert not (adapter / "model.safetensors").exists()
    before, after = weights(base), weights(merged)
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed
    assert all("_proj" in name or "projector" in name for name in changed), changed
    one, other = (readings(folder, data) for folder in (merged, adapter))
    for first, second in zip(one, other, strict=True):
        assert first.text == second.text
        assert (first.guard is None) == (second.guard is None)
        if first.guard and second.guard:
            assert list(first.guard.probabilities.values()) == pytest.approx(
                list(second.guard.probabilities.values()), abs=1e-4
            )
    again = [*lora, "optimiser.max_steps=1"]
    further = tune(adapter, data, QUICK.with_settings(again), tmp_path / "further")
    assert log(further)[0]["loss"] < 1.2 * log(merged)[-1]["loss"], "it went on from the adapter"
    with pytest.raises(InputError, match="merged"):
        tune(adapter, data, QUICK.with_settings([*again, "trainable.lora.save=adapter"]), tmp_path / "no")


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("pool", ["token", "image_and_text"])
def test_other_pooling_choices_learn_and_open_again(
    base: Path, data: str, tmp_path: Path, pool: str, method: str
) -> None:
    recipe = QUICK.with_settings(
        [f"guard.pool={pool}", f"trainable.method={method}", "optimiser.epochs=20", "optimiser.learning_rate=1e-2"]
    )
    out = tune(base, data, recipe, tmp_path / "out")
    assert log(out)[-1]["safety_loss"] < 0.5 * log(out)[0]["safety_loss"]
    assert load_guarded(out).config.safety_pool == pool
    assert ("<|safety|>" in load_processor(out).tokenizer.get_added_vocab()) == (pool == "token")
    right = [r.guard.label == COLOURS[r.sample_id.split("-")[0]] for r in readings(out, data) if r.guard]
    assert len(right) == 16
    assert sum(right) >= 12


def test_rare_labels_weigh_more_where_the_recipe_says_so(base: Path, data: str, tmp_path: Path) -> None:
    """One green picture beside four of each other colour: the first step's guard loss, by hand from its logits."""
    examples = [example for example in load_examples(data) if not example.id.startswith("green") or "0" in example.id]
    settings = ["optimiser.batch_size=14", "optimiser.max_steps=1", "guard.dropout=0", "guard.class_balance=inverse"]
    recipe = QUICK.with_settings(settings)
    line = log(tune(base, examples, recipe, tmp_path / "out"))[0]
    from transformers import set_seed

    model, processor = load_model(base), load_processor(base)
    set_seed(recipe.seed)
    model = with_guard(model, recipe)
    batch = Collator(processor, ends=[2], labels=IMAGE_LABELS)(examples)
    kinds = batch["safety_labels"]
    with torch.no_grad():
        each = F.cross_entropy(model(**batch).img_safety_logits, kinds, ignore_index=-100, reduction="none")
    count = {kind: int((kinds == kind).sum()) for kind in set(kinds.tolist()) - {-100}}
    expected = sum(13 / (4 * count[int(k)]) * float(e) for k, e in zip(kinds, each, strict=True) if k != -100) / 13
    assert line["safety_loss"] == pytest.approx(expected, rel=1e-4)
    assert line["safety_loss"] != pytest.approx(float(each.sum() / 13), rel=3e-4)
    assert line["loss"] == pytest.approx(line["lm_loss"] + 0.5 * line["safety_loss"], rel=1e-4)


def test_a_cached_tower_gives_the_same_weights(base: Path, data: str, tmp_path: Path) -> None:
    settings = ["optimiser.epochs=2"]
    plain = weights(tune(base, data, QUICK.with_settings(settings), tmp_path / "plain"))
    cached = weights(
        tune(base, data, QUICK.with_settings([*settings, "compute.cache_vision=true"]), tmp_path / "cached")
    )
    for name, value in plain.items():
        torch.testing.assert_close(value, cached[name], atol=1e-4, rtol=1e-3)


def test_a_guarded_base_is_tuned_further(tuned: Path, data: str, tmp_path: Path) -> None:
    recipe = QUICK.with_settings(["optimiser.max_steps=2", "guard.loss_weight=0.25", "guard.hidden_scale=2"])
    further = tune(tuned, data, recipe, tmp_path / "out")
    assert log(further)[0]["safety_loss"] < 1.0, "its head was kept"
    assert load_model(further).config.safety_loss_lambda == 0.25


@pytest.mark.parametrize("family", ["gemma3", "idefics3", "qwen2_5_vl"])
def test_other_families(tmp_path: Path, data: str, family: str) -> None:
    base = tiny_models.FAMILIES[family](tmp_path / family)
    recipe = QUICK.with_settings(["optimiser.epochs=4", "compute.gradient_checkpointing=true", "compute.bf16=true"])
    out = tune(base, data, recipe, tmp_path / "out")
    assert log(out)[-1]["lm_loss"] < log(out)[0]["lm_loss"]
    answers = readings(out, data)
    assert {response.finish for response in answers} <= {"stop", "truncated"}
    assert sum(response.guard is not None for response in answers) == 16


def test_the_shipped_lora_recipe_runs_in_bfloat16(base: Path, data: str, tmp_path: Path) -> None:
    out = tune(base, data, load_recipe("lora").with_settings(["optimiser.max_steps=2"]), tmp_path / "out")
    assert {value.dtype for value in weights(out).values()} == {torch.bfloat16}
    assert all(response.finish != "error" for response in readings(out, data))


def trainer_for(base: Path, data: str, settings: list[str], scratch: Path) -> Any:
    recipe = QUICK.with_settings(settings)
    model = set_trainable(with_guard(load_model(base), recipe), recipe)
    return make_trainer(model, load_processor(base), load_examples(data), recipe, scratch)


def test_the_guard_may_have_its_own_learning_rate(base: Path, data: str, tmp_path: Path) -> None:
    settings = ["guard.learning_rate=0.125", "optimiser.weight_decay=0.5", "optimiser.max_grad_norm=0.25"]
    trainer = trainer_for(base, data, settings, tmp_path)
    assert trainer.args.max_grad_norm == 0.25
    head = {id(p) for p in trainer.model.img_safety_head.parameters()}
    groups = trainer.create_optimizer().param_groups
    for group in groups:
        inside = {id(p) in head for p in group["params"]}
        assert inside == {group["lr"] == 0.125}
        assert {p.dim() > 1 for p in group["params"]} == {group["weight_decay"] == 0.5}
    trained = [p for p in trainer.model.parameters() if p.requires_grad]
    assert sum(len(group["params"]) for group in groups) == len(trained)


def test_batches_of_like_lengths(base: Path, data: str, tmp_path: Path) -> None:
    def spread(grouped: bool) -> int:
        trainer = trainer_for(base, data, [f"compute.group_by_length={grouped}", "optimiser.batch_size=4"], tmp_path)
        trainer.examples[:] = trainer.examples * 10
        order = list(trainer._get_train_sampler())
        assert sorted(order) == list(range(170))
        lengths = [len(e.messages[0].text + e.answer) for e in (trainer.examples[i] for i in order)]
        return sum(max(lengths[k : k + 4]) - min(lengths[k : k + 4]) for k in range(0, 168, 4))

    assert spread(True) < 0.4 * spread(False)


def nothing_left(folder: Path) -> bool:
    return not list(folder.iterdir())


def test_bad_input_leaves_nothing_behind(base: Path, data: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text(json.dumps({"id": "1", "images": ["no.png"], "query": "q", "response": "r"}))
    place = tmp_path / "place"
    place.mkdir()
    for given, field in (
        ({"data": str(broken)}, "images"),
        ({"base": tmp_path / "no-model"}, None),
        ({"recipe": "no-recipe"}, None),
        ({"recipe": QUICK.with_settings(["data.shares={SSX: 1}"])}, "data.shares"),
        ({"recipe": QUICK.with_settings(["compute.attention=flash_attention_2"])}, "compute.attention"),
        ({"recipe": QUICK.with_settings(["optimiser.learning_rate=1e30", "optimiser.max_grad_norm=0"])}, None),
    ):
        arguments: dict[str, Any] = {"base": base, "data": data, "recipe": QUICK, "out": place / "out"} | given
        with pytest.raises(InputError) as caught:
            tune(**arguments)
        assert caught.value.field == field
        assert "\n" not in str(caught.value)
        assert nothing_left(place)


def test_an_interrupted_run_leaves_nothing_behind(base: Path, data: str, tmp_path: Path) -> None:
    def stop(step: int, total: int, losses: dict[str, float]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(base, data, QUICK, tmp_path / "out", progress=stop)
    assert nothing_left(tmp_path)


def test_a_folder_that_holds_something_is_not_touched(base: Path, data: str, tmp_path: Path) -> None:
    (tmp_path / "note").write_text("mine")
    for out in (tmp_path, tmp_path / "note"):
        with pytest.raises(InputError):
            tune(base, data, QUICK, out)
    assert [path.name for path in tmp_path.iterdir()] == ["note"]


def test_an_empty_folder_is_filled(base: Path, tmp_path: Path, data: str) -> None:
    (tmp_path / "out").mkdir()
    tune(base, load_examples(data), QUICK.with_settings(["optimiser.max_steps=1"]), tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"out"}
    assert {path.stat().st_mode for path in (tmp_path / "out").iterdir()} == {
        (tmp_path / "out/recipe.yaml").stat().st_mode
    }


def test_validation_on_pictures_that_are_held_back(base: Path, data: str, tmp_path: Path) -> None:
    """One of the colours, or the text, is never shown; its loss stands in the log, and the best model is taken."""
    examples = load_examples(data)
    train, held = hold_back(examples, 0.25)
    pictures = [{picture.name for one in half for picture in one.pictures} for half in (train, held)]
    assert not pictures[0] & pictures[1]
    assert len(train) + len(held) == len(examples)
    recipe = QUICK.with_settings(
        ["validation.share=0.25", "validation.patience=2", "compute.save_every=2", "optimiser.epochs=40"]
    )
    out = tune(base, data, recipe, tmp_path / "out")
    losses = [(line["step"], line["validation_loss"]) for line in log(out) if "validation_loss" in line]
    best = min(losses, key=lambda pair: pair[1])
    assert losses[-1][0] < 40 * 2, "it stopped early"
    assert [step for step, _ in losses] == list(range(2, losses[-1][0] + 1, 2))
    assert best[0] == losses[-3][0], "two later checkpoints were no better"
    model, processor = load_guarded(out), load_processor(out)
    batch = Collator(processor, ends=[processor.tokenizer.eos_token_id], labels=IMAGE_LABELS)
    parts = [batch(held[at : at + 9]) for at in range(0, len(held), 9)]
    with torch.no_grad():
        weighed = [(float(model(**part).loss), len(part["input_ids"])) for part in parts]
    mean = sum(loss * size for loss, size in weighed) / len(held)
    assert mean == pytest.approx(best[1], abs=1e-4), "the best model was saved"
    assert json.loads((out / "tuning.json").read_text())["held_back"] == len(held)


def test_what_cannot_be_held_back_is_said(base: Path, data: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no example to validate with"):
        tune(base, data, QUICK.with_settings(["validation.share=0.01"]), tmp_path / "out")
    for wrong in (["validation.patience=2"], ["validation.share=0.5", "compute.save_every=null"]):
        with pytest.raises(InputError, match="validation"):
            QUICK.with_settings(wrong)


def test_the_log_is_on_disk_as_it_goes_and_reporters_are_told(base: Path, data: str, tmp_path: Path) -> None:
    seen: list[int] = []
    place = unfinished(tmp_path / "out") / "training_log.jsonl"

    def look(step: int, steps: int, losses: dict[str, float]) -> None:
        seen.append(len(place.read_text().splitlines()))

    tune(base, data, QUICK.with_settings(["optimiser.max_steps=3"]), tmp_path / "out", progress=look)
    assert seen == [1, 2, 3]

    class Told(TrainerCallback):
        losses: ClassVar[list[float]] = []

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **more: Any) -> None:
            self.losses += [logs["loss"]] if "loss" in logs else []

    trainer = trainer_for(base, data, ["optimiser.max_steps=3"], tmp_path)
    trainer.add_callback(Told())
    trainer.train()
    assert Told.losses == [line["loss"] for line in trainer.training_log.lines]


def test_an_unknown_reporter_is_one_line(base: Path, data: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nobody is not supported") as caught:
        tune(base, data, QUICK.with_settings(["compute.report_to=[nobody]"]), tmp_path / "out")
    assert caught.value.field == "compute.report_to"
    assert nothing_left(tmp_path)
