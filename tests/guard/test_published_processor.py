"""LLaVA's own layout with its tokenizer: prompts and pixels that the loaded model takes as they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import holisafe
from holisafe.guard import labels_of, load_processor
from holisafe.guard.conversation import encode, prompt_text
from holisafe.guard.predict import predict
from holisafe.guard.published import layouts
from holisafe.records import Message, Picture
from tiny_models import tokenizer

from .published_replicas import CLIP, llava_replica
from .test_loading import edit_json, refuses


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The replica with a tokenizer; a known tower of its size."""
    monkeypatch.setitem(layouts.TOWERS, "tiny/tower", {"model_type": "clip_vision_model", **CLIP})
    words = tokenizer()
    replica = llava_replica(
        tmp_path / "m",
        "last_hidden",
        tower_inside=True,
        mm_vision_tower="tiny/tower",
        image_token_index=-200,
    )
    words.save_pretrained(replica.folder)
    return replica.folder


def test_prompt_and_pixels(folder: Path) -> None:
    model, processor = holisafe.load_guarded(folder, device="cpu"), load_processor(folder)
    picture = Picture("image", open=lambda: Image.new("RGB", (40, 30)))
    text = prompt_text(processor, [Message("user", "what does the picture show", (picture,))])
    assert text == "USER: <image>\nwhat does the picture show ASSISTANT:"
    image = Image.effect_noise((40, 30), 60).convert("RGB")
    inputs = encode(processor, [text], [[image]], side="left")
    assert int((inputs["input_ids"] == model.config.image_token_id).sum()) == 16
    assert inputs["pixel_values"].shape == (1, 3, 32, 32)
    with torch.no_grad():
        assert model(**inputs).img_safety_valid.tolist() == [True]


def test_the_guard_reads_images(folder: Path) -> None:
    model, processor = holisafe.load_guarded(folder, device="cpu"), load_processor(folder)
    readings = list(predict(model, processor, [Image.effect_noise((40, 30), 60).convert("RGB")] * 2))
    assert [list(reading.probabilities) for reading in readings] == [list(labels_of(model))] * 2


def test_the_template_keeps_turns_apart(folder: Path) -> None:
    processor: Any = load_processor(folder)
    turns = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Who?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "A cat."}]},
        {"role": "user", "content": "Where?"},
    ]
    text = processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    end = processor.tokenizer.eos_token
    assert text == f"Be kind. USER: <image>\nWho? ASSISTANT: A cat.{end}USER: Where? ASSISTANT:"


def test_own_image_settings(folder: Path) -> None:
    settings = {"size": {"shortest_edge": 32}, "crop_size": 32, "image_mean": [0.0] * 3, "image_std": [1.0] * 3}
    (folder / "preprocessor_config.json").write_text(
        json.dumps({**settings, "image_processor_type": "CLIPImageProcessor", "feature_extractor_type": "CLIP"})
    )
    pixels = load_processor(folder).image_processor(Image.new("RGB", (32, 32), "white"), return_tensors="pt")
    assert pixels["pixel_values"].min() == pytest.approx(1.0)


def test_unknown_tower(folder: Path) -> None:
    edit_json(folder, mm_vision_tower="some/other")
    refuses(folder, "the patch size of some/other is unknown", load=load_processor)
