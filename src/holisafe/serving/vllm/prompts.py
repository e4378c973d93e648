"""What vLLM is given: ids of our conversation code and our processor, so that it reads what `guard predict` reads.

vLLM's own chat endpoints keep a message's parts in the order of the client, text before a picture too.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from vllm.model_executor.models.transformers.multimodal import MultiModalProcessingInfo

from ...guard.conversation import image_prompt
from ...guard.processors import load_processor

_opened = cache(load_processor)


class ImageProcessing(MultiModalProcessingInfo):
    """How vLLM's transformers backend finds the processor: pictures alone, also where torchvision is missing."""

    _is_video_model = False
    _is_audio_model = False

    def get_hf_processor(self, **options: object) -> Any:
        return _opened(self.model_id)


def prompt_ids(processor: Any, text: str) -> list[int]:
    """The ids of a question about one picture, whose placeholder vLLM unfolds.

    As in `conversation.encode`, no second beginning-of-text token where the template wrote one.
    """
    prompt, begin = image_prompt(processor, text), processor.tokenizer.bos_token
    added = {"add_special_tokens": False} if begin and prompt.startswith(begin) else {}
    return list(processor.tokenizer(prompt, **added)["input_ids"])
