"""Groups of pictures that look alike are those that comparing every two of them gives."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from holisafe.near_duplicates import image_hash, near_images
from holisafe.scanning import likeness
from holisafe.scanning.likeness import DISTANCE, alike


def photo(seed: int) -> Image.Image:
    draw = np.random.default_rng(seed)
    pixels = Image.fromarray(draw.integers(0, 255, (9, 9, 3), dtype=np.uint8))
    return pixels.resize((96, 80), Image.Resampling.BICUBIC)


def test_groups_are_those_of_all_pairs() -> None:
    pictures = [photo(seed) for seed in range(150)]
    pictures += [photo(seed).resize((60, 50)) for seed in range(40)]
    pictures += [photo(seed).filter(ImageFilter.GaussianBlur(1)) for seed in range(20, 60)]
    pictures += [Image.new("RGB", (40, 40), colour) for colour in ("white", "black", "red", "white", "black")]
    hashes = [image_hash(picture) for picture in pictures]
    looks = np.stack([np.frombuffer(bits.tobytes() + colours.tobytes(), dtype=np.uint8) for bits, colours in hashes])
    found = alike(looks)
    pairs = np.array(near_images(hashes, hashes, DISTANCE))
    links = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(hashes), len(hashes)))
    _, wanted = connected_components(links, directed=False)
    assert len(set(zip(found, wanted, strict=True))) == len(set(found)) == len(set(wanted))
    assert len(set(found)) < 170
    assert found[230] == found[233] != found[231]
    assert len(alike(looks[:0])) == 0


def test_a_crowd_of_one_plain_kind_is_not_compared_with_itself_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(likeness, "CROWD", 5)
    looks = np.zeros((400, 224), dtype=np.uint8)
    looks[:, 32:] = np.repeat(np.arange(400)[:, None] // 8, 192, axis=1)  # no bit differs, the colours slowly do
    assert len(set(alike(looks))) == 1
