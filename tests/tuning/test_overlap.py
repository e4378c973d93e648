"""Training data against benchmarks: what both hold is listed by id and stops the run unless it is allowed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from holisafe.benchmarks import open_benchmark
from holisafe.benchmarks.export import export
from holisafe.errors import InputError
from holisafe.tuning import overlap
from holisafe.tuning.data import load_examples
from holisafe.tuning.overlap import find_overlaps, refuse
from holisafe.tuning.recipe import Data, Recipe
from holisafe.tuning.train import tune


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Four test pairs of PictoSafe as a folder in HoliSafe-Bench's form."""
    folder = tmp_path_factory.mktemp("bench")
    test = open_benchmark("pictosafe", split="test")
    chosen = {sample.images[0]: sample for sample in test.samples if sample.combination == "USU"}
    export(replace(test, samples=tuple(chosen.values())[:4]), folder / "b")
    return f"holisafe-bench:{folder / 'b'}"


def training_file(tmp_path: Path, bench: str) -> str:
    """One example with a benchmark's image, resized, one with its query, reworded a little, and one of its own."""
    opened = open_benchmark("holisafe-bench", bench.partition(":")[2])
    one, other = opened.samples[1], opened.samples[2]
    opened.open_image(one.images[0]).resize((150, 150)).save(tmp_path / "copy.png")
    own = np.random.default_rng(0).integers(0, 255, (5, 5, 3), dtype=np.uint8)
    Image.fromarray(own).resize((90, 90), Image.Resampling.BICUBIC).save(tmp_path / "own.png")
    rows = [
        {"id": "image", "images": ["copy.png"], "query": "zebra crossing over there", "response": "r"},
        {"id": "text", "images": ["own.png"], "query": f"{other.query.upper()}!!", "response": "r"},
        {"id": "own", "images": ["own.png"], "query": "nothing of the kind", "response": "r"},
    ]
    file = tmp_path / "train.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def test_copies_are_named_and_stop_the_run(tmp_path: Path, bench: str) -> None:
    file = training_file(tmp_path, bench)
    samples = open_benchmark("holisafe-bench", bench.partition(":")[2]).samples
    data = Data(check_against=(bench,))
    overlaps = find_overlaps(load_examples(file), data)
    assert {(o.half, o.example, o.sample) for o in overlaps if o.half == "image"} == {("image", "image", samples[1].id)}
    assert ("text", samples[2].id) in {(o.example, o.sample) for o in overlaps if o.half == "text"}
    assert {o.example for o in overlaps} == {"image", "text"}
    assert {(o.source, o.benchmark) for o in overlaps} == {(file, "holisafe-bench")}

    recipe = Recipe(data=data)
    with pytest.raises(InputError, match="1 x image in holisafe-bench") as caught:
        tune("no-such-model", file, recipe, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert samples[1].id in str(caught.value)
    assert samples[1].query not in str(caught.value), "ids only"
    assert not (tmp_path / "out").exists()


def test_what_is_allowed_goes_on(tmp_path: Path, bench: str) -> None:
    found = find_overlaps(load_examples(training_file(tmp_path, bench)), Data(check_against=(bench,)))
    refuse(found, Data(allow_overlap=True))
    refuse([], Data())
    for allowed, other in (("image", "text in"), ("text", "image in"), (False, "image in")):
        with pytest.raises(InputError, match=other):
            refuse(found, Data(allow_overlap=allowed))
    refuse([o for o in found if o.half == "text"], Data(allow_overlap="text"))


def test_pictosafes_own_splits_are_compared_by_text_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = load_examples("pictosafe")[:40]
    loose = Data(check_against=("pictosafe",), image_distance=64)
    assert {o.half for o in find_overlaps(examples, loose)} <= {"text"}
    monkeypatch.setattr(overlap, "parts_of_images", lambda name: None)
    assert "image" in {o.half for o in find_overlaps(examples, loose)}, "the same pictograms would be found"
    train = open_benchmark("pictosafe", split="train")
    export(replace(train, samples=train.samples[:3]), tmp_path / "train")
    with pytest.raises(InputError, match="but those to train on"):
        find_overlaps(examples, Data(check_against=(f"holisafe-bench:{tmp_path / 'train'}",)))
    with pytest.raises(InputError, match="no-such"):
        find_overlaps(examples, Data(check_against=("no-such",)))
