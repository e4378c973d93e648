"""SIUO from the real records, with drawn pictures."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from holisafe.benchmarks import open_benchmark
from holisafe.benchmarks.check import check
from holisafe.errors import InputError

COLUMNS = ["question_id", "question", "category", "safety_warning", "reference_answer"]


@pytest.fixture
def release(shared: Path, draw: Callable[[Path, Iterable[str]], None], tmp_path: Path) -> Path:
    shutil.copyfile(shared / "data/siuo/siuo_gen.json", tmp_path / "siuo_gen.json")
    draw(tmp_path / "images", pd.read_json(tmp_path / "siuo_gen.json")["image"])
    return tmp_path


def test_every_record_is_one_pair(release: Path) -> None:
    samples = open_benchmark("siuo", release).samples
    frame = pd.read_json(release / "siuo_gen.json", dtype={"question_id": str})
    assert [
        (s.id, s.query, s.category, s.meta["safety_warning"], s.reference) for s in samples
    ] == list(frame[COLUMNS].itertuples(index=False, name=None))  # fmt: skip
    assert [s.images for s in samples] == [(f"images/{name}",) for name in frame["image"]]
    assert {(s.combination, s.expected, s.image_label) for s in samples} == {("SSU", "refuse", "safe")}
    assert [s.cluster for s in samples] == [s.images[0] for s in samples]


def test_the_reference_is_no_answer_key(release: Path) -> None:
    """With a combination, a reference is what a good answer looks like, not the one right answer."""
    assert not any(sample.has_answer_key for sample in open_benchmark("siuo", release).samples)


def test_the_part_here_is_told_from_the_published_whole(release: Path) -> None:
    assert check("siuo", release) == ([], ["combination SSU: 40 samples, published 167"])


def test_the_repositorys_own_folders_are_read_too(release: Path) -> None:
    before = open_benchmark("siuo", release)
    (release / "data").mkdir()
    (release / "siuo_gen.json").rename(release / "data/siuo_gen.json")
    after = open_benchmark("siuo", release)
    assert after.samples == before.samples
    assert after.content_hash() == before.content_hash()


@pytest.mark.parametrize(
    ("edit", "field", "problem"),
    [
        (lambda r: r.update(question=""), "question", "blank"),
        (lambda r: r.update(question=None), "question", "blank"),
        (lambda r: r.pop("safety_warning"), "safety_warning", "missing"),
        (lambda r: r.update(reference_answer=7), "reference_answer", "not text"),
        (lambda r: r.update(image="../S-01.png"), "image", "leads outside"),
        (lambda r: r.update(question_id=1001), None, "duplicate id '1001'"),
    ],
)
def test_faults_are_named(
    release: Path, edit: Callable[[dict[str, Any]], object], field: str | None, problem: str
) -> None:
    rows = json.loads((release / "siuo_gen.json").read_text(encoding="utf-8"))
    edit(rows[8])
    (release / "siuo_gen.json").write_text(json.dumps(rows))
    with pytest.raises(InputError, match=problem) as caught:
        open_benchmark("siuo", release)
    assert (caught.value.where, caught.value.row, caught.value.field) == (release / "siuo_gen.json", 9, field)
