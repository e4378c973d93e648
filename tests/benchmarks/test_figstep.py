"""FigStep: the real Tiny files with their pictures, and the whole in the same form."""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd
import pytest

from holisafe.benchmarks import open_benchmark
from holisafe.benchmarks.check import check
from holisafe.errors import InputError

TABLE, PICTURES = Path("data/question/SafeBench-Tiny.csv"), Path("data/images/SafeBench-Tiny")


@pytest.fixture
def tiny(shared: Path, tmp_path: Path) -> Path:
    """A copy of the authors' Tiny files that a test may break."""
    return Path(shutil.copytree(shared / "data/figstep", tmp_path / "figstep", copy_function=shutil.copyfile))


def change(tiny: Path, edit: Callable[[list[dict[str, str]]], object]) -> None:
    with (tiny / TABLE).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    edit(rows)
    pd.DataFrame(rows).to_csv(tiny / TABLE, index=False)


def test_tiny_is_sound_and_complete(shared: Path) -> None:
    assert check("figstep-tiny", shared / "data/figstep") == ([], [])


def test_tiny_is_what_pandas_reads(shared: Path) -> None:
    benchmark = open_benchmark("figstep-tiny", shared / "data/figstep")
    frame = pd.read_csv(shared / "data/figstep" / TABLE)
    assert [s.id for s in benchmark.samples] == [
        f"{row.dataset}-{row.category_id}-{row.task_id}" for row in frame.itertuples()
    ]
    assert [s.meta for s in benchmark.samples] == frame[["question", "instruction"]].to_dict("records")
    assert [s.category for s in benchmark.samples] == frame["category_name"].tolist()
    assert {(s.combination, s.expected, s.image_label) for s in benchmark.samples} == {("USU", "refuse", None)}
    assert len({s.query for s in benchmark.samples}) == 1
    assert {s.images[0].rsplit("/", 1)[1] for s in benchmark.samples} == {
        path.name for path in (shared / "data/figstep" / PICTURES).iterdir()
    }
    assert [s.cluster for s in benchmark.samples] == [s.images[0] for s in benchmark.samples]
    assert benchmark.open_image(benchmark.samples[0].images[0]).size == (760, 760)


def test_the_whole_has_five_hundred(draw: Callable[[Path, Iterable[str]], None], shared: Path, tmp_path: Path) -> None:
    names = dict(pd.read_csv(shared / "data/figstep" / TABLE)[["category_id", "category_name"]].to_numpy())
    keys = [(category, task) for category in range(1, 11) for task in range(1, 51)]
    (tmp_path / "data/question").mkdir(parents=True)
    pd.DataFrame(
        {
            "dataset": "ForbidQI",
            "category_id": category,
            "task_id": task,
            "category_name": names[category],
            "question": "Q?",
            "instruction": "Steps.",
        }
        for category, task in keys
    ).to_csv(tmp_path / "data/question/safebench.csv", index=False)
    draw(tmp_path, (f"data/images/SafeBench/query_ForbidQI_{category}_{task}_6.png" for category, task in keys))
    assert check("figstep", tmp_path) == ([], [])
    samples = open_benchmark("figstep", tmp_path).samples
    assert Counter(s.category for s in samples) == dict.fromkeys(names.values(), 50)
    tiny = open_benchmark("figstep-tiny", shared / "data/figstep").samples
    assert {s.id for s in tiny} <= {s.id for s in samples}


@pytest.mark.parametrize(
    ("edit", "row", "field", "problem"),
    [
        (lambda rows: rows[4].update(instruction=" "), 5, "instruction", "blank"),
        (lambda rows: rows[4].update(dataset="a/../../x"), 5, "image", "leads outside"),
        (lambda rows: [row.pop("task_id") for row in rows], 1, "task_id", "missing"),
        (lambda rows: rows.append(rows[0]), 51, None, "duplicate id 'ForbidQI-1-1'"),
    ],
)
def test_faults_are_named(
    tiny: Path, edit: Callable[[list[dict[str, str]]], object], row: int, field: str | None, problem: str
) -> None:
    change(tiny, edit)
    with pytest.raises(InputError, match=problem) as caught:
        open_benchmark("figstep-tiny", tiny)
    assert (caught.value.where, caught.value.row, caught.value.field) == (tiny / TABLE, row, field)


def test_a_check_lists_missing_and_broken_pictures_with_their_rows(tiny: Path) -> None:
    pictures = sorted((tiny / PICTURES).iterdir())
    pictures[7].unlink()
    pictures[20].write_bytes(pictures[20].read_bytes()[:900])
    pictures[30].write_bytes(b"")
    faults, remarks = check("figstep-tiny", tiny)
    frame = pd.read_csv(tiny / TABLE)
    files = [f"query_{row.dataset}_{row.category_id}_{row.task_id}_6.png" for row in frame.itertuples()]
    expected = {files.index(pictures[n].name) + 1: pictures[n].name for n in (7, 20, 30)}
    assert {fault.row: fault.problem.split(":")[0].rsplit("/", 1)[1] for fault in faults} == expected
    problems = {fault.problem.split(": ", 1)[1].split(" (")[0] for fault in faults}
    assert problems == {"no such image", "broken image", "not an image: the file is empty"}
    assert remarks == []
    with pytest.raises(InputError, match=r"figstep|SafeBench-Tiny"):
        open_benchmark("figstep-tiny", tiny).content_hash()


def test_fewer_rows_are_told_by_category(tiny: Path) -> None:
    change(tiny, lambda rows: rows.__delitem__(slice(3, 12)))
    faults, remarks = check("figstep-tiny", tiny)
    assert faults == []
    assert remarks == [
        "combination USU: 41 samples, published 50",
        "category Illegal Activity: 3 samples, published 5",
        "category Hate Speech: 0 samples, published 5",
        "category Malware Generation: 3 samples, published 5",
    ]
