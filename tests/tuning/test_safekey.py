"""SafeKey's losses: against loops over single examples in plain torch, and tuning with them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import Blip2ForConditionalGeneration, LlavaForConditionalGeneration

import tiny_models
from holisafe.errors import InputError
from holisafe.guard import load_model, load_processor
from holisafe.tuning.assembly import make_trainer
from holisafe.tuning.data import load_examples
from holisafe.tuning.recipe import Recipe
from holisafe.tuning.resume import last_checkpoint, unfinished
from holisafe.tuning.safekey import HEADS, KEY, UNDERSTANDING, takes_positions
from holisafe.tuning.spans import Spans, sentence_end, spans_of
from holisafe.tuning.train import parts_found, parts_missed, prepared, tune

QUICK = Recipe().with_settings(
    [
        "safekey.enabled=true",
        "safekey.betas=[0.7, 0.4]",
        "safekey.dual_path_weight=0.3",
        "optimiser.learning_rate=2e-3",
        "optimiser.batch_size=4",
        "optimiser.epochs=3",
        "compute.log_every=1",
        "guard.loss_weight=0.5",
        "guard.dropout=0.0",
    ]
)
ASKED = {
    "red": ("the picture shows a red square . ", "it is white . ", "SSS", "it is red"),
    "blue": ("what does the picture show ? is it ", "dangerous ! because it is blue . ", "USU", "sorry , i cannot"),
}
ROWS = [
    {
        "id": f"{colour}-{copy}",
        "images": [f"{colour}.png"],
        "query": "what does the picture show" + " ?" * copy,
        "understanding": understood.strip(),
        "reasoning": f"{understood}{key}you are careful",
        "response": answer,
        "image_label": "safe" if kind == "SSS" else "suicide",
        "combination": kind,
    }
    for colour, (understood, key, kind, answer) in ASKED.items()
    for copy in range(3)
]
MORE = [
    {"id": "text", "query": "how do i", "thought": "which colour is it ? it is green . yes", "response": "green"},
    {"id": "without", "query": "how do i", "response": "it is green"},
]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bases")
    return {name: tiny_models.FAMILIES[name](folder / name) for name in ("llava", "qwen2_5_vl", "gemma3")}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("data")
    for colour in ASKED:
        Image.new("RGB", (32, 32), colour).save(folder / f"{colour}.png")
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*ROWS, *MORE]))
    return str(folder / "train.jsonl")


def begun(base: Path, data: str, out: Path, settings: list[str]) -> Any:
    """A trainer before its first step."""
    recipe, processor = QUICK.with_settings(settings), load_processor(base)
    return make_trainer(prepared(load_model(base), recipe, processor), processor, load_examples(data), recipe, out)


def by_hand(trainer: Any, examples: list[Any]) -> dict[str, float]:
    """Both losses from one unpadded forward an example, and one of its answer alone at the places that it has."""
    inner = getattr(trainer.model, "get_base_model", lambda: trainer.model)()
    heads, paths, said, words = trainer.safekey.heads, [], 0.0, 0
    for example in examples:
        batch = trainer._prepare_inputs(trainer.collator([example]))
        spans, refused = batch.pop("spans")[0], int(batch.pop("refused")[0])
        labels = batch.pop("labels")[0]
        batch.pop("safety_labels", None)
        understood, key = ((spans == code).nonzero().flatten() for code in (UNDERSTANDING, KEY))
        with torch.no_grad():
            hidden = trainer.model(**batch, output_hidden_states=True, use_cache=False)["hidden_states"][-1][0]
            if len(understood) and refused >= 0:
                both = heads.context(hidden[: int(understood[-1]) + 1].mean(0))
                alone = heads.understanding(hidden[understood].mean(0))
                sign = 1 if refused else -1
                paths.append(sum(b * math.log1p(math.exp(-sign * float(s))) for b, s in ((0.7, both), (0.4, alone))))
            if len(key):
                start = int((labels != -100).nonzero()[0])
                places = torch.arange(len(labels)).unsqueeze(0)
                if hasattr(inner.model, "get_rope_index"):
                    names = ("input_ids", "mm_token_type_ids", "image_grid_thw", "attention_mask")
                    places, _ = inner.model.get_rope_index(**{name: batch[name] for name in names if name in batch})
                alone = trainer.model(input_ids=batch["input_ids"][:, start:], position_ids=places[..., start:])
                logs = alone["logits"][0].log_softmax(-1)
                said -= sum(float(logs[int(k) - start - 1, batch["input_ids"][0, k]]) for k in key)
                words += len(key)
    return {"dual_path_loss": sum(paths) / len(paths), "query_mask_loss": said / words}


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("llava", []),
        ("llava", ["trainable.method=lora", "trainable.lora.dropout=0.0", "guard.enabled=false"]),
        ("qwen2_5_vl", ["trainable.method=lora", "trainable.lora.dropout=0.0"]),
        ("gemma3", []),
    ],
)
def test_the_losses_are_those_of_single_examples(
    bases: dict[str, Path], data: str, tmp_path: Path, family: str, settings: list[str]
) -> None:
    """In a padded batch with pictures, a text alone and an example without a thought; with a guard; full and LoRA."""
    trainer = begun(bases[family], data, tmp_path, settings)
    trainer.state.max_steps = 1
    batch = [trainer.examples[place] for place in (0, 4, 6, 7)]
    _, outputs = trainer.compute_loss(trainer.model.train(), trainer._prepare_inputs(trainer.collator(batch)), True)
    for name, expected in by_hand(trainer, batch).items():
        assert float(outputs[name].detach()) == pytest.approx(expected, abs=1e-5)
    parts = {"lm_loss": 1.0, "safety_loss": 0.5, "dual_path_loss": 0.3, "query_mask_loss": 0.2}
    if outputs.get("lm_loss") is None:  # without a guard the model's own loss has no name
        del parts["lm_loss"], parts["safety_loss"]
        trainer.state.max_steps = 100
        alone = trainer.compute_loss(trainer.model, trainer._prepare_inputs(trainer.collator(batch)))
        assert float(outputs["loss"] - alone) == pytest.approx(
            float(sum(weight * outputs[name] for name, weight in parts.items())), abs=1e-5
        )
    else:
        total = sum(weight * float(outputs[name]) for name, weight in parts.items())
        assert float(outputs["loss"]) == pytest.approx(total, abs=1e-5)


def test_tokens_of_the_parts_spell_them(bases: dict[str, Path], data: str, tmp_path: Path) -> None:
    for base in bases.values():
        collator = begun(base, data, tmp_path, []).collator
        examples = load_examples(data)
        batch = collator(examples)
        tokens = collator.processor.tokenizer
        for row, example in enumerate(examples):
            found = spans_of(example, 1)
            assert isinstance(found, Spans) == (example.thought is not None)
            for code, part in (
                ((UNDERSTANDING, slice(0, found[0])), (KEY, slice(*found[:2]))) if example.thought else ()
            ):
                said = tokens.decode(batch["input_ids"][row][batch["spans"][row] == code])
                assert said.strip() == example.thought[part].strip()
        assert batch["refused"].tolist() == [0, 0, 0, 1, 1, 1, -1, -1]


def test_ablations(bases: dict[str, Path], data: str, tmp_path: Path) -> None:
    """Detached, the model learns nothing from the heads; unmasked, the key sentence's loss is the plain one."""
    trainer = begun(bases["llava"], data, tmp_path, ["safekey.detach=true", "safekey.query_mask_weight=0"])
    trainer.state.max_steps = 1
    gradients = {}
    for wanted in (False, True):
        trainer.model.zero_grad()
        trainer.state.max_steps = 1 if wanted else 100
        trainer.compute_loss(
            trainer.model.train(), trainer._prepare_inputs(trainer.collator(trainer.examples))
        ).backward()
        gradients[wanted] = {name: p.grad.clone() for name, p in trainer.model.named_parameters() if p.grad is not None}
    assert all(torch.equal(value, gradients[False][name]) for name, value in gradients[True].items())
    assert all(float(p.grad.abs().sum()) > 0 for p in trainer.safekey.heads.parameters())

    trainer = begun(bases["llava"], data, tmp_path, ["safekey.mask=false", "safekey.dual_path_weight=0"])
    trainer.state.max_steps = 1
    batch = trainer._prepare_inputs(trainer.collator(trainer.examples[:4]))
    labels = batch["input_ids"].masked_fill(batch["spans"] != KEY, -100)
    _, outputs = trainer.compute_loss(trainer.model.train(), dict(batch), True)
    with torch.no_grad():
        ids = {name: batch[name] for name in ("input_ids", "attention_mask", "pixel_values")}
        plain = LlavaForConditionalGeneration.forward(trainer.model, **ids, labels=labels).loss
    assert float(outputs["query_mask_loss"]) == pytest.approx(float(plain), abs=1e-5)


def lines(folder: Path) -> list[dict[str, float]]:
    read = [json.loads(line) for line in (folder / "training_log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in read]


def test_off_is_supervised_and_on_works_in_the_last_epochs_alone(
    bases: dict[str, Path], data: str, tmp_path: Path
) -> None:
    """Six steps, two an epoch; the last two epochs begin at the third."""
    off, nothing, on = (
        tune(bases["llava"], data, QUICK.with_settings(settings), tmp_path / name)
        for name, settings in {
            "off": ["safekey.enabled=false"],
            "nothing": ["safekey.dual_path_weight=0", "safekey.query_mask_weight=0"],
            "on": [],
        }.items()
    )
    plain, same, other = (load_file(folder / "model.safetensors") for folder in (off, nothing, on))
    assert plain.keys() == same.keys() == other.keys(), "the heads are thrown away"
    assert all(torch.equal(plain[name], same[name]) for name in plain)
    assert not all(torch.equal(plain[name], other[name]) for name in plain)
    assert lines(off) == lines(nothing)
    assert lines(on)[:2] == lines(off)[:2]
    assert ["dual_path_loss" in line and "query_mask_loss" in line for line in lines(on)] == [False] * 2 + [True] * 4
    assert parts_missed(off) == {}
    assert parts_missed(on) == {"examples without a thought": 1}
    assert json.loads((on / "tuning.json").read_text())["safekey"] == {
        "examples learnt from": 7,
        "examples without a thought": 1,
    }


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_run_that_was_stopped_goes_on_with_its_heads(
    bases: dict[str, Path], data: str, tmp_path: Path, method: str
) -> None:
    recipe, out = QUICK.with_settings(["compute.save_every=1", f"trainable.method={method}"]), tmp_path / "out"
    through = tune(bases["llava"], data, recipe, tmp_path / "through")

    def stop(step: int, *_: Any) -> None:
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(bases["llava"], data, recipe, out, progress=stop)
    assert (Path(str(last_checkpoint(unfinished(out)))) / HEADS).is_file()
    tune(bases["llava"], data, recipe, out)
    assert lines(out) == lines(through)
    first, second = (load_file(folder / "model.safetensors") for folder in (through, out))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_what_it_does_not_go_with_is_refused(bases: dict[str, Path], data: str, tmp_path: Path) -> None:
    for setting in ("objective.kind=dpo", "trainable.method=guard", "compute.packing=true", "data.thoughts=none"):
        with pytest.raises(InputError, match="safekey"):
            QUICK.with_settings([setting])
    examples = [example for example in load_examples(data) if example.thought is None]
    with pytest.raises(InputError, match=r"no example has a thought.*1 examples without a thought"):
        parts_found(examples, QUICK)
    assert takes_positions(load_model(bases["llava"]))
    assert not takes_positions(object.__new__(Blip2ForConditionalGeneration))


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("He asks this. It is 3.5 metres, e.g. Wide!", ["He asks this.", " It is 3.5 metres, e.g. Wide!"]),
        ("Hmm... the user said “no.” Why", ["Hmm...", " the user said “no.”", " Why"]),
        ("1. first\n2. second", ["1. first\n", "2. second"]),
        ("他问。不可以！", ["他问。", "不可以！"]),
        (" ... ", []),
    ],
)
def test_sentences(text: str, ends: list[str]) -> None:
    found, at = [], 0
    while (end := sentence_end(text, at)) is not None:
        found.append(text[at:end])
        at = end
    assert found == ends
