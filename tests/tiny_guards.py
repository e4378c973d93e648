"""Tiny random models of the classes that others' guards have, saved as whole folders.

Llama 4's images need torchvision, which is not at hand: of Llama Guard's two classes there is Mllama.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import (
    LlavaOnevisionConfig,
    MllamaConfig,
    ShieldGemma2Config,
    ShieldGemma2ForImageClassification,
    ShieldGemma2Processor,
)
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil
from transformers.models.mllama.image_processing_pil_mllama import MllamaImageProcessorPil
from transformers.models.mllama.processing_mllama import MllamaProcessor

from tiny_models import TEMPLATE, VISION, save, save_parts, text_config, tokenizer


def shieldgemma2(folder: Path) -> Path:
    words = tokenizer(boi_token="<boi>", eoi_token="<eoi>", image_token="<image_soft_token>")
    config = ShieldGemma2Config(
        text_config=text_config(
            "gemma3_text", words, sliding_window=16, layer_types=["sliding_attention", "full_attention"],
            query_pre_attn_scalar=12,
        ),
        vision_config={"model_type": "siglip_vision_model", "vision_use_head": False, **VISION},
        image_token_index=words.image_token_id,
        boi_token_index=words.convert_tokens_to_ids("<boi>"),
        eoi_token_index=words.convert_tokens_to_ids("<eoi>"),
        mm_tokens_per_image=4,
        yes_token_index=20,
        no_token_index=21,
    )  # fmt: skip
    processor = ShieldGemma2Processor(
        image_processor=Gemma3ImageProcessorPil(size={"height": 32, "width": 32}),
        tokenizer=words,
        chat_template=TEMPLATE.replace("IMAGE", "<boi>"),
        image_seq_length=4,
    )
    torch.manual_seed(0)
    model = ShieldGemma2ForImageClassification(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def mllama(folder: Path) -> Path:
    """Llama Guard 3 Vision's class: images come in by cross-attention."""
    words = tokenizer("<|image|>", "<|python_tag|>")
    vision = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_global_layers": 1,
        "attention_heads": 4, "image_size": 32, "patch_size": 8, "max_num_tiles": 2, "vision_output_dim": 64,
        "intermediate_layers_indices": [0], "supported_aspect_ratios": [[1, 1], [1, 2], [2, 1]],
    }  # fmt: skip
    text = text_config("mllama_text_model", words, cross_attention_layers=[1])
    text["vocab_size"] = len(words)
    config = MllamaConfig(
        text_config=text, vision_config=vision, image_token_index=words.convert_tokens_to_ids("<|image|>")
    )
    processor = MllamaProcessor(
        image_processor=MllamaImageProcessorPil(size={"height": 32, "width": 32}, max_image_tiles=2),
        tokenizer=words,
        chat_template=TEMPLATE.replace("IMAGE", "<|image|>"),
    )
    return save(folder, config, processor)


def onevision(folder: Path) -> Path:
    """LlavaGuard 1.2's class: an image is seen whole and in tiles."""
    words = tokenizer("<image>", "<video>")
    words.chat_template = TEMPLATE.replace("IMAGE", "<image>")
    config = LlavaOnevisionConfig(
        text_config=text_config("qwen2", words),
        vision_config={"model_type": "siglip_vision_model", "vision_use_head": False, **VISION},
        image_token_index=words.convert_tokens_to_ids("<image>"),
        video_token_index=words.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=[[32, 64]],
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )
    images = LlavaOnevisionImageProcessorPil(size={"height": 32, "width": 32}, image_grid_pinpoints=[[32, 64]])
    save_parts(folder, config, words, images, words.chat_template, "LlavaOnevisionProcessor")
    counted = {"num_image_tokens": 16, "vision_feature_select_strategy": "full"}
    (folder / "processor_config.json").write_text(json.dumps({"processor_class": "LlavaOnevisionProcessor", **counted}))
    return folder
