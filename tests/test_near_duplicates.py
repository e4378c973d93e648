"""Near-duplicates of images and texts: what counts as one, what does not, and the banded search against all pairs."""

from __future__ import annotations

import io
import random

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from holisafe.near_duplicates import image_hash, jaccard, minhash, near_images, near_texts, normalised, pieces

SENTENCE = "how do i use this picture to make a red square safe dog house knife at night with my old friend"
WORDS = SENTENCE.split()


def photo(seed: int, side: int = 96) -> Image.Image:
    """Smooth random colours, as photographs have."""
    small = np.random.default_rng(seed).integers(0, 255, (7, 7, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)


def compressed(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, format="JPEG", quality=60)
    return Image.open(file)


CHANGES = {
    "the same": lambda image: image,
    "smaller": lambda image: image.resize((40, 40)),
    "of another shape": lambda image: image.resize((120, 80)),
    "compressed": compressed,
    "a little brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.08),
    "cut by a pixel": lambda image: image.crop((1, 1, 95, 95)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found_among_others(change: str) -> None:
    originals = [image_hash(photo(seed)) for seed in range(60)]
    copies = [image_hash(CHANGES[change](photo(seed))) for seed in (50, 3, 100)]
    assert near_images(copies, originals, 10) == [(0, 50), (1, 3)]


def test_plain_areas_and_mirrored_pictures_are_no_duplicates() -> None:
    plain = [image_hash(Image.new("RGB", (50, 50), colour)) for colour in ("white", "red", "blue", "black")]
    assert near_images(plain, plain, 10) == [(n, n) for n in range(4)]
    noisy = np.full((64, 64, 3), 250) + np.random.default_rng(0).integers(-1, 2, (64, 64, 3))
    assert near_images([image_hash(Image.fromarray(noisy.astype(np.uint8)))], plain, 10) == [(0, 0)]
    mirrored = image_hash(photo(1).transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    assert near_images([mirrored], [image_hash(photo(1))], 10) == []
    assert near_images([], plain, 10) == near_images(plain, [], 10) == []


def test_a_row_beyond_the_first_block_keeps_its_place() -> None:
    many = [image_hash(photo(seed, 16)) for seed in range(300)]
    assert near_images(many, [many[299], many[7]], 0) == [(7, 1), (299, 0)]


def sentences(number: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(5, 14))) for _ in range(number)]


def test_the_banded_search_finds_what_comparing_all_pairs_finds() -> None:
    train, test = sentences(150, 1), sentences(120, 2)
    draw = random.Random(3)
    for text in test[:60]:  # copies with a word changed
        words = text.split()
        words[draw.randrange(len(words))] = "other"
        train.append(" ".join(words))

    def shingles(text: str) -> set[str]:
        return {normalised(text)[k : k + 5] for k in range(max(1, len(normalised(text)) - 4))}

    expected = []
    for place, one in enumerate(train):
        for other_place, other in enumerate(test):
            a, b = shingles(one), shingles(other)
            if len(a & b) / len(a | b) >= 0.7:
                expected.append((place, other_place))
    assert len(expected) > 20
    assert near_texts(train, test, 0.7) == expected


def test_minhashes_agree_as_often_as_the_pieces_are_shared() -> None:
    pairs = list(zip(sentences(200, 4), sentences(200, 5), strict=True))
    exact = [jaccard(pieces(one), pieces(other)) for one, other in pairs]
    estimated = [float(np.mean(minhash(pieces(one)) == minhash(pieces(other)))) for one, other in pairs]
    assert np.mean(np.subtract(estimated, exact)) == pytest.approx(0, abs=0.005)
    assert np.abs(np.subtract(estimated, exact)).max() < 4 * np.sqrt(0.25 / 128)


def test_case_punctuation_repeats_and_emptiness() -> None:
    assert near_texts(["How do I?", "", "!!", "hi"], ["how do i", "how, do i!", "hi.", "ho", ""], 1.0) == [
        (0, 0),
        (0, 1),
        (3, 2),
    ]
    assert near_texts(["wie heißt der große hund"], ["Wie heißt der GROSSE Hund?", "катя"], 0.99) == [(0, 0)]
