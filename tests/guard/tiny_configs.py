"""Tiny configs of many families, as data: a new family is one more entry of FAMILIES."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

IMAGE, VIDEO, START, END, TOKEN, VOCABULARY = 500, 501, 502, 503, 450, 512
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

IDS = {
    "image_token_id": IMAGE,
    "video_token_id": VIDEO,
    "vision_start_token_id": START,
    "vision_end_token_id": END,
}
GLM_IDS = {
    "image_start_token_id": START,
    "image_end_token_id": END,
    "image_token_id": IMAGE,
    "video_token_id": VIDEO,
    "video_start_token_id": 504,
    "video_end_token_id": 505,
}
QWEN2 = {"model_type": "qwen2", **TEXT}
MISTRAL = {"model_type": "mistral", **TEXT}
CLIP = {"model_type": "clip_vision_model", "projection_dim": 32, **VISION}
SIGLIP = {"model_type": "siglip_vision_model", "vision_use_head": False, **VISION}
PIXTRAL = {**VISION, "model_type": "pixtral", "head_dim": 8}
SLIDING = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 16}
COHERE2 = {"model_type": "cohere2", **TEXT, **SLIDING}
OPT: dict[str, Any] = {
    "model_type": "opt",
    "hidden_size": 64,
    "ffn_dim": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "word_embed_proj_dim": 64,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
}
QFORMER: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "encoder_hidden_size": 32,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 64,
}
INTERLEAVED = {**MROPE, "mrope_interleaved": True}
EXPERTS = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
}
QWEN3_VISION: dict[str, Any] = {
    "depth": 2,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_heads": 4,
    "patch_size": 8,
    "temporal_patch_size": 2,
    "spatial_merge_size": 2,
    "out_hidden_size": 64,
    "num_position_embeddings": 16,
}
DEEPSTACK = {**QWEN3_VISION, "deepstack_visual_indexes": [0, 1]}
LINEAR = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 10000.0,
        "mrope_section": [1, 1, 0],
        "partial_rotary_factor": 0.25,
        "mrope_interleaved": True,
    },
}
GLM_TEXT = {**TEXT, "rope_parameters": {**MROPE, "partial_rotary_factor": 1.0}}
GLM_VISION: dict[str, Any] = {
    "depth": 2,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_heads": 4,
    "patch_size": 8,
    "temporal_patch_size": 2,
    "spatial_merge_size": 2,
    "out_hidden_size": 64,
    "image_size": 32,
}


def square(generator: torch.Generator) -> Pixels:
    return {"pixel_values": torch.randn(1, 3, 32, 32, generator=generator)}


def qwen_patches(generator: torch.Generator) -> Pixels:
    pixels = torch.randn(16, 3 * 2 * 8 * 8, generator=generator)
    return {"pixel_values": pixels, "image_grid_thw": torch.tensor([[1, 4, 4]])}


def large(generator: torch.Generator) -> Pixels:
    return {"pixel_values": torch.randn(1, 3, 64, 64, generator=generator)}


def for_video_llava(generator: torch.Generator) -> Pixels:
    return {"pixel_values_images": torch.randn(1, 3, 32, 32, generator=generator)}


def sized(generator: torch.Generator) -> Pixels:
    return {**square(generator), "image_sizes": torch.tensor([[32, 32]])}


def tiles(generator: torch.Generator) -> Pixels:
    """The image as a whole and its two halves."""
    pixels = torch.randn(1, 3, 3, 32, 32, generator=generator)
    return {"pixel_values": pixels, "image_sizes": torch.tensor([[32, 64]])}


def with_question(generator: torch.Generator) -> Pixels:
    """InstructBLIP's Q-Former reads the instruction too."""
    ones = torch.ones(1, 3, dtype=torch.long)
    return {**square(generator), "qformer_input_ids": ones, "qformer_attention_mask": ones}


def fuyu_patches(generator: torch.Generator) -> Pixels:
    return {"pixel_values": torch.randn(1, 16, 192, generator=generator)}


def siglip2_patches(generator: torch.Generator) -> Pixels:
    return {
        "pixel_values": torch.randn(1, 16, 192, generator=generator),
        "spatial_shapes": torch.tensor([[4, 4]]),
        "pixel_attention_mask": torch.ones(1, 16, dtype=torch.long),
    }


def merged_patches(generator: torch.Generator) -> Pixels:
    return {
        "pixel_values": torch.randn(16, 192, generator=generator),
        "image_grid_thw": torch.tensor([[1, 4, 4]]),
        "image_merge_sizes": torch.tensor([2]),
    }


@dataclass(frozen=True)
class Family:
    """What sets a family apart. `tokens` is how many positions one image takes; `nested` means pixels [B, images, ...];
    `projected_are_public` says that the output's `image_hidden_states`, where it has them, are the projected features;
    `exempt` maps the name of a check to why the stock model itself cannot do it."""

    model_type: str
    config: dict[str, Any]
    tokens: int
    image: Callable[[torch.Generator], Pixels] = square
    nested: bool = False
    marks: tuple[int, ...] = ()
    token_types: str | None = None
    pool: str = "last_hidden"
    projected_are_public: bool = True
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
        pool="projected",
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
            "no_image_at_all": "forward needs pixel_values",
            "prefills_in_chunks": "generate works from embeddings, which transformers does not cut into chunks",
            "keeps_its_verdict_over_turns": "forward takes no cache",
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
    "llava-pixtral": Family(
        "llava",
        {
            "text_config": MISTRAL,
            "vision_config": PIXTRAL,
            "image_token_id": IMAGE,
            "vision_feature_layer": -1,
            "vision_feature_select_strategy": "full",
        },
        tokens=16,
        image=sized,
    ),
    "vipllava": Family(
        "vipllava",
        {
            "text_config": LLAMA,
            "vision_config": CLIP,
            "image_token_index": IMAGE,
            "vision_feature_layers": [-1, -2],
        },
        tokens=16,
    ),
    "llava_next": Family(
        "llava_next",
        {
            "text_config": LLAMA,
            "vision_config": CLIP,
            "image_token_index": IMAGE,
            "image_grid_pinpoints": [[32, 64]],
            "vision_feature_layer": -2,
        },
        tokens=52,
        image=tiles,
    ),
    "llava_next_video": Family(
        "llava_next_video",
        {
            "text_config": LLAMA,
            "vision_config": CLIP,
            "image_token_index": IMAGE,
            "video_token_index": VIDEO,
            "image_grid_pinpoints": [[32, 64]],
            "vision_feature_layer": -2,
        },
        tokens=52,
        image=tiles,
    ),
    "llava_onevision": Family(
        "llava_onevision",
        {
            "text_config": QWEN2,
            "vision_config": SIGLIP,
            "image_token_index": IMAGE,
            "video_token_index": VIDEO,
            "image_grid_pinpoints": [[32, 64]],
            "vision_feature_layer": -1,
            "vision_feature_select_strategy": "full",
        },
        tokens=52,
        image=tiles,
    ),
    "video_llava": Family(
        "video_llava",
        {"text_config": LLAMA, "vision_config": CLIP, "image_token_index": IMAGE, "video_token_index": VIDEO},
        tokens=16,
        image=for_video_llava,
    ),
    "qwen2_vl": Family(
        "qwen2_vl",
        {
            "text_config": {"rope_parameters": MROPE, **TEXT},
            "vision_config": {**QWEN_VISION, "hidden_size": 64, "embed_dim": 32, "mlp_ratio": 2},
            **IDS,
        },
        tokens=4,
        image=qwen_patches,
        marks=(START, END),
        token_types="mm_token_type_ids",
    ),
    "qwen3_vl": Family(
        "qwen3_vl",
        {"text_config": {**TEXT, "rope_parameters": INTERLEAVED}, "vision_config": DEEPSTACK, **IDS},
        tokens=4,
        image=qwen_patches,
        marks=(START, END),
        token_types="mm_token_type_ids",
    ),
    "qwen3_vl_moe": Family(
        "qwen3_vl_moe",
        {"text_config": {**TEXT, **EXPERTS, "rope_parameters": INTERLEAVED}, "vision_config": DEEPSTACK, **IDS},
        tokens=4,
        image=qwen_patches,
        marks=(START, END),
        token_types="mm_token_type_ids",
    ),
    "qwen3_5": Family(
        "qwen3_5",
        {"text_config": {**TEXT, **LINEAR}, "vision_config": QWEN3_VISION, **IDS},
        tokens=4,
        image=qwen_patches,
        marks=(START, END),
        token_types="mm_token_type_ids",
    ),
    "glm4v": Family(
        "glm4v",
        {"text_config": GLM_TEXT, "vision_config": GLM_VISION, **GLM_IDS},
        tokens=4,
        image=qwen_patches,
        marks=(START, END),
        token_types="mm_token_type_ids",
        exempt={
            "generates_beams_and_samples": "generate repeats patches one by one for its beams, which mixes up images"
        },
    ),
    "glm46v": Family(
        "glm46v",
        {
            "text_config": {"model_type": "glm4v_text", **GLM_TEXT},
            "vision_config": {"model_type": "glm4v_vision", **GLM_VISION},
            **GLM_IDS,
        },
        tokens=4,
        image=qwen_patches,
        marks=(START, END),
        token_types="mm_token_type_ids",
        exempt={
            "generates_beams_and_samples": "generate repeats patches one by one for its beams, which mixes up images"
        },
    ),
    "video_llama_3": Family(
        "video_llama_3",
        {
            "text_config": QWEN2,
            "vision_config": {**{k: v for k, v in VISION.items() if k != "image_size"}},
            "image_token_id": IMAGE,
            "video_token_id": VIDEO,
        },
        tokens=4,
        image=merged_patches,
    ),
    "paligemma": Family(
        "paligemma",
        {
            "text_config": {"model_type": "gemma", **TEXT},
            "vision_config": SIGLIP,
            "image_token_index": IMAGE,
            "projection_dim": 64,
            "vocab_size": VOCABULARY,
        },
        tokens=16,
        token_types="token_type_ids",
        exempt={
            "prefills_in_chunks": "an image's positions attend to each other, which chunks cut: the stock states "
            "differ (the projected features do not)"
        },
    ),
    "idefics2": Family(
        "idefics2",
        {
            "text_config": MISTRAL,
            "vision_config": {"model_type": "idefics2_vision", **VISION},
            "perceiver_config": {
                "model_type": "idefics2",
                "hidden_size": 64,
                "resampler_n_latents": 4,
                "resampler_depth": 2,
                "resampler_n_heads": 4,
                "resampler_head_dim": 16,
                "num_key_value_heads": 2,
            },
            "image_token_id": IMAGE,
        },
        tokens=4,
        nested=True,
    ),
    "idefics3": Family(
        "idefics3",
        {
            "text_config": LLAMA,
            "vision_config": {"model_type": "idefics3_vision", **VISION},
            "scale_factor": 2,
            "image_token_id": IMAGE,
        },
        tokens=4,
        nested=True,
    ),
    "mistral3": Family(
        "mistral3",
        {
            "text_config": MISTRAL,
            "vision_config": PIXTRAL,
            "image_token_index": IMAGE,
            "spatial_merge_size": 2,
            "vision_feature_layer": -1,
        },
        tokens=4,
        image=sized,
    ),
    "lighton_ocr": Family(
        "lighton_ocr",
        {
            "text_config": {"model_type": "qwen3", **TEXT},
            "vision_config": PIXTRAL,
            "spatial_merge_size": 2,
            "image_token_id": IMAGE,
        },
        tokens=4,
        image=sized,
    ),
    "aya_vision": Family(
        "aya_vision",
        {
            "text_config": COHERE2,
            "vision_config": SIGLIP,
            "image_token_index": IMAGE,
            "downsample_factor": 2,
            "alignment_intermediate_size": 64,
            "vision_feature_layer": -1,
            "vision_feature_select_strategy": "full",
        },
        tokens=4,
    ),
    "cohere2_vision": Family(
        "cohere2_vision",
        {
            "text_config": COHERE2,
            "vision_config": SIGLIP,
            "image_token_id": IMAGE,
            "downsample_factor": 2,
            "alignment_intermediate_size": 64,
        },
        tokens=4,
    ),
    "instructblip": Family(
        "instructblip",
        {
            "text_config": OPT,
            "vision_config": VISION,
            "qformer_config": QFORMER,
            "num_query_tokens": 4,
            "image_token_index": IMAGE,
        },
        tokens=4,
        image=with_question,
        exempt={
            "no_image_at_all": "forward needs pixel_values",
            "prefills_in_chunks": "generate works from embeddings, which transformers does not cut into chunks",
            "keeps_its_verdict_over_turns": "forward takes no cache",
        },
    ),
    "got_ocr2": Family(
        "got_ocr2",
        {
            "text_config": QWEN2,
            "vision_config": {
                "hidden_size": 32,
                "output_channels": 16,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "image_size": 64,
                "patch_size": 8,
                "mlp_dim": 64,
                "window_size": 4,
                "global_attn_indexes": [1],
            },
            "image_token_index": IMAGE,
        },
        tokens=4,
        image=large,
    ),
    "janus": Family(
        "janus",
        {
            "text_config": LLAMA,
            "vision_config": {**VISION, "mlp_ratio": 2, "depth": 2, "projection_dim": 64, "num_image_tokens": 16},
            "image_token_id": IMAGE,
            "vq_config": {
                "embed_dim": 8,
                "num_embeddings": 16,
                "latent_channels": 8,
                "double_latent": False,
                "base_channels": 32,
                "channel_multiplier": [1, 1],
                "num_res_blocks": 1,
                "num_patches": 4,
                "projection_dim": 64,
                "image_token_embed_dim": 64,
                "num_hidden_layers": 1,
            },
        },
        tokens=16,
    ),
    "llama4": Family(
        "llama4",
        {
            "text_config": {
                **TEXT,
                "intermediate_size_mlp": 64,
                "num_local_experts": 2,
                "num_experts_per_tok": 1,
                "attention_chunk_size": 64,
                "interleave_moe_layer_step": 1,
                "for_llm_compressor": False,
                "no_rope_layers": [1, 0],
                "layer_types": ["chunked_attention", "full_attention"],
                "moe_layers": [0, 1],
            },
            "vision_config": {
                **VISION,
                "intermediate_size": 128,
                "vision_output_dim": 64,
                "projector_input_dim": 64,
                "projector_output_dim": 64,
                "pixel_shuffle_ratio": 0.5,
            },
            "image_token_index": IMAGE,
        },
        tokens=4,
        projected_are_public=False,
        exempt={
            "generates_beams_and_samples": "generate repeats the prompt for its beams, but not the images",
            "prefills_in_chunks": "a chunk without pixels fails (KeyError: pooler_output)",
        },
    ),
    "lfm2_vl": Family(
        "lfm2_vl",
        {
            "text_config": {
                "model_type": "lfm2",
                **TEXT,
                "layer_types": ["conv", "full_attention"],
                "conv_L_cache": 3,
                "block_multiple_of": 16,
            },
            "vision_config": {
                "model_type": "siglip2_vision_model",
                **{k: v for k, v in VISION.items() if k != "image_size"},
                "num_patches": 16,
                "vision_use_head": False,
            },
            "image_token_id": IMAGE,
            "projector_hidden_size": 64,
            "downsample_factor": 2,
        },
        tokens=4,
        image=siglip2_patches,
    ),
    "deepseek_vl": Family(
        "deepseek_vl", {"text_config": LLAMA, "vision_config": SIGLIP, "image_token_id": IMAGE}, tokens=16
    ),
    "ovis2": Family(
        "ovis2",
        {
            "text_config": QWEN2,
            "vision_config": {**VISION, "hidden_stride": 2, "num_visual_indicator_tokens": 5, "vocab_size": 64},
            "image_token_id": IMAGE,
            "visual_indicator_token_ids": [505, 506, 507, 508, 509],
            "hidden_size": 64,
            "vocab_size": VOCABULARY,
        },
        tokens=4,
    ),
    "aria": Family(
        "aria",
        {
            "text_config": {"model_type": "aria_text", **TEXT, "moe_num_experts": 4, "moe_topk": 2},
            "vision_config": {"model_type": "idefics3_vision", **VISION},
            "image_token_index": IMAGE,
            "projector_patch_to_query_dict": {16: 4},
        },
        tokens=4,
    ),
    "fuyu": Family(
        "fuyu",
        {
            "text_config": {"model_type": "persimmon", **TEXT, "partial_rotary_factor": 0.5},
            "image_token_id": IMAGE,
            "image_size": 32,
            "patch_size": 8,
        },
        tokens=16,
        image=fuyu_patches,
        exempt={
            "generates_beams_and_samples": "generate repeats the prompt for its beams, but not the images",
            "prefills_in_chunks": "a chunk without pixels fails (KeyError: pooler_output)",
        },
    ),
}
