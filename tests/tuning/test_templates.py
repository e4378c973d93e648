"""What is learned under the chat templates that families really have: the last answer and its end, nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import tiny_models
from holisafe.guard import load_processor
from holisafe.records import Message, Picture
from holisafe.tuning.collator import Collator
from holisafe.tuning.examples import Example

PARTS = (
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}"
)
EACH, END = "{% for message in messages %}", "{% endfor %}"
TEMPLATES = {
    "plain, as LLaVA-1.5": EACH
    + "{% if message['role'] == 'system' %}" + PARTS + " {% elif message['role'] == 'user' %}USER: " + PARTS
    + " {% else %}ASSISTANT: " + PARTS + "{{ eos_token }}{% endif %}" + END
    + "{% if add_generation_prompt %}ASSISTANT:{% endif %}",
    "ChatML, as Qwen and InternVL": EACH + "<|im_start|>{{ message['role'] }}\n" + PARTS + "<|im_end|>\n" + END
    + "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "as Gemma: no system turn": "{{ bos_token }}" + EACH
    + "{% if message['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    + "<start_of_turn>{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n" + PARTS
    + "<end_of_turn>\n" + END + "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}",
    "as SmolVLM": "<|im_start|>" + EACH + "{{ message['role'] | capitalize }}: " + PARTS + "<end_of_utterance>\n" + END
    + "{% if add_generation_prompt %}Assistant:{% endif %}",
    "as Llama: header tokens": "{{ bos_token }}" + EACH
    + "<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n" + PARTS + "<|eot_id|>" + END
    + "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
}  # fmt: skip
SPECIAL = (
    "<|im_start|>", "<|im_end|>", "<start_of_turn>", "<end_of_turn>", "<end_of_utterance>", "<|start_header_id|>",
    "<|end_header_id|>", "<|eot_id|>",
)  # fmt: skip
ENDS = ("</s>", "<|im_end|>", "<end_of_turn>", "<end_of_utterance>", "<|eot_id|>")


@pytest.fixture(scope="module")
def processor(tmp_path_factory: pytest.TempPathFactory) -> Any:
    loaded = load_processor(tiny_models.llava(tmp_path_factory.mktemp("m") / "llava"))
    loaded.tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIAL)})
    return loaded


@pytest.mark.parametrize("template", TEMPLATES)
def test_the_last_answer_and_its_end_are_learned(processor: Any, template: str) -> None:
    processor.chat_template = TEMPLATES[template]
    words = processor.tokenizer
    picture = Picture("red", lambda: Image.new("RGB", (32, 32), "red"))
    asked = Message("user", "what does the picture show", (picture,))
    talk = (asked, Message("assistant", "a red square ."), Message("user", "which colour is it ?"))
    examples = [
        Example("short", (asked,), "a square\nand <|im_end|> text"),
        Example("system", (Message("system", "you are careful"), asked), "sorry , i cannot help"),
        Example("talk", talk, "it is red"),
    ]
    ends = [words.convert_tokens_to_ids(token) for token in ENDS]
    batch = Collator(processor, ends=ends)(examples)
    for row, example in enumerate(examples):
        ids, labels = batch["input_ids"][row], batch["labels"][row]
        learned = ids[labels != -100].tolist()
        assert (labels[labels != -100] == ids[labels != -100]).all()
        said = example.answer.replace("<|im_end|>", "< |im_end|>")
        assert words.decode(learned[:-1]).strip() == said
        assert learned[-1] in ends
        assert not set(learned[:-1]) & set(ends)
        last = int((labels != -100).nonzero()[-1])
        assert int(batch["attention_mask"][row].sum()) == last + 1, "nothing after the end"


def test_a_template_file_is_where_it_was(tmp_path: Path) -> None:
    """The processors above are changed in memory only."""
    assert "USER" not in load_processor(tiny_models.llava(tmp_path / "llava")).chat_template
