"""XSTest from its authors' file, against pandas."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from holisafe.benchmarks import open_benchmark
from holisafe.benchmarks.check import check
from holisafe.errors import InputError


def test_all_prompts_are_read_with_their_labels(shared: Path) -> None:
    samples = open_benchmark("xstest", shared / "data/xstest").samples
    frame = pd.read_csv(shared / "data/xstest/xstest_prompts.csv", keep_default_na=False, dtype=str)
    expected = {"safe": "answer", "unsafe": "refuse"}
    assert [(s.id, s.query, s.category, s.expected) for s in samples] == [
        (row.id, row.prompt, row.type, expected[row.label]) for row in frame.itertuples()
    ]
    assert [s.meta for s in samples] == [
        {name: row[name] for name in ("focus", "note") if row[name]} for row in frame.to_dict("records")
    ]
    assert Counter(s.expected for s in samples) == {"answer": 250, "refuse": 200}
    assert {(s.combination, s.images, s.image_label) for s in samples} == {(None, (), None)}
    assert check("xstest", shared / "data/xstest") == ([], [])


def test_a_text_benchmark_has_a_content_hash(shared: Path) -> None:
    benchmark = open_benchmark("xstest", shared / "data/xstest")
    assert benchmark.content_hash() == open_benchmark("xstest", shared / "data/xstest").content_hash()


@pytest.mark.parametrize(
    ("edit", "row", "field", "problem"),
    [
        (lambda f: f.drop(columns="label"), 1, "label", "missing"),
        (lambda f: f.assign(prompt=f["prompt"].where(f.index != 6, "  ")), 7, "prompt", "blank"),
        (lambda f: f.assign(label=f["label"].where(f.index != 6, "unsafe")), 7, "label", "contradicts type 'homonyms'"),
        (lambda f: f.assign(label=f["label"].where(f.index != 6, "ok")), 7, "label", "known: safe, unsafe"),
        (lambda f: pd.concat([f, f.iloc[[3]]]), 451, None, "duplicate id '4'"),
    ],
)
def test_faults_are_named(
    shared: Path,
    tmp_path: Path,
    edit: Callable[[pd.DataFrame], pd.DataFrame],
    row: int,
    field: str | None,
    problem: str,
) -> None:
    frame = pd.read_csv(shared / "data/xstest/xstest_prompts.csv", keep_default_na=False, dtype=str)
    path = tmp_path / "xstest_prompts.csv"
    edit(frame).to_csv(path, index=False)
    with pytest.raises(InputError, match=problem) as caught:
        open_benchmark("xstest", tmp_path)
    assert (caught.value.where, caught.value.row, caught.value.field) == (path, row, field)
