"""Processors without torchvision: the ones whose video half wants it come for images only, and lose nothing."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil
from transformers.utils.import_utils import is_torchvision_available

from holisafe.errors import InputError
from holisafe.guard import load_processor
from tiny_models import TEMPLATE, llava, tokenizer

QWEN_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
QWEN_PIXELS = {"patch_size": 8, "temporal_patch_size": 2, "merge_size": 2, "min_pixels": 1024, "max_pixels": 2048}
INTERNVL_TOKENS = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}


@dataclass(frozen=True)
class Kind:
    """How a family's processor lies on disk. `image_tokens` is what one 32 x 32 image becomes in the prompt."""

    processor_class: str
    words: Callable[[], Any]
    images: Callable[[], Any]
    placeholder: str
    image_token: str
    image_tokens: int
    video: bool = True
    settings: tuple[tuple[str, Any], ...] = ()


KINDS = {
    "llava": Kind(
        "LlavaProcessor",
        lambda: tokenizer("<image>"),
        lambda: CLIPImageProcessorPil(size={"height": 32, "width": 32}, do_center_crop=False),
        "<image>",
        "<image>",
        16,
        video=False,
        settings=(("patch_size", 8), ("vision_feature_select_strategy", "full"), ("num_additional_image_tokens", 0)),
    ),
    "qwen2_5_vl": Kind(
        "Qwen2_5_VLProcessor",
        lambda: tokenizer(*QWEN_TOKENS),
        lambda: Qwen2VLImageProcessorPil(**QWEN_PIXELS),
        "<|vision_start|><|image_pad|><|vision_end|>",
        "<|image_pad|>",
        4,
    ),
    "internvl": Kind(
        "InternVLProcessor",
        lambda: tokenizer(**INTERNVL_TOKENS),
        lambda: GotOcr2ImageProcessorPil(size={"height": 32, "width": 32}, crop_to_patches=False),
        "<IMG_CONTEXT>",
        "<IMG_CONTEXT>",
        4,
        settings=(("image_seq_length", 4),),
    ),
    "smolvlm": Kind(
        "SmolVLMProcessor",
        lambda: tokenizer("<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>", "<video>"),
        lambda: SmolVLMImageProcessorPil(
            size={"longest_edge": 32}, max_image_size={"longest_edge": 32}, do_image_splitting=False
        ),
        "<image>",
        "<image>",
        4,
        settings=(("image_seq_len", 4),),
    ),
}


def write(folder: Path, kind: Kind, *, one_file: bool) -> Any:
    """A processor folder in today's layout (one processor_config.json) or the older one (a file for each part)."""
    words, images = kind.words(), kind.images()
    words.save_pretrained(folder)
    images.save_pretrained(folder)
    part = folder / "preprocessor_config.json"
    settings = {**dict(kind.settings), "processor_class": kind.processor_class}
    if one_file:
        settings["image_processor"] = json.loads(part.read_text())
        if kind.video:
            settings["video_processor"] = {"video_processor_type": "SomeVideoProcessor", "fps": 3, "num_frames": 9}
        part.unlink()
    else:
        part.write_text(json.dumps(json.loads(part.read_text()) | {"processor_class": kind.processor_class}))
    (folder / "processor_config.json").write_text(json.dumps(settings))
    (folder / "chat_template.jinja").write_text(TEMPLATE.replace("IMAGE", kind.placeholder))
    return images


@pytest.fixture
def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8))


@pytest.mark.parametrize("one_file", [True, False])
@pytest.mark.parametrize("name", KINDS)
def test_images_without_torchvision(name: str, one_file: bool, tmp_path: Path, picture: Image.Image) -> None:
    kind = KINDS[name]
    images = write(tmp_path, kind, one_file=one_file)
    processor = load_processor(tmp_path)
    assert type(processor).__name__ == kind.processor_class
    turns = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "what does it show"}]}]
    prompt = processor.apply_chat_template(turns, add_generation_prompt=True)
    assert prompt == f"<s><|user|>{kind.placeholder}what does it show<|assistant|>"

    batch = processor(text=[prompt, prompt], images=[[picture], [picture]], padding=True, return_tensors="pt")
    image_id = processor.tokenizer.convert_tokens_to_ids(kind.image_token)
    assert (batch["input_ids"] == image_id).sum(1).tolist() == [kind.image_tokens] * 2
    said = processor.tokenizer("what does it show", add_special_tokens=False)["input_ids"]
    assert batch["input_ids"][0].tolist()[-1 - len(said) : -1] == said

    given = [[picture]] if name == "smolvlm" else [picture]
    alone = images(given, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(batch["pixel_values"][: len(alone)], alone)


@pytest.mark.parametrize("name", KINDS)
def test_template_that_loads_the_image_itself(name: str, tmp_path: Path, picture: Image.Image) -> None:
    write(tmp_path, KINDS[name], one_file=True)
    turns = [{"role": "user", "content": [{"type": "image", "image": picture}, {"type": "text", "text": "what"}]}]
    batch = load_processor(tmp_path).apply_chat_template(
        turns, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    assert {"input_ids", "attention_mask", "pixel_values"} <= batch.keys()


@pytest.mark.skipif(is_torchvision_available(), reason="torchvision is installed")
@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.video])
def test_stock_cannot_and_videos_say_why(name: str, tmp_path: Path) -> None:
    write(tmp_path, KINDS[name], one_file=True)
    with pytest.raises((ImportError, ValueError), match=r"torchvision|num2words"):
        AutoProcessor.from_pretrained(tmp_path)
    processor = load_processor(tmp_path)
    with pytest.raises(InputError, match="videos need torchvision"):
        processor.video_processor([picture])
    for twin in (copy.deepcopy(processor), pickle.loads(pickle.dumps(processor))):
        assert twin.video_processor.fps == 3


@pytest.mark.parametrize("name", KINDS)
def test_saving_loses_nothing(name: str, tmp_path: Path, picture: Image.Image) -> None:
    write(tmp_path / "a", KINDS[name], one_file=True)
    first = load_processor(tmp_path / "a")
    first.save_pretrained(tmp_path / "b")
    before, after = (json.loads((tmp_path / folder / "processor_config.json").read_text()) for folder in "ab")
    assert after.get("video_processor") == before.get("video_processor")
    assert after["processor_class"] == before["processor_class"]
    prompt = KINDS[name].placeholder
    one, other = (
        processor(text=[prompt], images=[[picture]], return_tensors="pt")
        for processor in (first, load_processor(tmp_path / "b"))
    )
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_older_video_settings_come_from_where_transformers_looks(tmp_path: Path) -> None:
    write(tmp_path, KINDS["qwen2_5_vl"], one_file=False)
    assert load_processor(tmp_path).video_processor.merge_size == 2
    (tmp_path / "video_preprocessor_config.json").write_text('{"merge_size": 5}')
    assert load_processor(tmp_path).video_processor.merge_size == 5


def test_class_known_from_the_models_config_alone(tmp_path: Path) -> None:
    write(tmp_path, KINDS["qwen2_5_vl"], one_file=False)
    for name in ("processor_config.json", "preprocessor_config.json"):
        settings = json.loads((tmp_path / name).read_text())
        del settings["processor_class"]
        (tmp_path / name).write_text(json.dumps(settings))
    (tmp_path / "config.json").write_text('{"model_type": "qwen2_5_vl"}')
    assert type(load_processor(tmp_path)).__name__ == "Qwen2_5_VLProcessor"


@pytest.mark.parametrize("named", [None, "SafeQwenProcessor"])
def test_class_known_from_a_model_type_that_transformers_does_not_know(named: str | None, tmp_path: Path) -> None:
    """A published checkpoint's names: its files name no class, or one of its own code, which is not run."""
    write(tmp_path, KINDS["qwen2_5_vl"], one_file=False)
    for name in ("processor_config.json", "preprocessor_config.json"):
        settings = json.loads((tmp_path / name).read_text())
        del settings["processor_class"]
        (tmp_path / name).write_text(json.dumps(settings | ({"processor_class": named} if named else {})))
    (tmp_path / "config.json").write_text('{"model_type": "safeqwen2_5_vl", "auto_map": {"AutoConfig": "code.Config"}}')
    assert type(load_processor(tmp_path)).__name__ == "Qwen2_5_VLProcessor"
    (tmp_path / "config.json").write_text('{"model_type": "quite-another"}')
    with pytest.raises(InputError) as caught:
        load_processor(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_an_adapter_has_its_bases_processor(tmp_path: Path) -> None:
    base = llava(tmp_path / "base")
    (tmp_path / "adapter").mkdir()
    config = {"base_model_name_or_path": str(base)}
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(config))
    assert type(load_processor(tmp_path / "adapter")).__name__ == "LlavaProcessor"


@pytest.mark.parametrize("name", KINDS)
def test_no_processor(name: str, tmp_path: Path) -> None:
    def refused() -> str:
        with pytest.raises(InputError) as caught:
            load_processor(tmp_path)
        assert "\n" not in str(caught.value)
        assert str(tmp_path) in str(caught.value)
        return str(caught.value)

    assert "holds no processor" in refused()
    write(tmp_path, KINDS[name], one_file=False)
    (tmp_path / "preprocessor_config.json").unlink()
    refused()
    write(tmp_path, KINDS[name], one_file=False)
    for file in tmp_path.glob("*token*"):
        file.unlink()
    refused()
    (tmp_path / "processor_config.json").write_text("{")
    refused()


def test_a_tokenizer_is_no_processor(tmp_path: Path) -> None:
    tokenizer("<image>").save_pretrained(tmp_path)
    with pytest.raises(InputError, match="holds no processor"):
        load_processor(tmp_path)
