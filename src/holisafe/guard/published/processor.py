"""The processor of LLaVA's own layout, which comes as a tokenizer and an image processor only."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Final

from transformers import AutoTokenizer, LlavaProcessor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from ...errors import InputError
from ..errors import one_line
from ..folders import find_file, read_object
from ..quiet import quiet
from .layouts import ORIGINAL_LLAVA, TOWERS
from .llava import IMAGE_TOKEN, STRATEGIES, image_token

TEMPLATE: Final = (files(__package__) / "vicuna.jinja").read_text(encoding="utf-8")
"""Vicuna's turns, as LLaVA-1.5 was trained on: USER: ... ASSISTANT: ...</s>"""


def is_original_llava(fields: Mapping[str, Any]) -> bool:
    """Whether a config is of LLaVA's own layout."""
    return any(name in fields for name in ORIGINAL_LLAVA)


def llava_processor(source: str, fields: Mapping[str, Any]) -> LlavaProcessor:
    """A stock processor out of the folder's or hub id's tokenizer, its `preprocessor_config.json` and the tower's
    patch size. Images are resized and cropped as CLIP does it, and each becomes as many `<image>` as the tower has
    patches; the token gets the id that the loaded model knows (see `llava.py`).

    Raises InputError when there is no tokenizer or the tower is none of `layouts.TOWERS`.
    """
    named = str(fields.get("mm_vision_tower"))
    if named not in TOWERS:
        raise InputError(f"the patch size of {named} is unknown", where=source, field="mm_vision_tower")
    size = TOWERS[named]["image_size"]
    settings: dict[str, Any] = {"size": {"shortest_edge": size}, "crop_size": {"height": size, "width": size}}
    if file := find_file(source, "preprocessor_config.json"):
        settings = {name: value for name, value in read_object(file).items() if not name.endswith("_type")}
    with one_line(source), quiet(bars=False):
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    number = image_token(source, fields, int(fields.get("vocab_size", 0)))
    tokenizer.add_tokens([f"<unused_{place}>" for place in range(len(tokenizer), number)])  # rows that no token has
    tokenizer.add_tokens([IMAGE_TOKEN], special_tokens=True)
    if tokenizer.convert_tokens_to_ids(IMAGE_TOKEN) != number:
        raise InputError(f"its tokenizer has no place for {IMAGE_TOKEN} at id {number}", where=source)
    with one_line(source):
        return LlavaProcessor(
            image_processor=CLIPImageProcessorPil(**settings),
            tokenizer=tokenizer,
            patch_size=TOWERS[named]["patch_size"],
            vision_feature_select_strategy=STRATEGIES[fields.get("mm_vision_select_feature", "patch")],
            num_additional_image_tokens=1,
            chat_template=TEMPLATE,
            image_token=IMAGE_TOKEN,
        )
