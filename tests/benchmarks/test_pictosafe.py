"""PictoSafe: what its splits share, that neither half gives SSU away, and that its pixels never change."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest
from PIL import Image

from holisafe.benchmarks import open_benchmark
from holisafe.benchmarks.pictosafe.catalog import COMPOSITES, OBJECTS, SINGLES, concepts, spoken
from holisafe.benchmarks.pictosafe.controls import CONTROLS, control_accuracy, truth_table
from holisafe.benchmarks.pictosafe.pairs import pairs
from holisafe.benchmarks.pictosafe.questions import FRAMES, HARMFUL, cell_split, families
from holisafe.benchmarks.pictosafe.scenes import CELL_PIXELS, GRID, STYLES, Scene, render, sprites
from holisafe.benchmarks.pictosafe.utility import WORDINGS
from holisafe.errors import InputError
from holisafe.taxonomy import CATEGORY_OF, IMAGE_LABELS

CONTENT_HASHES = {
    ("pictosafe", "test"): "8f9513551cca6741",
    ("pictosafe-unseen", "test"): "43e7c53eb4024579",
    ("pictosafe-development", "validation"): "3a592997bea5c517",
    ("pictosafe-utility", "test"): "171d23c15baae6fc",
}


@pytest.mark.parametrize(("name", "split"), CONTENT_HASHES)
def test_the_benchmark_is_frozen(name: str, split: str) -> None:
    assert open_benchmark(name, split=split).content_hash() == CONTENT_HASHES[name, split]


def test_every_label_and_combination_is_there_in_both_styles() -> None:
    for name in ("pictosafe", "pictosafe-unseen"):
        samples = open_benchmark(name, split="test").samples
        assert len(samples) >= 1000
        assert {s.image_label for s in samples} == set(IMAGE_LABELS)
        assert Counter(s.combination for s in samples) == {"SSS": 446, "SSU": 256, "SUU": 190, "USU": 190, "UUU": 190}
        assert all(s.category == CATEGORY_OF[s.subcategory] for s in samples if s.subcategory)


def test_every_concept_is_drawn_and_named_once() -> None:
    names = concepts()
    assert len(names) == len(set(names)) == len({spoken(name) for name in names})
    for sheets in STYLES.values():
        for sheet in sheets:
            assert all(np.asarray(image)[..., 3].sum() > 0 for image in sprites(sheet).values())
            assert set(sprites(sheet)) == set(names)


def test_nothing_of_the_test_split_occurs_in_tuning() -> None:
    train = [s for s in open_benchmark("pictosafe").samples if s.split == "train"]
    for split in ("test", "validation"):
        held = open_benchmark("pictosafe", split=split).samples
        assert not {s.query for s in held} & {s.query for s in train}
        assert not {s.meta["deed"] for s in held if s.expected == "refuse" and s.combination in ("SUU", "UUU")} & {
            s.meta.get("deed") for s in train
        }
        trained_cells = {
            (s.meta["deed"], shown) for s in train if "deed" in s.meta for _, shown in s.meta["pictograms"]
        }
        objects = {name for group in OBJECTS.values() for name in group}
        for sample in held:
            if "-table" in str(sample.cluster):
                shown = next(name for _, name in sample.meta["pictograms"] if name in objects)
                assert (sample.meta["deed"], shown) not in trained_cells
    frames = [frame for group in FRAMES.values() for frame in group]
    assert len(frames) == len(set(frames))
    for task in WORDINGS.values():
        assert len([w for group in task.values() for w in group]) == len({w for group in task.values() for w in group})


def test_every_row_and_column_of_a_table_is_in_train() -> None:
    train = [(r, c) for r in range(4) for c in range(4) if cell_split(r, c) == "train"]
    assert {r for r, _ in train} == {c for _, c in train} == set(range(4))
    assert Counter(cell_split(r, c) for r in range(4) for c in range(4)) == {"train": 10, "test": 4, "validation": 2}
    assert min(Counter(r for r, _ in train).values()) == min(Counter(c for _, c in train).values()) == 2


def test_each_unsafe_pair_has_a_safe_partner_in_image_and_in_text() -> None:
    """Image partner: the same query is safe with another image. Text partner: the same image with another query."""
    quadruples = defaultdict(list)
    for pair in pairs("test", "seen"):
        quadruples[pair.cluster].append(pair)
    for members in quadruples.values():
        assert len(members) == 4
        assert len({m.query for m in members}) == 2
        assert len({m.scene for m in members}) == 2
        if "-table" in members[0].cluster:
            assert Counter(m.combination for m in members) == {"SSU": 2, "SSS": 2}
            for m in members:
                by_image = [o for o in members if o.query == m.query and o.scene != m.scene]
                by_text = [o for o in members if o.query != m.query and o.scene == m.scene]
                assert {o.combination == "SSS" for o in by_image + by_text} == {m.combination != "SSS"}
        else:
            assert {m.combination for m in members} == {"SSS", "SUU", "USU", "UUU"}
            unsafe, safe = ({m.scene for m in members if (m.image_label == "safe") is flag} for flag in (False, True))
            changed = set(next(iter(unsafe)).placed) ^ set(next(iter(safe)).placed)
            assert len(changed) == 2, "the pictures of a quadruple differ in one pictogram"


def test_the_image_label_follows_from_the_pictograms() -> None:
    """An independent rule over what stands in the scene gives every pair's image label."""
    single = {name: label for label, names in SINGLES.items() for name in names}
    for split in ("train", "validation", "test"):
        for pair in pairs(split, "seen"):
            shown = {name for _, name in pair.scene.placed}
            labels = {single[name] for name in shown if name in single}
            labels |= {
                label for label, (targets, marks) in COMPOSITES.items() if shown & {*targets} and shown & {*marks}
            }
            assert labels == ({pair.image_label} - {"safe"})


def test_the_truth_table_decides_and_neither_half_does() -> None:
    danger = {(ask, name) for f in families() for ask in f.asks for name in OBJECTS[f.dangerous]}
    fine = {(ask, name) for f in families() for ask in f.asks for name in OBJECTS[f.fine]}
    assert not danger & fine
    test = truth_table("test")
    by_half: dict[str, Counter[bool]] = defaultdict(Counter)
    for pair in test:
        cells = {(pair.deed, name) for _, name in pair.scene.placed}
        assert bool(cells & danger) is (pair.combination == "SSU")
        assert bool(cells & fine) is (pair.combination == "SSS")
        for half in (pair.query, pair.deed, str(pair.scene.placed), *(name for _, name in pair.scene.placed)):
            by_half[half][pair.combination == "SSU"] += 1
    assert all(count[True] == count[False] for count in by_half.values())


def test_control_models_fail_on_one_half_and_succeed_on_both() -> None:
    accuracy = {name: control_accuracy(features) for name, features in CONTROLS.items()}
    for name in ("text only", "image only"):
        right, n = accuracy[name]
        assert abs(right / n - 0.5) < 0.05, accuracy
    right, n = accuracy["joint"]
    assert right / n > 0.95, accuracy


def test_the_same_pair_is_drawn_at_the_same_place_in_every_style() -> None:
    seen, unseen = pairs("test", "seen"), pairs("test", "unseen")
    assert [(p.id, p.query, p.scene.placed) for p in seen] == [(p.id, p.query, p.scene.placed) for p in unseen]
    assert render(seen[0].scene).tobytes() != render(unseen[0].scene).tobytes()


def test_a_pictogram_stays_near_its_cell() -> None:
    """Drawing one more pictogram changes pixels in and up to two around its own cell, nowhere else."""
    plain = np.asarray(render(Scene(((0, "bomb"),), "unseen", "s")), int)
    both = np.asarray(render(Scene(((0, "bomb"), (8, "guitar")), "unseen", "s")), int)
    rows, columns = np.nonzero((plain != both).any(-1))
    corner = (GRID - 1) * CELL_PIXELS - 2
    assert rows.size
    assert rows.min() >= corner
    assert columns.min() >= corner


def test_harmful_and_harmless_deeds_share_their_frames() -> None:
    frames = {True: set(), False: set()}
    for pair in pairs("train", "seen"):
        frames[pair.combination == "SUU"].add(pair.frame)
    assert frames[True] == frames[False] == set(FRAMES["train"])


def test_utility_answers_are_right() -> None:
    benchmark = open_benchmark("pictosafe-utility", split="test")
    assert Counter(s.meta["task"] for s in benchmark.samples) == {"name": 120, "count": 120, "locate": 120}
    for sample in benchmark.samples:
        assert sample.combination is None
        placed = sample.meta["pictograms"]
        asked = [name for _, name in placed if f" {spoken(name)} " in sample.query.replace("?", " ").replace(".", " ")]
        wanted = {
            "name": lambda: " and ".join(spoken(name) for _, name in sorted(placed)),  # noqa: B023
            "count": lambda: ["one", "two", "three", "four"][len(asked) - 1],  # noqa: B023
            "locate": lambda: [
                "top left",
                "top",
                "top right",
                "left",
                "middle",
                "right",
                "bottom left",
                "bottom",
                "bottom right",
            ][next(c for c, n in placed if n == asked[0])],  # noqa: B023
        }[sample.meta["task"]]()
        assert sample.reference.rstrip(".").lower() == wanted
    image = benchmark.open_image(benchmark.samples[0].images[0])
    assert isinstance(image, Image.Image)
    assert image.size == (96, 96)


def test_harm_labels_are_the_taxonomy() -> None:
    assert set(HARMFUL) == set(SINGLES) | set(COMPOSITES) == set(IMAGE_LABELS) - {"safe"}


def test_an_embedded_benchmark_takes_no_folder(tmp_path) -> None:
    with pytest.raises(InputError, match="embedded"):
        open_benchmark("pictosafe", root=tmp_path)
    with pytest.raises(InputError, match="no split 'dev'"):
        open_benchmark("pictosafe", split="dev")
