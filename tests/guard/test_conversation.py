"""Prompts and answers through chat templates of the kinds that open models ship."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import tiny_models
from holisafe.guard import load_processor
from holisafe.guard.conversation import answer_text, join, prompt_text
from holisafe.records import Message, Picture

PICTURE = Picture("x", lambda: Image.new("RGB", (32, 32)))
SYSTEM, USER = Message("system", "be careful"), Message("user", "what is it", (PICTURE, PICTURE))

VICUNA = (
    "{% for m in messages %}{{ m['role'].upper() }}: {% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>\n{% else %}{{ c['text'] }} {% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
WRITTEN_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}[{{ messages[0]['content'] | trim }}]"
    "{% set messages = messages[1:] %}{% endif %}" + VICUNA
)
ALWAYS_THINKING = VICUNA.replace("ASSISTANT:", "ASSISTANT: <think></think>")
LOSSY = "{% for m in messages %}{{ m['role'] }}{% endfor %}"


@pytest.fixture
def processor(tmp_path: Path) -> Any:
    return load_processor(tiny_models.llava(tmp_path / "m"))


@pytest.mark.parametrize(
    ("template", "prompt", "answer"),
    [
        (VICUNA, "SYSTEM: be careful USER: <image>\n<image>\nwhat is it ASSISTANT:", " a dog "),
        (WRITTEN_SYSTEM, "[be careful]USER: <image>\n<image>\nwhat is it ASSISTANT:", " a dog "),
        (ALWAYS_THINKING, "SYSTEM: be careful USER: <image>\n<image>\nwhat is it ASSISTANT: <think></think>", "a dog"),
        (None, "be careful\n<image><image>what is it\n", "a dog"),
    ],
    ids=["vicuna", "system as text", "prompt goes beyond the turn", "no template"],
)
def test_templates(processor: Any, template: str | None, prompt: str, answer: str) -> None:
    processor.chat_template = template
    assert prompt_text(processor, [SYSTEM, USER]) == prompt
    assert answer_text(processor, [SYSTEM, USER], "a dog", prompt_text(processor, [SYSTEM, USER])) == answer


def test_a_template_that_loses_text_is_an_error(processor: Any) -> None:
    processor.chat_template = LOSSY
    with pytest.raises(ValueError, match="whole"):
        prompt_text(processor, [SYSTEM, USER])


def test_turns_before_the_question_stay_in_order(processor: Any) -> None:
    processor.chat_template = VICUNA
    turns = [Message("user", "hi"), Message("assistant", "hello"), USER]
    assert prompt_text(processor, turns) == "USER: hi ASSISTANT: hello USER: <image>\n<image>\nwhat is it ASSISTANT:"


def test_join_pads_sequences_and_lays_the_rest_end_to_end() -> None:
    rows = [
        {"input_ids": torch.tensor([[5, 6]]), "attention_mask": torch.ones(1, 2).long(), "pixels": torch.zeros(1, 3)},
        {"input_ids": torch.tensor([[7]]), "attention_mask": torch.ones(1, 1).long()},
    ]
    left, right = (join(rows, pad_token=9, side=side) for side in ("left", "right"))
    assert left is not None
    assert right is not None
    assert left["input_ids"].tolist() == [[5, 6], [9, 7]]
    assert right["input_ids"].tolist() == [[5, 6], [7, 9]]
    assert right["attention_mask"].tolist() == [[1, 1], [1, 0]]
    assert right["pixels"].shape == (1, 3)


@pytest.mark.parametrize("other", [torch.zeros(1, 4), torch.zeros(1, 3).double()], ids=["shape", "dtype"])
def test_join_leaves_to_the_processor_what_does_not_fit(other: torch.Tensor) -> None:
    rows = [{"input_ids": torch.tensor([[5]]), "pixels": pixels} for pixels in (torch.zeros(1, 3), other)]
    assert join(rows, pad_token=9, side="left") is None
    partly = [
        {"input_ids": torch.tensor([[5]]), "token_type_ids": torch.tensor([[1]])},
        {"input_ids": torch.tensor([[5]])},
    ]
    assert join(partly, pad_token=9, side="left") is None
