"""Baselines that answer in words: ask about each image, decode greedily, read the answer strictly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL.Image import Image

from ...records import Message, Picture
from ..attach import unwrap
from ..conversation import encode, prompt_text
from ..errors import one_line
from ..loading import load_model
from ..processors import load_processor
from ..quiet import quiet
from .base import Opinion


@dataclass
class AnsweringGuard:
    """An image-text-to-text model with what it is asked and how its answer is read."""

    name: str
    note: str
    model: Any
    processor: Any
    question: str
    parse: Callable[[str], Opinion]
    max_new_tokens: int

    def read(self, images: Sequence[Image]) -> list[Opinion]:
        return [self.parse(answer) for answer in self.answers(images)]

    def answers(self, images: Sequence[Image]) -> list[str]:
        """What the model says of each image, control tokens left out."""
        tokenizer, core = self.processor.tokenizer, unwrap(self.model)
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        with one_line("the model's processor", "cannot take an image"):
            prompt = prompt_text(self.processor, [Message("user", self.question, (Picture("image", open=Image),))])
            inputs = encode(self.processor, [prompt] * len(images), [[image] for image in images], side="left")
        placed = {
            name: value.to(core.device, core.dtype if value.is_floating_point() else None)
            for name, value in inputs.items()
        }
        with torch.inference_mode(), quiet():
            made = self.model.generate(
                **placed, max_new_tokens=self.max_new_tokens, do_sample=False, pad_token_id=tokenizer.pad_token_id
            )
        said: list[str] = tokenizer.batch_decode(made[:, placed["input_ids"].shape[1] :], skip_special_tokens=True)
        return said


def load_answering(
    kind: str, source: str, device: str | None, question: str, parse: Callable[[str], Opinion], tokens: int, note: str
) -> AnsweringGuard:
    """From a folder or hub id, as `load_model` loads: safetensors only, every weight there, no remote code."""
    with quiet():
        processor = load_processor(source)
        model = load_model(source, device=device)
    return AnsweringGuard(f"{kind}/{source}", note, model, processor, question, parse, tokens)
