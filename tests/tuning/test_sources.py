"""LLaVA's JSON, HoliSafe's training records, and VLGuard's training split, as examples."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from holisafe.errors import InputError
from holisafe.tuning.data import load_examples
from holisafe.tuning.sources import read_source

VLGUARD = Path(__file__).parents[2] / "../shared/data/vlguard"


def folder_with(tmp_path: Path, records: Any) -> Path:
    for name in ("a.png", "b.png", "images/self_harm/suicide/c.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    (tmp_path / "train.json").write_text(json.dumps(records))
    return tmp_path / "train.json"


def turns(*texts: str) -> list[dict[str, str]]:
    return [{"from": "human" if k % 2 == 0 else "gpt", "value": text} for k, text in enumerate(texts)]


def test_a_llava_conversation_gives_an_example_for_every_answer(tmp_path: Path) -> None:
    talk = [{"from": "system", "value": "be brief"}, *turns("<image>\nwhat?", "a cat", "and <image> this?", "a dog")]
    records = [{"id": 7, "image": ["a.png", "b.png"], "conversations": talk}]
    records.append({"id": "text", "conversations": turns("hi", "hello")})
    first, second, third = load_examples(f"llava:{folder_with(tmp_path, records)}")
    assert [(e.id, e.answer, e.kind, e.image_label) for e in (first, second, third)] == [
        ("7#1", "a cat", "utility", None),
        ("7#2", "a dog", "utility", None),
        ("text#1", "hello", "utility", None),
    ]
    assert [(m.role, m.text, len(m.pictures)) for m in second.messages] == [
        ("system", "be brief", 0),
        ("user", "what?", 1),
        ("assistant", "a cat", 0),
        ("user", "and  this?", 1),
    ]
    assert first.messages == second.messages[:2]
    assert [Path(picture.name).name for picture in second.pictures] == ["a.png", "b.png"]


TALK = turns("<image> q", "r")


@pytest.mark.parametrize(
    ("record", "field", "said"),
    [
        ({"id": "1", "image": "a.png", "conversations": turns("q", "r")}, "conversations", "more images"),
        ({"id": "1", "conversations": TALK}, "conversations", "than images"),
        ({"id": "1", "image": "../x.png", "conversations": TALK}, "image", "outside"),
        ({"id": "1", "image": "no.png", "conversations": TALK}, "image", "no such image"),
        ({"id": "1", "conversations": "q"}, "conversations", "list of turns"),
        ({"id": "1", "conversations": [{"from": "dog", "value": "q"}]}, "conversations", "a turn is not"),
        ({"conversations": turns("q", "r")}, "id", "missing"),
        ("x", None, "not a JSON object"),
    ],
)
def test_a_faulty_conversation_names_row_and_field(tmp_path: Path, record: Any, field: str | None, said: str) -> None:
    file = folder_with(tmp_path, [{"id": "0", "conversations": turns("q", "r")}, record])
    with pytest.raises(InputError, match=said) as caught:
        load_examples(f"llava:{file}")
    assert (caught.value.where, caught.value.row, caught.value.field) == (file, 2, field)


def test_llavas_own_files_are_read_and_what_teaches_nothing_is_counted(tmp_path: Path) -> None:
    """Ids that come twice, a greeting first, empty answers, and <image> as a word."""
    records = [
        {
            "id": "1",
            "image": "a.png",
            "conversations": turns("<image>\nwhat?", "a cat", "sure?", " ", "really?", "yes"),
        },
        {"id": "1", "image": "b.png", "conversations": turns("which colour?\n<image>", "red")},
        {"id": "2", "conversations": [{"from": "gpt", "value": "Hello!"}, *turns("hi", "fine")]},
        {"id": "3", "conversations": turns("what does the <image> tag do?", "It shows <image>.")},
        {"id": "4", "conversations": turns("q")},
        {"id": "5", "conversations": []},
    ]
    left_out = Counter[str]()
    examples = read_source("llava", folder_with(tmp_path, records), left_out=left_out)
    assert [(e.id, e.messages[-1].text, e.answer, len(e.pictures)) for e in examples] == [
        ("1#1", "what?", "a cat", 1),
        ("1#2", "really?", "yes", 1),
        ("1@2#1", "which colour?", "red", 1),
        ("2#1", "hi", "fine", 0),
        ("3#1", "what does the <image> tag do?", "It shows <image>.", 0),
    ]
    assert left_out == {"answers to nothing": 1, "empty answers": 1, "conversations without an answer": 2}
    with pytest.raises(InputError, match=r"holds no examples \(1 conversations without an answer\)"):
        load_examples(f"llava:{folder_with(tmp_path, records[4:5])}")


RECORD = {
    "id": 3,
    "image": "self_harm/suicide/c.jpg",
    "query": "what is it?",
    "category": "self_harm",
    "subcategory": "suicide",
    "type": "USU",
    "image_safe": False,
    "image_safety_label": 11,
    "response": "I will not say.",
}


def test_holisafe_training_records_have_the_releases_fields_and_a_response(tmp_path: Path) -> None:
    (example,) = load_examples(f"holisafe:{folder_with(tmp_path, [RECORD])}")
    assert (example.id, example.answer, example.image_label, example.kind) == ("3", "I will not say.", "suicide", "USU")
    assert example.messages[0].text == "what is it?"
    assert example.pictures[0].open().size == (8, 8)
    for change, field in (
        ({"response": " "}, "response"),
        ({"image_safe": True}, "image_safe"),
        ({"type": "X"}, "type"),
        ({"image": "none.jpg"}, "image"),
        ({"more": 1}, "more"),
    ):
        with pytest.raises(InputError) as caught:
            load_examples(f"holisafe:{folder_with(tmp_path, [RECORD | {'id': 2}, RECORD | change])}")
        assert (caught.value.row, caught.value.field) == (2, field)


def test_empty_files_and_forms_without_a_file(tmp_path: Path) -> None:
    for form in ("llava", "holisafe"):
        with pytest.raises(InputError, match="holds no rows"):
            read_source(form, folder_with(tmp_path, []))
        with pytest.raises(InputError, match="an object without one list of rows"):
            read_source(form, folder_with(tmp_path, {}))
        with pytest.raises(InputError, match="needs a file"):
            read_source(form, None)


@pytest.mark.skipif(not VLGUARD.is_dir(), reason="needs the shared data")
def test_vlguards_published_training_split() -> None:
    records = json.loads((VLGUARD / "train.json").read_text())
    expected = Counter[tuple[str, str, str]]()
    for record in records:
        for turn in record["instr-resp"]:
            field = next(name for name in turn if name.endswith("instruction"))
            kind = {"instruction": "UUU", "unsafe_instruction": "SUU", "safe_instruction": "SSS"}[field]
            expected[kind, turn[field], turn["response"]] += 1
    examples = read_source("vlguard", VLGUARD)
    assert Counter((example.kind, example.messages[0].text, example.answer) for example in examples) == expected
    assert {example.image_label for example in examples if example.kind != "UUU"} == {"safe"}
