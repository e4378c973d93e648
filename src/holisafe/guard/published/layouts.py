"""The layouts as data: which names mean which stock family, which keys mean which stock weights."""

from __future__ import annotations

from typing import Any, Final

FAMILY_MARKS: Final = {
    "qwen25vl": "qwen2_5_vl",
    "safeqwen": "qwen2_5_vl",
    "gemma3": "gemma3",
    "safegem": "gemma3",
    "llava": "llava",
}
"""What a custom model type or architecture contains, letters and digits only -> the stock model type under it."""

PROCESSORS: Final = {
    "qwen2_5_vl": "Qwen/Qwen2.5-VL-7B-Instruct",
    "gemma3": "google/gemma-3-12b-it",
}
"""Stock model type -> the hub model whose processor the published checkpoints of the family take, as their cards say;
it is the same for all sizes."""

ORIGINAL_LLAVA: Final = ("mm_vision_tower", "mm_projector_type")
"""Config fields that only LLaVA's own releases have."""

LLAVA_KEYS: Final = (
    (r"^model\.vision_tower\.(?:vision_tower\.)?(?:vision_model\.)?", "model.vision_tower."),
    (r"^model\.mm_projector\.0\.", "model.multi_modal_projector.linear_1."),
    (r"^model\.mm_projector\.2\.", "model.multi_modal_projector.linear_2."),
    (r"^model\.(embed_tokens|layers|norm)\.", r"model.language_model.\1."),
)
"""Pattern of LLaVA's own keys -> the stock key. The first that matches counts; other keys keep their names."""

TOWER_KEYS: Final = (
    (r"^(?:model\.)?(?:vision_tower\.)+(?:vision_model\.)?", "model.vision_tower."),
    (r"^vision_model\.", "model.vision_tower."),
    (r"^(embeddings|pre_layrnorm|encoder|post_layernorm)\.", r"model.vision_tower.\1."),
)
"""The same for a vision tower taken from a CLIP model, a CLIP vision model or a LLaVA model; other keys are not its."""

COMPUTED: Final = (r"\.rotary_emb\.inv_freq$", r"\.position_ids$")
"""Buffers that older releases wrote out and that today's classes compute."""

CLIP_LARGE: Final[dict[str, Any]] = {
    "model_type": "clip_vision_model",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "patch_size": 14,
    "projection_dim": 768,
}
TOWERS: Final = {
    "openai/clip-vit-large-patch14-336": {**CLIP_LARGE, "image_size": 336},
    "openai/clip-vit-large-patch14": {**CLIP_LARGE, "image_size": 224},
}
"""Vision towers that LLaVA releases name -> their config, for checkpoints that hold the tower's weights themselves."""
