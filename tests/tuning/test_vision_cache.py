"""The tower's look-up: the same numbers as without it, one run an image, and a clear no where it does not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import tiny_models
from holisafe.errors import InputError
from holisafe.guard import load_model, load_processor
from holisafe.records import Message, Picture
from holisafe.tuning.collator import Collator
from holisafe.tuning.data import Example
from holisafe.tuning.parts import vision_tower
from holisafe.tuning.vision_cache import VisionCache


def examples(count: int) -> list[Example]:
    def draw(seed: int) -> Image.Image:
        return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (32, 32, 3), dtype=np.uint8))

    return [
        Example(str(n), (Message("user", "how" * n, tuple(Picture("x", lambda n=n: draw(n)) for _ in range(n))),), "a")
        for n in range(count)
    ]


@pytest.mark.parametrize("kind", ["clip", "swin", "gemma3"])
def test_the_model_computes_the_same_and_the_tower_runs_once_an_image(tmp_path: Path, kind: str) -> None:
    folder = tiny_models.gemma3(tmp_path / "m") if kind == "gemma3" else tiny_models.llava(tmp_path / "m", tower=kind)
    model, processor, data = load_model(folder), load_processor(folder), examples(4)
    cache, seen = VisionCache(vision_tower(model), 6, 2**20), []
    vision_tower(model).embeddings.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    plain, looked_up = Collator(processor, ends=[2]), Collator(processor, ends=[2], vision=cache)
    with torch.no_grad():
        expected = [model(**plain(batch)).logits for batch in (data, data[::-1])]
        seen.clear()
        with cache.on():
            found = [model(**looked_up(batch)).logits for batch in (data, data[::-1])]
        assert seen == [6], "six images, one run, none for the second batch"
        again = model(**plain(data)).logits
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one, other)
    assert torch.equal(expected[0], again), "afterwards the tower takes pixels again"


def test_families_that_cut_images_their_own_way_are_refused(tmp_path: Path) -> None:
    for family in ("qwen2_5_vl", "idefics3"):
        folder = tiny_models.FAMILIES[family](tmp_path / family)
        cache = VisionCache(vision_tower(load_model(folder)), 1, 2**20)
        with pytest.raises(InputError, match="cache_vision"):
            Collator(load_processor(folder), ends=[2], vision=cache)(examples(2))


def test_outputs_that_would_not_fit_are_refused_at_the_first(tmp_path: Path) -> None:
    folder = tiny_models.llava(tmp_path / "m")
    model = load_model(folder)
    cache = VisionCache(vision_tower(model), 1000, 2**20)
    collator = Collator(load_processor(folder), ends=[2], vision=cache)
    with cache.on(), pytest.raises(InputError, match="1000 images need"):
        model(**collator(examples(2)))


def test_numbers_that_were_rounded_are_refused(tmp_path: Path) -> None:
    folder = tiny_models.llava(tmp_path / "m")
    model = load_model(folder)
    cache = VisionCache(vision_tower(model), 1, 2**20)
    with cache.on(), pytest.raises(InputError, match="float32"):
        model.get_image_features(pixel_values=torch.zeros(1, 1, 1, 1, dtype=torch.bfloat16))
