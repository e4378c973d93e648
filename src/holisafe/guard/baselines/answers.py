"""Baselines that answer in words: ask about each image, decode greedily, read the answer strictly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL.Image import Image

from ..attach import unwrap
from ..conversation import image_batch, image_prompt
from ..loading import load_model
from ..processors import load_processor
from ..quiet import quiet
from . import Opinion


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
        prompt = image_prompt(self.processor, self.question)
        inputs = image_batch(self.processor, core, [prompt] * len(images), images)
        with torch.inference_mode(), quiet():
            made = self.model.generate(
                **inputs, max_new_tokens=self.max_new_tokens, do_sample=False, pad_token_id=tokenizer.pad_token_id
            )
        said: list[str] = tokenizer.batch_decode(made[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return said


def load_answering(
    kind: str, source: str, device: str | None, question: str, parse: Callable[[str], Opinion], tokens: int, note: str
) -> AnsweringGuard:
    """From a folder or hub id, as `load_model` loads: safetensors only, every weight there, no remote code."""
    with quiet():
        processor = load_processor(source)
        model = load_model(source, device=device)
    return AnsweringGuard(f"{kind}/{source}", note, model, processor, question, parse, tokens)
