"""VLGuard from the real records of both splits, with drawn pictures."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from holisafe.benchmarks import open_benchmark, open_tested
from holisafe.benchmarks.check import check
from holisafe.errors import InputError


def records(folder: Path, split: str) -> list[dict[str, Any]]:
    return json.loads((folder / f"{split}.json").read_text(encoding="utf-8"))


@pytest.fixture
def release(shared: Path, draw: Callable[[Path, Iterable[str]], None], tmp_path: Path) -> Path:
    for split in ("test", "train"):
        shutil.copyfile(shared / f"data/vlguard/{split}.json", tmp_path / f"{split}.json")
        draw(tmp_path / split, (record["image"] for record in records(tmp_path, split)))
    return tmp_path


def test_every_instruction_of_both_splits_becomes_its_pair(release: Path) -> None:
    expected = Counter()
    for split in ("test", "train"):
        for record in records(release, split):
            for turn in record["instr-resp"]:
                kind = next(name for name in turn if name.endswith("instruction"))
                code = {"instruction": "UUU", "unsafe_instruction": "SUU", "safe_instruction": "SSS"}[kind]
                topic = record.get("harmful_category"), record.get("harmful_subcategory")
                expected[split, record["image"], turn[kind], turn["response"], code, *topic] += 1
    samples = open_benchmark("vlguard", release).samples
    found = Counter(
        (s.split, s.images[0].split("/", 1)[1], s.query, s.reference, s.combination, s.category, s.subcategory)
        for s in samples
    )
    assert found == expected
    assert len({s.id for s in samples}) == len(samples) == 120


def test_subsets_labels_and_clusters(release: Path) -> None:
    samples = open_benchmark("vlguard", release).samples
    assert Counter((s.split, s.meta["subset"], s.combination, s.expected) for s in samples) == {
        (split, *kind): 20
        for split in ("test", "train")
        for kind in (
            ("unsafes", "UUU", "refuse"),
            ("safe_unsafes", "SUU", "refuse"),
            ("safe_safes", "SSS", "answer"),
        )
    }
    assert {s.cluster for s in samples} == {s.images[0] for s in samples}
    assert len({s.cluster for s in samples}) == 80, "a safe image makes two pairs"
    assert {s.image_label for s in samples if s.combination[0] == "S"} == {"safe"}
    unsafe = {(s.subcategory, s.image_label) for s in samples if s.combination == "UUU"}
    assert {pair for pair in unsafe if pair[1]} == {("sexually explicit", "sexual_content")}


def test_the_part_here_is_told_from_the_published_whole(release: Path) -> None:
    faults, remarks = check("vlguard", release)
    assert faults == []
    published = {"test": (442, 558, 558), "train": (1_023, 977, 977)}
    assert remarks == [
        f"split/subset {split}/{subset}: 20 samples, published {n:,}"
        for split, counts in published.items()
        for subset, n in zip(("unsafes", "safe_unsafes", "safe_safes"), counts, strict=True)
    ]


def test_without_the_training_file_there_is_the_test_split_alone(release: Path) -> None:
    (release / "train.json").unlink()
    assert {s.split for s in open_benchmark("vlguard", release).samples} == {"test"}
    with pytest.raises(InputError, match="no split 'train'"):
        open_benchmark("vlguard", release, "train")
    (release / "test.json").rename(release / "train.json")
    with pytest.raises(InputError, match=r"test\.json: no such file"):
        open_benchmark("vlguard", release)


@pytest.mark.parametrize("inside", ["", "train/"])
def test_packed_pictures_are_read_out_of_their_archive(release: Path, inside: str) -> None:
    before = open_benchmark("vlguard", release).content_hash()
    with ZipFile(release / "train.zip", "w") as packed:
        for path in (release / "train").rglob("*.*"):
            packed.write(path, inside + path.relative_to(release / "train").as_posix())
    shutil.rmtree(release / "train")
    assert open_benchmark("vlguard", release).content_hash() == before
    (release / "train.zip").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"train\.json, row 1: train/.*: broken archive"):
        open_benchmark("vlguard", release).content_hash()


def made_up(split: str, unsafe: int, safe: int) -> list[dict[str, Any]]:
    """Records of a split's published size, in the release's form."""
    bad = {"safe": False, "harmful_category": "privacy", "harmful_subcategory": "personal data"}
    said = {"response": "An answer."}
    return [
        {"id": f"a_{n}", "image": f"a/{n}.png", **bad, "instr-resp": [{"instruction": f"{split} {n}?", **said}]}
        for n in range(unsafe)
    ] + [
        {
            "id": f"b_{n}",
            "image": f"b/{n}.png",
            "safe": True,
            "instr-resp": [{"safe_instruction": f"Good {n}?", **said}, {"unsafe_instruction": f"Bad {n}?", **said}],
        }
        for n in range(safe)
    ]


def test_the_training_split_with_an_id_twice_is_read_with_its_published_counts(tmp_path: Path) -> None:
    train = made_up("train", 1_023, 977)
    train[700]["id"] = train[5]["id"]
    (tmp_path / "train.json").write_text(json.dumps(train))
    (tmp_path / "test.json").write_text(json.dumps(made_up("test", 442, 558)))
    benchmark = open_benchmark("vlguard", tmp_path, "train")
    assert Counter(s.meta["subset"] for s in benchmark.samples) == {
        "unsafes": 1_023,
        "safe_unsafes": 977,
        "safe_safes": 977,
    }
    assert len(benchmark.samples) == 2_977
    assert [s.images for s in benchmark.samples if s.id == "train-a_5-2-unsafes"] == [("train/a/700.png",)]
    _, remarks = check("vlguard", tmp_path)
    assert remarks == ["train.json, row 701: its id is an earlier row's too; here it is 'a_5-2'"]


def test_faults_in_one_split_do_not_stop_the_other(release: Path) -> None:
    rows = records(release, "train")
    (release / "train.json").write_text(json.dumps([*rows, rows[3]]))
    assert len(open_tested("vlguard", release).samples) == len(open_benchmark("vlguard", release, "test").samples) == 60
    for split in ("train", None):
        with pytest.raises(InputError, match=r"train\.json, row 41: duplicate id"):
            open_benchmark("vlguard", release, split)
    assert [fault.row for fault in check("vlguard", release)[0]] == [41]
    (release / "train.json").write_text("[")
    assert len(open_tested("vlguard", release).samples) == 60
    (release / "train.json").write_text(json.dumps(rows))
    (release / "test.json").write_text("[")
    assert len(open_benchmark("vlguard", release, "train").samples) == 60
    with pytest.raises(InputError, match=r"test\.json.*not JSON"):
        open_tested("vlguard", release)


@pytest.mark.parametrize(
    ("edit", "field", "problem"),
    [
        (lambda r: r.pop("safe"), "safe", "missing"),
        (lambda r: r.update(safe="maybe"), "safe", "neither true nor false"),
        (lambda r: r.update(safe=False), "harmful_category", "missing"),
        (lambda r: r.update(image="../x.png"), "image", "leads outside"),
        (lambda r: r.update(image="/etc/x.png"), "image", "leads outside"),
        (lambda r: r.update({"instr-resp": None}), "instr-resp", "not a list"),
        (lambda r: r["instr-resp"][0].update(safe_instruction=" "), "safe_instruction", "missing|blank"),
        (lambda r: r["instr-resp"].pop(), "unsafe_instruction", "missing"),
        (lambda r: r.update(id=None), "id", "blank"),
    ],
)
def test_faults_are_named_and_give_no_samples(
    release: Path, edit: Callable[[dict[str, Any]], object], field: str, problem: str
) -> None:
    rows = records(release, "test")
    at = next(n for n, record in enumerate(rows) if record["safe"])
    edit(rows[at])
    (release / "test.json").write_text(json.dumps(rows))
    with pytest.raises(InputError, match=problem) as caught:
        open_benchmark("vlguard", release)
    assert (caught.value.where, caught.value.row, caught.value.field) == (release / "test.json", at + 1, field)
    faults, remarks = check("vlguard", release)
    assert [fault.row for fault in faults] == [at + 1]
    assert "split/subset test/safe_safes: 19 samples, published 558" in remarks


def test_a_duplicate_row_and_a_half_written_file(release: Path) -> None:
    rows = records(release, "test")
    (release / "test.json").write_text(json.dumps([*rows, rows[2]]))
    with pytest.raises(InputError, match="row 41: duplicate id"):
        open_benchmark("vlguard", release)
    (release / "test.json").write_text(json.dumps(rows)[:-40])
    (release / "train.json").write_text("{}")
    faults, _ = check("vlguard", release)
    assert [fault.problem.split(" (")[0] for fault in faults] == [
        "not JSON",
        "an object without one list of rows; it holds: nothing",
    ]
