"""Tiny random models of many families, and batches for them.

A sample is a list of token ids with the pixels of its images; `collate` pads samples into what a processor would give.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import CONFIG_MAPPING, MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, PreTrainedModel

from .tiny_configs import FAMILIES, IMAGE, TEXT, TOKEN, VIDEO, VISION, Family, Pixels

__all__ = [
    "FAMILIES",
    "IMAGE",
    "TEXT",
    "TOKEN",
    "VIDEO",
    "VISION",
    "Family",
    "answer_labels",
    "build",
    "collate",
    "samples",
]


def build(family: Family, seed: int = 0) -> PreTrainedModel:
    """A stock model with random weights, large enough that a wrong position or feature shows in every number."""
    torch.manual_seed(seed)
    config = CONFIG_MAPPING[family.model_type](**copy.deepcopy(family.config))
    model = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[type(config)]._from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                if not parameter.any():  # Gemma 3's projector starts at zero: every image would look the same
                    parameter.normal_(std=0.03)
                parameter.mul_(3)
    model.generation_config.pad_token_id = 0
    model.generation_config.eos_token_id = None  # never stop early
    return model.eval()


@dataclass(frozen=True)
class Sample:
    ids: list[int]
    images: list[Pixels]


def samples(family: Family, images: Sequence[int] = (1, 2, 0), seed: int = 1) -> list[Sample]:
    """Samples of different lengths with so many images each, text before, between and after."""
    generator = torch.Generator().manual_seed(seed)

    def text(length: int) -> list[int]:
        return torch.randint(10, 400, (length,), generator=generator).tolist()

    made = []
    for row, number in enumerate(images):
        ids = [1, TOKEN, *text(2)]  # a token before the images is not the one to read
        for _ in range(number):
            placeholder = [IMAGE] * family.tokens
            ids += [*family.marks[:1], *placeholder, *family.marks[1:], *text(2)]
            ids += [TOKEN, *text(1)]
        made.append(Sample(ids + text(3 + 2 * row), [family.image(generator) for _ in range(number)]))
    return made


def collate(family: Family, rows: Sequence[Sample], side: str = "right") -> dict[str, Tensor]:
    """Model inputs of a padded batch."""
    longest = max(len(row.ids) for row in rows)
    padding = [[0] * (longest - len(row.ids)) for row in rows]
    pairs = list(zip(rows, padding, strict=True))
    ids = [row.ids + pad if side == "right" else pad + row.ids for row, pad in pairs]
    ones = [[1] * len(row.ids) for row in rows]
    attention = [one + pad if side == "right" else pad + one for one, pad in zip(ones, padding, strict=True)]
    batch = {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(attention)}
    if family.token_types:
        batch[family.token_types] = (batch["input_ids"] == IMAGE).long()
    return batch | _collate_pixels(family, rows)


def _collate_pixels(family: Family, rows: Sequence[Sample]) -> Pixels:
    flat = [image for row in rows for image in row.images]
    if not flat:
        return {}
    if not family.nested:
        return {name: torch.cat([image[name] for image in flat]) for name in flat[0]}
    most = max(len(row.images) for row in rows)
    pixels = torch.zeros(len(rows), most, *flat[0]["pixel_values"].shape[1:])
    for index, row in enumerate(rows):
        for place, image in enumerate(row.images):
            pixels[index, place] = image["pixel_values"][0]
    return {"pixel_values": pixels}


def answer_labels(batch: dict[str, Tensor]) -> Tensor:
    """Language-model labels on every real text token."""
    labels = batch["input_ids"].clone()
    labels[(batch["attention_mask"] == 0) | (labels == IMAGE)] = -100
    return labels
