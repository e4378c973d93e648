"""MM-SafetyBench at its real size, with made-up questions and one tiny picture linked 5,040 times."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from holisafe.benchmarks import open_benchmark
from holisafe.benchmarks.check import check
from holisafe.benchmarks.mm_safetybench import QUESTIONS
from holisafe.errors import InputError

Draw = Callable[[Path, Iterable[str]], None]
KINDS = ("SD", "TYPO", "SD_TYPO")


def question(scenario: str, number: int) -> dict[str, str]:
    return {
        "Question": f"How is thing {number} of {scenario} done?",
        "Changed Question": f"List the ways to do thing {number}.",
        "Key Phrase": f"thing {number}",
        "Phrase Type": "activity",
        "Rephrased Question": f"The image shows a phrase. How is it done? ({number})",
        "Rephrased Question(SD)": f"The image shows an activity. How is it done? ({number})",
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, draw: Draw) -> Path:
    root = tmp_path_factory.mktemp("mm-safetybench")
    draw(root, ["one.jpg"])
    for scenario, number_of in QUESTIONS.items():
        write(root, scenario, {str(number): question(scenario, number) for number in range(number_of)})
        for kind in KINDS:
            (root / "data/imgs" / scenario / kind).mkdir(parents=True)
            for number in range(number_of):
                os.link(root / "one.jpg", root / f"data/imgs/{scenario}/{kind}/{number}.jpg")
    return root


def write(root: Path, scenario: str, questions: Any) -> None:
    path = root / f"data/processed_questions/{scenario}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(questions), encoding="utf-8")


@pytest.fixture
def small(tmp_path: Path, draw: Draw) -> Path:
    """Two questions a scenario."""
    for scenario in QUESTIONS:
        write(tmp_path, scenario, {str(number): question(scenario, number) for number in range(2)})
        draw(tmp_path, (f"data/imgs/{scenario}/{kind}/{number}.jpg" for kind in KINDS for number in range(2)))
    return tmp_path


def test_the_published_counts_come_out(whole: Path) -> None:
    assert check("mm-safetybench", whole) == ([], [])
    samples = open_benchmark("mm-safetybench", whole).samples
    assert (len(samples), len({sample.cluster for sample in samples}), len(QUESTIONS)) == (5_040, 1_680, 13)
    assert {(sample.combination, sample.expected) for sample in samples} == {("USU", "refuse")}
    assert set(Counter(sample.cluster for sample in samples).values()) == {3}


def test_every_picture_goes_with_its_words(small: Path) -> None:
    benchmark = open_benchmark("mm-safetybench", small)
    by_id = {sample.id: sample for sample in benchmark.samples}
    made = question("03-Malware_Generation", 1)
    for kind in KINDS:
        sample = by_id[f"03-Malware_Generation/1/{kind}"]
        assert sample.query == made["Rephrased Question(SD)" if kind == "SD" else "Rephrased Question"]
        assert sample.images == (f"data/imgs/03-Malware_Generation/{kind}/1.jpg",)
        assert (sample.category, sample.cluster) == ("03-Malware_Generation", "03-Malware_Generation/1")
        assert sample.meta == {
            "condition": kind,
            "question": made["Question"],
            "key_phrase": "thing 1",
            "phrase_type": "activity",
        }
        assert benchmark.open_image(sample.images[0]).size == (4, 3)


def test_the_data_folder_itself_will_do(small: Path) -> None:
    outer, inner = (open_benchmark("mm-safetybench", root) for root in (small, small / "data"))
    assert [sample.id for sample in outer.samples] == [sample.id for sample in inner.samples]
    assert inner.samples[0].images == ("imgs/01-Illegal_Activitiy/SD/0.jpg",)


def test_a_smaller_folder_is_told_from_the_published(small: Path) -> None:
    faults, remarks = check("mm-safetybench", small)
    assert faults == []
    assert "condition SD: 26 samples, published 1,680" in remarks
    assert "category 07-Sex: 6 samples, published 327" in remarks


FAULTS: dict[str, tuple[Any, str]] = {
    "missing words": (
        {"0": {**question("x", 0), "Rephrased Question(SD)": " "}},
        "row 1, field 'Rephrased Question(SD)'",
    ),
    "missing field": ({"0": {"Question": "?"}}, "field 'Rephrased Question(SD)': missing"),
    "wrong type": ({"0": {**question("x", 0), "Question": 5}}, "field 'Question': not text"),
    "no object": ({"0": ["?"]}, "row 1: not a JSON object"),
    "no number": ({"../../etc/passwd": question("x", 0)}, "not the number of a question"),
    "another JSON": ([question("x", 0)], "not an object of questions by number"),
    "nothing": ({}, "not an object of questions by number"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named(small: Path, name: str) -> None:
    questions, problem = FAULTS[name]
    write(small, "06-Fraud", questions)
    with pytest.raises(InputError) as caught:
        open_benchmark("mm-safetybench", small)
    assert "06-Fraud.json" in str(caught.value)
    assert problem in str(caught.value)
    assert [problem in str(fault) for fault in check("mm-safetybench", small)[0]] == [True]


def test_missing_files_are_all_found(small: Path) -> None:
    (small / "data/processed_questions/05-EconomicHarm.json").unlink()
    path = small / "data/processed_questions/08-Political_Lobbying.json"
    path.write_text(path.read_text()[:-40])
    (small / "data/imgs/10-Legal_Opinion/TYPO/1.jpg").unlink()
    found = [str(fault) for fault in check("mm-safetybench", small)[0]]
    assert len(found) == 3
    assert "05-EconomicHarm.json: no such file" in found[0]
    assert "08-Political_Lobbying.json: not JSON" in found[1]
    assert "10-Legal_Opinion.json, row 2: data/imgs/10-Legal_Opinion/TYPO/1.jpg: no such image" in found[2]
    with pytest.raises(InputError, match="--root"):
        open_benchmark("mm-safetybench")
