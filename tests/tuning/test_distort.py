"""Distorted pictures: the same each time, near the original, and of the examples that were asked for."""

from __future__ import annotations

import random

import numpy as np
import pytest
from PIL import Image

from holisafe.tuning import distort as distorting
from holisafe.tuning.data import load_examples
from holisafe.tuning.distort import distort, distorted
from holisafe.tuning.recipe import load_recipe
from holisafe.tuning.train import gather


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image, dtype=float)


@pytest.fixture
def drawn() -> Image.Image:
    """A disc off the middle of a coloured ground."""
    y, x = np.mgrid[:96, :96]
    disc = ((x - 30) ** 2 + (y - 60) ** 2 < 200)[..., None]
    return Image.fromarray(np.where(disc, [200, 40, 30], [60, 130, 90]).astype(np.uint8))


def test_without_strength_nothing_changes(drawn: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BEND", "TURN", "STRETCH", "HUE", "BLUR", "POSTERISE", "SHARPEN"):
        monkeypatch.setattr(distorting, name, 0)
    monkeypatch.setattr(distorting, "COLOURS", {})
    same = distorted(drawn, random.Random(0))
    assert np.abs(pixels(same) - pixels(drawn)).max() <= 4  # through HSV and back


def test_a_thing_stays_where_it_is(drawn: Image.Image) -> None:
    """The disc's middle, by what differs most from the picture's corner, moves by a tenth of the side at most."""
    for seed in range(20):
        found = pixels(distorted(drawn, random.Random(seed)))
        assert found.shape == (96, 96, 3)
        far = np.linalg.norm(found - np.median(found, axis=(0, 1)), axis=-1)
        rows, columns = np.nonzero(far > 0.6 * far[55:65, 25:35].mean())
        assert abs(np.median(columns) - 30) < 10
        assert abs(np.median(rows) - 60) < 10


def test_every_picture_has_a_draw_of_its_own(drawn: Image.Image) -> None:
    one, again, other = (pixels(distorted(drawn, random.Random(key))) for key in ("a", "a", "b"))
    assert (one == again).all()
    assert np.abs(one - other).mean() > 2


def test_a_share_of_the_examples_is_distorted() -> None:
    recipe = load_recipe("demo").with_settings(["data.max_examples=200"])
    plain = gather("pictosafe", recipe).examples
    half, more = (gather("pictosafe", recipe.with_settings([f"data.distort={share}"])).examples for share in (0.5, 0.8))
    changed = [{one.id for one, was in zip(drawn, plain, strict=True) if one != was} for drawn in (half, more)]
    assert 75 < len(changed[0]) < 125 < len(changed[1]) < 185
    assert changed[0] < changed[1]
    assert [(one.id, one.answer, one.image_label) for one in half] == [
        (one.id, one.answer, one.image_label) for one in plain
    ]
    first = next(one for one, was in zip(half, plain, strict=True) if one != was)
    twice = [pixels(first.pictures[0].open()) for _ in range(2)]
    assert (twice[0] == twice[1]).all()


def test_no_share_gives_the_very_examples() -> None:
    examples = load_examples("pictosafe")[:3]
    assert all(one is same for one, same in zip(distort(examples, 0.0, 0), examples, strict=True))
