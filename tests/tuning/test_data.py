"""Tuning data: our JSONL, benchmarks' training splits, and the shares that dial them."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from holisafe.errors import InputError
from holisafe.records import Message
from holisafe.tuning.data import Example, load_examples, select
from tuning.colours import colour_file


def test_jsonl_gives_conversations_with_closed_images(tmp_path: Path) -> None:
    examples = load_examples(str(colour_file(tmp_path)))
    assert len(examples) == 17
    first, last = examples[0], examples[-1]
    assert (first.id, first.answer, first.image_label, first.kind) == (
        "red-0",
        "the picture shows a red square",
        "safe",
        "SSS",
    )
    assert first.pictures[0].open().getpixel((3, 3)) == (255, 0, 0)
    assert (last.pictures, last.image_label, last.kind) == ((), None, "utility")


def test_a_system_prompt_and_the_model_cards_spelling(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    row = {"id": "1", "images": ["a.png"] * 2, "query": "q", "response": "r", "system": "s"}
    (tmp_path / "a.jsonl").write_text(json.dumps(row | {"image_label": "race_discrimination"}))
    (example,) = load_examples(str(tmp_path / "a.jsonl"))
    assert [message.role for message in example.messages] == ["system", "user"]
    assert (example.image_label, len(example.pictures)) == ("race", 2)


ROW = {"id": "1", "images": ["a.png"], "query": "q", "response": "r"}


@pytest.mark.parametrize(
    ("row", "field", "said"),
    [
        ({**ROW, "images": ["b.png"]}, "images", "no such image"),
        ({**ROW, "images": ["../a.png"]}, "images", "outside"),
        ({**ROW, "images": ["/etc/passwd"]}, "images", "outside"),
        ({**ROW, "images": "a.png"}, "images", "not a list"),
        ({**ROW, "images": [1]}, "images", "a path"),
        ({**ROW, "response": ""}, "response", "missing or empty"),
        ({**ROW, "query": None}, "query", "not text"),
        ({**ROW, "image_label": "evil"}, "image_label", "unknown image label"),
        ({**ROW, "combination": "SXS"}, "combination", "none of"),
        ({**ROW, "answer": "r"}, "answer", "no such field"),
        ({**ROW, "id": "0"}, "id", "duplicate"),
        ([], None, "not a JSON object"),
    ],
)
def test_a_bad_record_names_row_and_field(tmp_path: Path, row: Any, field: str | None, said: str) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    file = tmp_path / "a.jsonl"
    file.write_text(json.dumps({**ROW, "id": "0"}) + "\n" + json.dumps(row))
    with pytest.raises(InputError, match=said) as caught:
        load_examples(str(file))
    assert (caught.value.where, caught.value.row, caught.value.field) == (file, 2, field)


def test_torn_empty_missing_and_broken_files(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    for content in ("", json.dumps(ROW)[:-9]):
        file.write_text(content)
        with pytest.raises(InputError):
            load_examples(str(file))
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    file.write_text(json.dumps(ROW))
    with pytest.raises(InputError, match=r"a\.png"):
        load_examples(str(file))
    for data in (str(tmp_path / "none.jsonl"), "a/b.txt", "no-such-benchmark", "pictosafe-unseen"):
        with pytest.raises(InputError):
            load_examples(data)


def test_a_benchmarks_training_split_with_its_reference_answers() -> None:
    from holisafe.benchmarks import open_benchmark

    examples = load_examples("pictosafe")
    train = {sample.id: sample for sample in open_benchmark("pictosafe", split="train").samples}
    assert {example.id for example in examples} == set(train)
    assert {"SSS", "SSU", "SUU", "USU", "UUU", "utility"} == {example.kind for example in examples}
    for example in examples[::997]:
        sample = train[example.id]
        assert (example.answer, example.messages[0].text) == (sample.reference, sample.query)
        assert example.image_label == sample.image_label
        assert sample.split == "train"


def test_an_exported_training_split_reads_back(tmp_path: Path) -> None:
    from holisafe.benchmarks import open_benchmark
    from holisafe.benchmarks.export import export

    train, test = (open_benchmark("pictosafe", split=split) for split in ("train", "test"))
    few = replace(train, samples=(*train.samples[:8], *train.samples[-2:]))
    export(few, tmp_path / "train")
    examples = {example.id: example for example in load_examples(f"holisafe-bench:{tmp_path}/train")}
    for sample in few.samples:
        example = examples.pop(sample.id)
        assert (example.answer, example.image_label) == (sample.reference, sample.image_label)
        assert example.kind == (sample.combination or "utility")
        assert example.pictures[0].open().tobytes() == few.open_image(sample.images[0]).tobytes()
    assert not examples
    export(replace(test, samples=test.samples[:4]), tmp_path / "test")
    with pytest.raises(InputError, match="no split 'train'"):
        load_examples(f"holisafe-bench:{tmp_path}/test")


def examples_of(**counts: int) -> list[Example]:
    return [
        Example(f"{kind}-{n}", (Message("user", "q"),), "a", kind=kind) for kind, c in counts.items() for n in range(c)
    ]


def test_shares_keep_repeat_and_drop() -> None:
    data = examples_of(SSS=40, USU=20, utility=10)
    chosen = Counter(example.kind for example in select(data, {"SSS": 0.25, "USU": 2.5, "utility": 0}))
    assert chosen == {"SSS": 10, "USU": 50}
    repeats = Counter(example.id for example in select(data, {"USU": 2.5}) if example.kind == "USU")
    assert Counter(repeats.values()) == {2: 10, 3: 10}
    assert len(select(data, {})) == 70


def test_shares_nest_and_do_not_depend_on_the_order_of_the_data() -> None:
    data = examples_of(SSS=40, USU=20)
    small, large = ({e.id for e in select(data, {"SSS": share}) if e.kind == "SSS"} for share in (0.3, 0.8))
    assert small < large
    assert [e.id for e in select(data[::-1], {"SSS": 0.3}, 20)] == [e.id for e in select(data, {"SSS": 0.3}, 20)]
    few, more = ([e.id for e in select(data, {}, count)] for count in (10, 30))
    assert more[:10] == few
    assert Counter(name.split("-")[0] for name in more).keys() == {"SSS", "USU"}


def test_shares_of_what_is_not_there_and_shares_that_leave_nothing() -> None:
    with pytest.raises(InputError, match="has no 'SUS'; it has: SSS"):
        select(examples_of(SSS=3), {"SUS": 1})
    assert len(select(examples_of(SSS=3), {"UUU": 0.5})) == 3, "a combination that the data lacks draws nothing"
    with pytest.raises(InputError, match="no example"):
        select(examples_of(SSS=3), {"SSS": 0})
