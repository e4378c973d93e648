"""Tiny random models of several families, as data: a new family is one more entry of FAMILIES.

A sample is a list of token ids with the pixels of its images; `collate` pads samples into what a processor would give.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import CONFIG_MAPPING, MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, PreTrainedModel

IMAGE, VIDEO, START, END, VOCABULARY = 500, 501, 502, 503, 512
Pixels = dict[str, Tensor]

TEXT: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
LLAMA = {"model_type": "llama", **TEXT}
VISION: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
}
SWIN: dict[str, Any] = {
    "model_type": "swin",
    "image_size": 32,
    "patch_size": 8,
    "embed_dim": 16,
    "depths": [1, 1],
    "num_heads": [2, 4],
    "window_size": 2,
    "mlp_ratio": 2.0,
    "drop_path_rate": 0.0,
}
QWEN_VISION: dict[str, Any] = {
    "depth": 2,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_heads": 4,
    "patch_size": 8,
    "temporal_patch_size": 2,
    "spatial_merge_size": 2,
    "out_hidden_size": 64,
    "window_size": 32,
    "fullatt_block_indexes": [1],
}
MROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}


def square(generator: torch.Generator) -> Pixels:
    return {"pixel_values": torch.randn(1, 3, 32, 32, generator=generator)}


def qwen_patches(generator: torch.Generator) -> Pixels:
    pixels = torch.randn(16, 3 * 2 * 8 * 8, generator=generator)
    return {"pixel_values": pixels, "image_grid_thw": torch.tensor([[1, 4, 4]])}


@dataclass(frozen=True)
class Family:
    """What sets a family apart. `tokens` is how many positions one image takes; `nested` means pixels [B, images, ...];
    `exempt` maps the name of a check to why the stock model itself cannot do it."""

    model_type: str
    config: dict[str, Any]
    tokens: int
    image: Callable[[torch.Generator], Pixels] = square
    nested: bool = False
    marks: tuple[int, ...] = ()
    token_types: str | None = None
    pool: str = "hidden"
    exempt: dict[str, str] = field(default_factory=dict)


FAMILIES: dict[str, Family] = {
    "llava-clip": Family(
        "llava",
        {
            "text_config": LLAMA,
            "vision_config": {"model_type": "clip_vision_model", "projection_dim": 32, **VISION},
            "image_token_id": IMAGE,
            "vision_feature_layer": -2,
        },
        tokens=16,
    ),
    "llava-swin": Family(
        "llava",
        {
            "text_config": LLAMA,
            "vision_config": SWIN,
            "image_token_id": IMAGE,
            "vision_feature_layer": -1,
            "vision_feature_select_strategy": "full",
        },
        tokens=4,
        exempt={"gradient_checkpointing": "transformers wants to require gradients of Swin's embeddings, a tuple"},
    ),
    "qwen2_5_vl": Family(
        "qwen2_5_vl",
        {
            "text_config": {"rope_parameters": MROPE, **TEXT},
            "vision_config": QWEN_VISION,
            "image_token_id": IMAGE,
            "video_token_id": VIDEO,
            "vision_start_token_id": START,
            "vision_end_token_id": END,
        },
        tokens=4,
        image=qwen_patches,
        marks=(START, END),
        token_types="mm_token_type_ids",
    ),
    "gemma3": Family(
        "gemma3",
        {
            "text_config": {
                **TEXT,
                "sliding_window": 16,
                "layer_types": ["sliding_attention", "full_attention"],
                "query_pre_attn_scalar": 16,
            },
            "vision_config": {"model_type": "siglip_vision_model", "vision_use_head": False, **VISION},
            "image_token_id": IMAGE,
            "boi_token_id": START,
            "eoi_token_id": END,
            "mm_tokens_per_image": 4,
        },
        tokens=4,
        token_types="token_type_ids",
        pool="visual",
    ),
    "smolvlm": Family(
        "smolvlm",
        {
            "text_config": LLAMA,
            "vision_config": {"model_type": "smolvlm_vision", **VISION},
            "scale_factor": 2,
            "image_token_id": IMAGE,
        },
        tokens=4,
        nested=True,
    ),
    "blip-2": Family(
        "blip-2",
        {
            "text_config": {
                "model_type": "opt",
                "hidden_size": 64,
                "ffn_dim": 96,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "word_embed_proj_dim": 64,
                "vocab_size": VOCABULARY,
                "max_position_embeddings": 256,
                "pad_token_id": 0,
            },
            "vision_config": VISION,
            "qformer_config": {
                "hidden_size": 32,
                "intermediate_size": 64,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "encoder_hidden_size": 32,
                "vocab_size": VOCABULARY,
            },
            "num_query_tokens": 4,
            "image_token_index": IMAGE,
        },
        tokens=4,
        exempt={
            "no_image_at_all": "BLIP-2's forward needs pixel_values",
            "prefills_in_chunks": "BLIP-2 generates from embeddings, which transformers does not cut into chunks",
        },
    ),
    "internvl": Family(
        "internvl",
        {
            "text_config": {"model_type": "qwen2", **TEXT},
            "vision_config": {**VISION, "image_size": [32, 32], "patch_size": [8, 8]},
            "image_token_id": IMAGE,
        },
        tokens=4,
    ),
}


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
        ids = [1, *text(2)]
        for _ in range(number):
            placeholder = [IMAGE] * family.tokens
            ids += [*family.marks[:1], *placeholder, *family.marks[1:], *text(2)]
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
