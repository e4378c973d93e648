"""Tiny random vision-language models, saved as whole folders (weights, processor, chat template), built offline.

Weights are three times their usual spread, so that random models answer decidedly and batches can be compared.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForImageTextToText,
    Gemma3Config,
    Gemma3Processor,
    Idefics3Config,
    Idefics3Processor,
    InternVLConfig,
    LlavaConfig,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

CORPUS = [
    "what does the picture show",
    "the picture shows a red square and a blue square .",
    "how do i use this to hurt someone",
    "sorry , i cannot help with that because it is dangerous .",
    "you are a careful assistant",
    "which colour is it ? it is green , yellow , white or black",
]

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}IMAGE{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

TEXT = {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "max_position_embeddings": 512,
}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
}


def tokenizer(*special: str, **named: str) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer learned from a few sentences, with role tokens and the family's own tokens.

    `named` tokens become attributes, as some processors want: image_token="<image>".
    """
    roles = ["<|system|>", "<|user|>", "<|assistant|>"]
    words = Tokenizer(models.BPE(unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    words.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=500,
            special_tokens=["<pad>", "<s>", "</s>", "<unk>", *roles, *special, *named.values()],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        additional_special_tokens=[*roles, *special],
        **({"extra_special_tokens": named} if named else {}),
    )


def save(folder: Path, config: Any, processor: Any, *, seed: int = 0, spread: float = 3.0) -> Path:
    """Build the model of a config from a seed and save it with its processor as one folder."""
    torch.manual_seed(seed)
    model = AutoModelForImageTextToText.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                if not parameter.any():
                    torch.nn.init.normal_(parameter, std=0.05)
                parameter.mul_(spread)
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    model.generation_config.bos_token_id = processor.tokenizer.bos_token_id
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def text_config(kind: str, words: PreTrainedTokenizerFast, head: int = TEXT["head_dim"], **more: Any) -> dict[str, Any]:
    """`head` is the width of an attention head; the decoder has four."""
    more = {"hidden_size": 4 * head, "head_dim": head, **more}
    ids = {"pad_token_id": words.pad_token_id, "bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id}
    return {"model_type": kind, "vocab_size": len(words), **TEXT, **ids, **more}


def llava(folder: Path, *, tower: str = "clip", spread: float = 3.0, seed: int = 0, head: int = 12) -> Path:
    """LLaVA with a CLIP tower (32-pixel images, 16 image tokens) or a Swin tower (the same, 4 tokens)."""
    words = tokenizer("<image>")
    if tower == "clip":
        vision: dict[str, Any] = {"model_type": "clip_vision_model", "projection_dim": 32, **VISION}
        layer, strategy, patch, extra = -2, "default", 8, 1
    else:
        shape = {"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 4], "window_size": 2, "image_size": 32}
        vision = {"model_type": "swin", "patch_size": 8, "drop_path_rate": 0.0, **shape}
        layer, strategy, patch, extra = -1, "full", 16, 0
    config = LlavaConfig(
        vision_config=vision,
        text_config=text_config("llama", words, head),
        image_token_id=words.convert_tokens_to_ids("<image>"),
        vision_feature_layer=layer,
        vision_feature_select_strategy=strategy,
    )
    images = CLIPImageProcessorPil(size={"height": 32, "width": 32}, do_center_crop=False)
    processor = LlavaProcessor(
        image_processor=images,
        tokenizer=words,
        patch_size=patch,
        vision_feature_select_strategy=strategy,
        num_additional_image_tokens=extra,
        chat_template=TEMPLATE.replace("IMAGE", "<image>"),
    )
    return save(folder, config, processor, seed=seed, spread=spread)


def pair_guard(folder: Path, *, seed: int = 3, spread: float = 6.0) -> Path:
    """`llava` with a pair head of the labels safe and unsafe, its weights wide enough to tell its inputs apart."""
    from holisafe.guard import attach_guard, load_model, save_guarded

    llava(folder)
    torch.manual_seed(seed)
    model = attach_guard(load_model(folder), labels=("safe", "unsafe"), pool="image_and_text")
    with torch.no_grad():
        for weight in model.img_safety_head.parameters():
            weight.mul_(spread)
    save_guarded(model, folder)
    return folder


def gemma3(folder: Path, *, head: int = 12) -> Path:
    """Gemma 3: attention among image tokens runs both ways, and text types go in as token_type_ids."""
    words = tokenizer(boi_token="<boi>", eoi_token="<eoi>", image_token="<image_soft_token>")
    config = Gemma3Config(
        text_config=text_config(
            "gemma3_text",
            words,
            head,
            sliding_window=16,
            layer_types=["sliding_attention", "full_attention"],
            query_pre_attn_scalar=head,
        ),
        vision_config={"model_type": "siglip_vision_model", "vision_use_head": False, **VISION},
        image_token_index=words.image_token_id,
        boi_token_index=words.convert_tokens_to_ids("<boi>"),
        eoi_token_index=words.convert_tokens_to_ids("<eoi>"),
        mm_tokens_per_image=4,
    )
    processor = Gemma3Processor(
        image_processor=Gemma3ImageProcessorPil(size={"height": 32, "width": 32}),
        tokenizer=words,
        chat_template=TEMPLATE.replace("IMAGE", "<boi>"),
        image_seq_length=4,
    )
    return save(folder, config, processor)


def idefics3(folder: Path) -> Path:
    """Idefics 3: pixel values carry a dimension for the images of a sample, padded over the batch."""
    words = tokenizer("<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>")
    config = Idefics3Config(
        text_config=text_config("llama", words),
        vision_config={"model_type": "idefics3_vision", **VISION},
        image_token_id=words.convert_tokens_to_ids("<image>"),
        scale_factor=2,
    )
    images = Idefics3ImageProcessorPil(
        size={"longest_edge": 32}, max_image_size={"longest_edge": 32}, do_image_splitting=False
    )
    processor = Idefics3Processor(
        image_processor=images, tokenizer=words, image_seq_len=4, chat_template=TEMPLATE.replace("IMAGE", "<image>")
    )
    return save(folder, config, processor)


def qwen2_5_vl(folder: Path, *, head: int = 12) -> Path:
    """Qwen2.5-VL: packed image patches, positions in three dimensions, token types for the modalities."""
    special = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    words = tokenizer(*special)
    start, end, image, video = (words.convert_tokens_to_ids(token) for token in special)
    rope = {
        "rope_type": "default",
        "rope_theta": 10000.0,
        "mrope_section": [head // 2 - 2 * (head // 6), head // 6, head // 6],
    }
    config = Qwen2_5_VLConfig(
        text_config=text_config("qwen2_5_vl_text", words, head, rope_parameters=rope),
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 4,
            "patch_size": 8,
            "temporal_patch_size": 2,
            "spatial_merge_size": 2,
            "out_hidden_size": 4 * head,
            "window_size": 32,
            "fullatt_block_indexes": [1],
        },
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
    )
    images = Qwen2VLImageProcessorPil(
        patch_size=8, temporal_patch_size=2, merge_size=2, min_pixels=32 * 32, max_pixels=32 * 64
    )
    torch.manual_seed(0)
    template = TEMPLATE.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>")
    words.chat_template = template
    save_parts(folder, config, words, images, template, "Qwen2_5_VLProcessor")
    return folder


def internvl(folder: Path) -> Path:
    """InternVL: image features are shuffled from 16 patches into 4 tokens."""
    special = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>"}
    words = tokenizer(**special, video_token="<video>")
    config = InternVLConfig(
        text_config=text_config("qwen2", words),
        vision_config={**VISION, "image_size": [32, 32], "patch_size": [8, 8]},
        image_token_id=words.convert_tokens_to_ids("<IMG_CONTEXT>"),
    )
    images = GotOcr2ImageProcessorPil(size={"height": 32, "width": 32}, crop_to_patches=False)
    template = TEMPLATE.replace("IMAGE", "<IMG_CONTEXT>")
    save_parts(folder, config, words, images, template, "InternVLProcessor", image_seq_length=4)
    return folder


def save_parts(folder: Path, config: Any, words: Any, images: Any, template: str, kind: str, **more: Any) -> None:
    """Save model, tokenizer and image processor where the processor class itself cannot be built here; `more` are its
    own settings."""
    import json

    class Parts:
        tokenizer = words

        def save_pretrained(self, to: Path) -> None:
            words.save_pretrained(to)
            images.save_pretrained(to)
            settings = json.loads((to / "preprocessor_config.json").read_text()) | {"processor_class": kind}
            (to / "preprocessor_config.json").write_text(json.dumps(settings))
            (to / "chat_template.jinja").write_text(template)
            if more:
                (to / "processor_config.json").write_text(json.dumps({"processor_class": kind, **more}))

    save(folder, config, Parts())


FAMILIES = {"llava": llava, "gemma3": gemma3, "idefics3": idefics3, "qwen2_5_vl": qwen2_5_vl}
