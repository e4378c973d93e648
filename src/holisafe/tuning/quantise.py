"""A base whose language model is held in 4 bits (QLoRA, arXiv 2305.14314), by bitsandbytes."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, AutoConfig, AutoModelForImageTextToText

from ..errors import InputError
from ..guard.errors import one_line
from ..guard.families import text_decoder
from ..guard.folders import find_file, locate, require_config
from ..guard.loading import ADAPTER_CONFIG, GUARD_FILE
from ..guard.settings import describes_guard


def load_quantised(base: str | Path, dtype: torch.dtype) -> Any:
    """The stock model with its text decoder's linear layers in NF4, their scales quantised too; vision tower, projector
    and output layer are left in `dtype`.

    Raises InputError where bitsandbytes is missing, and for a base that has a guard or is an adapter: neither would be
    loaded, and nothing would say so.
    """
    if find_spec("bitsandbytes") is None:
        raise InputError(
            "needs bitsandbytes, which is not installed: pip install bitsandbytes",
            where="recipe",
            field="compute.quantise",
        )
    from transformers import BitsAndBytesConfig

    source = locate(base)
    if any(find_file(source, name) for name in (ADAPTER_CONFIG, GUARD_FILE)) or describes_guard(require_config(source)):
        raise InputError("has a guard or an adapter; only a stock model can be held in 4 bits", where=base)
    with one_line(source):
        settings = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
            llm_int8_skip_modules=left_whole(AutoConfig.from_pretrained(source, trust_remote_code=False)),
        )
        return AutoModelForImageTextToText.from_pretrained(
            source, quantization_config=settings, dtype=dtype, use_safetensors=True, trust_remote_code=False
        )


def left_whole(config: Any) -> list[str]:
    """Full names of the linear layers outside the text decoder. In full, because bitsandbytes' list matches whole
    names, or their ends: "vision_tower" would match none of the tower's."""
    stock: Any = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[type(config)]
    with torch.device("meta"):
        model = stock._from_config(config)
    inside = {id(module) for module in text_decoder(model).modules()}
    return [
        name for name, module in model.named_modules() if isinstance(module, nn.Linear) and id(module) not in inside
    ]
