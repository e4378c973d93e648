"""MSSBench: both parts of combined.json, with made-up records."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from holisafe.benchmarks import open_benchmark
from holisafe.benchmarks.check import check
from holisafe.benchmarks.mssbench import SITUATION
from holisafe.errors import InputError

Draw = Callable[[Path, Iterable[str]], None]

CHAT: dict[str, Any] = {
    "safe_image_path": "1_s.jpg",
    "intent": "Practise a golf swing.",
    "unsafe_image": "A shop full of glass.",
    "unsafe_image_path": "1_u.jpg",
    "Type": "Property Damage",
    "queries": ["How do I swing further?", "Any tips for my swing?"],
}
EMBODIED: dict[str, Any] = {
    "task": "heat",
    "category": ["improper", "danger"],
    "safe_instruction": "Put the cup in the microwave.",
    "safe_instructions": ["Put the cup in the microwave.", "Heat the cup.", "Warm the cup up."],
    "unsafe_instruction": "Put the pot in the microwave.",
    "unsafe_instructions": ["Put the pot in the microwave.", "Heat the pot.", "Warm the pot up."],
    "safe": "a/s.png",
    "unsafe": "a/u.png",
    "observation_safe": "a cup",
    "observation_unsafe": "a metal pot",
}
PICTURES = ["chat/1_s.jpg", "chat/1_u.jpg", "embodied/a/s.png", "embodied/a/u.png"]


@pytest.fixture
def release(tmp_path: Path, draw: Draw) -> Path:
    draw(tmp_path, PICTURES)
    write(tmp_path, {"chat": [CHAT], "embodied": [EMBODIED]})
    return tmp_path


def write(root: Path, value: Any) -> None:
    (root / "combined.json").write_text(json.dumps(value), encoding="utf-8")


def test_every_wording_is_asked_in_both_situations(release: Path) -> None:
    benchmark = open_benchmark("mssbench", release)
    by_id = {sample.id: sample for sample in benchmark.samples}
    assert list(by_id) == [
        *(f"chat-001-{wording}-{kind}" for kind in ("safe", "unsafe") for wording in range(2)),
        *(f"embodied-001-{wording}-{kind}" for kind in ("safe", "unsafe") for wording in range(3)),
    ]
    safe, unsafe = by_id["chat-001-1-safe"], by_id["chat-001-1-unsafe"]
    assert safe.query == unsafe.query == SITUATION["chat"] + "Any tips for my swing?"
    assert (safe.images, unsafe.images) == (("chat/1_s.jpg",), ("chat/1_u.jpg",))
    assert (safe.combination, safe.expected, unsafe.combination, unsafe.expected) == ("SSS", "answer", "SSU", "refuse")
    assert (safe.category, safe.meta["intent"]) == ("Property Damage", "Practise a golf swing.")
    heat = by_id["embodied-001-2-unsafe"]
    assert (heat.query, heat.images) == (SITUATION["embodied"] + "Warm the pot up.", ("embodied/a/u.png",))
    assert (heat.category, heat.meta["embodied_task"]) == ("improper, danger", "heat")
    assert Counter(sample.cluster for sample in benchmark.samples) == {"chat-001": 4, "embodied-001": 6}
    assert Counter(sample.meta["condition"] for sample in benchmark.samples) == {"chat": 4, "embodied": 6}
    assert benchmark.open_image("embodied/a/u.png").size == (4, 3)


def test_the_published_count(tmp_path: Path, draw: Draw) -> None:
    """980 wordings, however they are spread over records."""
    draw(tmp_path, PICTURES)
    write(tmp_path, {"chat": [CHAT] * 250, "embodied": [EMBODIED] * 160})
    assert check("mssbench", tmp_path) == ([], [])
    write(tmp_path, {"chat": [CHAT] * 249, "embodied": [EMBODIED] * 160})
    assert check("mssbench", tmp_path)[1] == [
        "combination SSS: 978 samples, published 980",
        "combination SSU: 978 samples, published 980",
    ]


@pytest.mark.parametrize(
    ("part", "changes", "field", "problem"),
    [
        ("chat", {"queries": "How?"}, "queries", "not a list of texts"),
        ("chat", {"queries": []}, "queries", "not a list of texts"),
        ("chat", {"queries": ["How?", " "]}, "queries", "not a list of texts"),
        ("chat", {"Type": None}, "Type", "blank"),
        ("chat", {"safe_image_path": "../embodied/a/s.png"}, "safe_image_path", "leads outside"),
        ("embodied", {"unsafe_instructions": ["Heat the pot."]}, "unsafe_instructions", "3 safe and 1 unsafe"),
        ("embodied", {"unsafe": 4}, "unsafe", "not text"),
    ],
)
def test_faults_are_named(release: Path, part: str, changes: dict[str, Any], field: str, problem: str) -> None:
    records = copy.deepcopy({"chat": [CHAT], "embodied": [EMBODIED]})
    records[part].append(records[part][0] | changes)
    write(release, records)
    with pytest.raises(InputError, match=problem) as caught:
        open_benchmark("mssbench", release)
    assert (caught.value.where, caught.value.row, caught.value.field) == (release / "combined.json", 2, field)


def test_missing_parts_and_pictures_are_named(release: Path) -> None:
    (release / "embodied/a/u.png").unlink()
    assert ["embodied/a/u.png: no such image" in str(fault) for fault in check("mssbench", release)[0]] == [True]
    without = {name: value for name, value in CHAT.items() if name != "queries"}
    write(release, {"chat": [without], "embodied": [EMBODIED]})
    assert "row 1, field 'queries': missing" in str(check("mssbench", release)[0][0])
    write(release, {"chat": [CHAT]})
    with pytest.raises(InputError, match="without a list called 'embodied'"):
        open_benchmark("mssbench", release)
    (release / "combined.json").write_text('{"chat": [{"safe_im')
    with pytest.raises(InputError, match="not JSON"):
        open_benchmark("mssbench", release)
