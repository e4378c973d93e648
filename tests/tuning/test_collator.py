"""Batches: labels on the answer alone, the very tokens a target asks with, and the guard's labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import tiny_models
from holisafe.errors import InputError
from holisafe.guard import attach_guard, load_model, load_processor
from holisafe.guard.conversation import encode, prompt_text
from holisafe.records import Message, Picture
from holisafe.taxonomy import IMAGE_LABELS
from holisafe.tuning.collator import Collator, write
from holisafe.tuning.data import Example

ENDS = [2]


@pytest.fixture(scope="module")
def processors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("families")
    return {name: load_processor(build(root / name)) for name, build in tiny_models.FAMILIES.items()}


class Drawn:
    """Pictures that count how often they are opened."""

    def __init__(self) -> None:
        self.opened = 0

    def __call__(self, seed: int) -> Picture:
        def draw() -> Image.Image:
            self.opened += 1
            return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (32, 32, 3), dtype=np.uint8))

        return Picture(str(seed), draw)


def example(
    query: str, answer: str, pictures: tuple[Picture, ...], label: str | None = None, system: str = ""
) -> Example:
    head = (Message("system", system),) if system else ()
    return Example(query, (*head, Message("user", query, pictures)), answer, label)


def batch_of(draw: Drawn, images: tuple[int, ...] = (1, 1, 1)) -> list[Example]:
    texts = [
        ("what does the picture show", "the picture shows a red square .", "safe", ""),
        ("how", "sorry , i cannot help with that because it is dangerous .", "suicide", "you are a careful assistant"),
        ("which colour is it ? it is not blue", "green", None, ""),
    ]
    return [
        example(q, a, tuple(draw(10 * n + k) for k in range(count)), label, system)
        for n, ((q, a, label, system), count) in enumerate(zip(texts, images, strict=True))
    ]


@pytest.mark.parametrize("images", [(1, 1, 1), (2, 2, 2), (1, 3, 0)], ids=str)
@pytest.mark.parametrize("family", sorted(tiny_models.FAMILIES))
def test_labels_are_the_answer_and_its_end_and_nothing_else(
    processors: dict[str, Any], family: str, images: tuple[int, ...]
) -> None:
    processor, examples = processors[family], batch_of(Drawn(), images)
    batch = Collator(processor, ends=ENDS)(examples)
    words = processor.tokenizer
    assert batch["labels"].shape == batch["input_ids"].shape == batch["attention_mask"].shape
    for row, one in enumerate(examples):
        ids, labels, mask = (batch[name][row] for name in ("input_ids", "labels", "attention_mask"))
        assert words.decode(labels[labels != -100]) == one.answer + "</s>"
        real = int(mask.sum())
        assert mask.tolist() == [1] * real + [0] * (len(mask) - real), "padding stands right"
        assert (ids[real:] == words.pad_token_id).all()
        start = int((labels != -100).nonzero()[0])
        asked = encode(
            processor, [prompt_text(processor, one.messages)], [[p.open() for p in one.pictures]], side="left"
        )
        assert ids[:start].tolist() == asked["input_ids"][0].tolist(), "it is trained on what it is asked with"


@pytest.mark.parametrize("family", sorted(tiny_models.FAMILIES))
def test_a_joined_batch_is_what_the_processor_makes_of_the_whole(processors: dict[str, Any], family: str) -> None:
    processor, examples = processors[family], batch_of(Drawn())
    batch = Collator(processor, ends=ENDS)(examples)
    whole = encode(
        processor,
        [write(processor, one, ENDS).text for one in examples],
        [[p.open() for p in one.pictures] for one in examples],
        side="right",
    )
    assert batch.keys() - whole.keys() == {"labels"}
    for name, value in whole.items():
        assert torch.equal(batch[name], value), name


def test_other_token_types_come_along(processors: dict[str, Any]) -> None:
    draw = Drawn()
    assert "mm_token_type_ids" in Collator(processors["qwen2_5_vl"], ends=ENDS)(batch_of(draw))
    assert "token_type_ids" in Collator(processors["gemma3"], ends=ENDS)(batch_of(draw))


def test_a_family_with_its_own_way_of_batching_sees_the_whole_batch(processors: dict[str, Any]) -> None:
    batch = Collator(processors["idefics3"], ends=ENDS)(batch_of(Drawn(), (1, 3, 2)))
    assert batch["pixel_values"].shape[:2] == (3, 3), "images padded to the most of a sample"


def test_examples_are_prepared_once_within_the_budget(processors: dict[str, Any]) -> None:
    draw = Drawn()
    examples, collator = batch_of(draw), Collator(processors["llava"], ends=ENDS)
    first, second = collator(examples), collator(examples)
    assert draw.opened == 3
    assert all(torch.equal(first[name], second[name]) for name in first)
    without = Collator(processors["llava"], ends=ENDS, cache_bytes=0)
    without(examples), without(examples)
    assert draw.opened == 9


def test_guard_labels(processors: dict[str, Any]) -> None:
    draw = Drawn()
    examples = [*batch_of(draw), replace(batch_of(draw, (0, 0, 0))[0], id="no image, but a label")]
    collator = Collator(processors["llava"], ends=ENDS, labels=IMAGE_LABELS)
    assert collator(examples)["safety_labels"].tolist() == [0, IMAGE_LABELS.index("suicide"), -100, -100]
    assert "safety_labels" not in Collator(processors["llava"], ends=ENDS)(examples)
    with pytest.raises(InputError, match="'suicide'"):
        Collator(processors["llava"], ends=ENDS, labels=("safe", "unsafe"))(examples)


def test_an_end_token_is_added_only_where_the_template_writes_none(tmp_path: Path) -> None:
    processor = load_processor(tiny_models.llava(tmp_path / "m"))
    one = example("how", "green", ())
    assert write(processor, one, ENDS).text.endswith("<|assistant|>green</s>")
    processor.chat_template = tiny_models.TEMPLATE.replace("{{ eos_token }}", " ").replace("IMAGE", "<image>")
    written = write(processor, one, ENDS)
    assert written.text.endswith("<|assistant|>green </s>")
    assert written.learned[-1] == processor.tokenizer.eos_token_id


def test_end_tokens_inside_an_answer_are_words(processors: dict[str, Any]) -> None:
    words = processors["llava"].tokenizer
    written = write(processors["llava"], example("how", "green</s> red", ()), ENDS)
    assert written.learned.count(words.eos_token_id) == 1
    assert words.decode(written.learned) == "green< /s> red</s>"


@pytest.mark.parametrize("family", sorted(tiny_models.FAMILIES))
def test_a_batch_without_images_gets_one_that_changes_neither_loss_nor_gradients(tmp_path: Path, family: str) -> None:
    folder = tiny_models.FAMILIES[family](tmp_path / family)
    model, processor = attach_guard(load_model(folder), dropout=0.0).train(), load_processor(folder)
    examples = [replace(one, image_label="safe") for one in batch_of(Drawn(), (0, 0, 0))]
    found = []
    for always in (False, True):
        batch = Collator(processor, ends=ENDS, labels=IMAGE_LABELS, always_image=always)(examples)
        assert ("pixel_values" in batch) == always
        assert len(batch["input_ids"]) == 3 + always
        model.zero_grad()
        output = model(**batch)
        output.loss.backward()
        gradients = {
            name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None
        }
        found.append((output.loss.detach(), gradients))
    (loss, without), (same, gradients) = found
    torch.testing.assert_close(loss, same)
    tower = {name for name in gradients if "vision" in name or "visual" in name}
    assert tower, "the tower takes part"
    for name, gradient in gradients.items():
        expected = without.get(name, torch.zeros_like(gradient))
        torch.testing.assert_close(gradient, expected, atol=2e-5, rtol=1e-4, msg=name)
    with_images = batch_of(Drawn(), (1, 0, 0))
    batch = Collator(processor, ends=ENDS, labels=IMAGE_LABELS, always_image=True)(with_images)
    assert len(batch["input_ids"]) == 3, "one is enough"
