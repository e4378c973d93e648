"""What a guard reads and says: kinds of items, what is left of one for a guard that takes less, readings, the table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pytest
from PIL import Image

from holisafe.guards.base import Item, Kind, Reading, fitted, item_of, read_fitted, reading
from holisafe.guards.taxonomies import FILE, OURS, Meaning, meaning, taxonomy
from holisafe.journal import read_json
from holisafe.records import Message, Picture, Sample, Turn
from holisafe.registry import guards
from holisafe.taxonomy import CATEGORIES, IMAGE_LABELS

PICTURE = Picture("a.png", lambda: Image.new("RGB", (8, 8)))
ITEMS: dict[Kind, Item] = {
    "image": Item(id="image", pictures=(PICTURE,), text=" "),
    "text": Item(id="text", text="how?"),
    "pair": Item(id="pair", pictures=(PICTURE,), text="how?"),
    "response": Item(id="response", pictures=(PICTURE,), text="how?", response=""),
}


@dataclass
class Counting:
    """A guard that takes some kinds, and says of everything what it saw."""

    takes: frozenset[Kind]
    taxonomy: str | None = "llama-guard"
    name: str = "counting"
    version: str = "1"
    decides: str = ""
    note: str = ""

    def read(self, items: Iterable[Item]) -> Iterator[Reading]:
        for item in items:
            yield reading(self, item, True, ["S12", "S1"], raw=f"{len(item.pictures)} {item.text.strip()}")


def test_an_item_is_of_the_kind_of_what_it_holds() -> None:
    assert {item.kind for item in ITEMS.values()} == ITEMS.keys()
    assert all(item.kind == kind for kind, item in ITEMS.items())
    earlier = (Message("user", "first", (PICTURE,)), Message("assistant", "said"))
    talk = Item(id="talk", text="then?", response="so", earlier=earlier)
    assert [(turn.role, turn.text) for turn in talk.messages] == [
        ("user", "first"), ("assistant", "said"), ("user", "then?"), ("assistant", "so"),
    ]  # fmt: skip
    asked = Item(id="talk", earlier=earlier, text="then?")
    assert asked.kind == "pair", "a picture in an earlier turn is seen too"
    assert asked.as_kind("image") == Item(id="talk", pictures=(PICTURE,))
    assert [turn.pictures for turn in asked.as_kind("text").messages] == [(), (), ()]


def test_a_samples_turns_and_their_pictures_are_the_items() -> None:
    turns = (Turn(role="user", text="first", images=("1.png", "2.png")), Turn(role="assistant", text="said"))
    sample = Sample(benchmark="b", id="a", query="then?", expected="refuse", images=("3.png",), turns=turns)
    shown = [Picture(name, PICTURE.open) for name in sample.every_image]
    item = item_of(sample, shown, "a", "so")
    assert [(turn.text, [picture.name for picture in turn.pictures]) for turn in item.messages] == [
        ("first", ["1.png", "2.png"]), ("said", []), ("then?", ["3.png"]), ("so", []),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("takes", "seen"),
    [
        ("image", {"image": "1 ", "text": None, "pair": "1 ", "response": None}),
        ("text", {"image": None, "text": "0 how?", "pair": "0 how?", "response": None}),
        ("pair", {"image": None, "text": None, "pair": "1 how?", "response": None}),
        ("response", {"image": None, "text": None, "pair": None, "response": "1 how?"}),
    ],
)
def test_a_guard_sees_of_an_item_what_it_takes(takes: Kind, seen: dict[Kind, str | None]) -> None:
    found = {one.item_id: one for one in read_fitted(Counting(frozenset((takes,))), ITEMS.values())}
    assert found.keys() == ITEMS.keys()
    assert {kind: found[kind].raw for kind in ITEMS} == seen
    assert all((found[kind].invalid == f"the guard reads no {kind}") == (raw is None) for kind, raw in seen.items())


def test_of_a_pair_a_guard_of_both_sees_both() -> None:
    assert fitted(ITEMS["pair"], {"image", "text", "pair"}) == ITEMS["pair"]
    assert fitted(ITEMS["pair"], {"image", "text"}) == ITEMS["pair"].as_kind("image")


def test_a_reading_has_our_labels_where_both_mean_the_same() -> None:
    guard = Counting(frozenset(("image",)))
    assert reading(guard, ITEMS["image"], True, ["S1", "S12"]).labels == ("sexual_content",)
    assert reading(guard, ITEMS["image"], False).labels == ("safe",)
    broken = reading(guard, ITEMS["image"], True, ["S1"], score=float("nan"))
    assert (broken.unsafe, broken.categories, broken.invalid) == (None, (), "no number")


def test_the_table_speaks_of_what_there_is() -> None:
    table = read_json(FILE)
    for entries in table.values():
        for entry in entries.values():
            assert set(entry) == {"name", "label", "category"}
            assert entry["label"] in (None, *IMAGE_LABELS)
            assert entry["category"] in (None, *CATEGORIES)
            assert entry["label"] is None or entry["label"] in CATEGORIES[entry["category"]]
    assert set(table) <= guards.entries().keys()
    sizes = {"llama-guard": 14, "llavaguard": 9, "shieldgemma2": 3, "nemotron": 23, "moderation": 13}
    assert {name: len(taxonomy(name)) for name in table} == sizes
    assert taxonomy(OURS)["suicide"] == Meaning("suicide", "suicide", "self_harm")
    assert meaning("moderation", "suicide").label == "suicide", "our own gateway names our labels"
    assert meaning("moderation", "holisafe/suicide") == Meaning("suicide", "suicide", "self_harm")
    assert meaning("moderation", "holisafe/violence") == Meaning("violence", None, "violence")
    assert meaning("moderation", "nobody's") == Meaning("nobody's")
    assert meaning(None, "S1") == Meaning("S1"), "a policy of the user's own is in nobody's taxonomy"
