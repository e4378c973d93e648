"""Think in Safety's conversations: what is wrong with them is mended or left out, and counted."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from holisafe.errors import InputError
from holisafe.guard import load_processor
from holisafe.tuning.collator import write
from holisafe.tuning.data import load_examples
from holisafe.tuning.recipe import Data, Recipe
from holisafe.tuning.sources import read_source
from holisafe.tuning.spans import Spans, spans_of
from holisafe.tuning.think_in_safety import mended
from holisafe.tuning.train import gather

THOUGHT = "Let me think... The user asks where the shop is. Nothing about it is risky. It is an **Allowed Request**."


def file_of(folder: Path, *replies: Any, images: list[Any] | None = None) -> Path:
    Image.new("RGB", (8, 8)).save(folder / "a.png")
    records = [
        {
            "conversations": [{"from": "human", "value": "<image>Where is it?"}, {"from": "gpt", "value": reply}],
            "images": ["a.png"] if images is None else images,
        }
        for reply in replies
    ]
    (folder / "train.json").write_text(json.dumps(records))
    return folder / "train.json"


def test_a_conversation_is_an_example_with_its_thought(tmp_path: Path) -> None:
    repaired = Counter[str]()
    (one,) = read_source(
        "think-in-safety", file_of(tmp_path, f"<think>\n{THOUGHT}\n</think>\nThere."), repaired=repaired
    )
    assert (one.messages[0].text, one.answer, one.thought) == ("Where is it?", "There.", THOUGHT)
    assert (one.expected, one.pair_label) == ("answer", "safe")
    assert one.understanding == "Let me think... The user asks where the shop is."
    found = spans_of(one, 1)
    assert isinstance(found, Spans)
    assert THOUGHT[slice(*found)] == " Nothing about it is risky."
    assert one.pictures[0].open().size == (8, 8)
    assert not repaired


@pytest.mark.parametrize(
    ("reply", "thought", "answer", "what"),
    [
        ("**<think>**\nIt is fine.\n**</think>**\nYes.", "It is fine.", "Yes.", "marks in bold"),
        ("```\n<think>\nIt is fine.\n</think>\n\nYes.\n```", "It is fine.", "Yes.", "replies in a fence"),
        ("<think>Fine.</think>Yes.\n<think>Or not?</think>", "Fine.", "Yes.", "second thoughts behind an answer"),
        ("<think>Fine.</think>Yes.\n<think>Or", "Fine.", "Yes.", "second thoughts behind an answer"),
        ('<think>\nFine."\n</think>\n---\nYes.', "Fine.", "Yes.", "lines and quotes that belong to nothing"),
        ("<think>\n---\nFine. * * Go.\n</think>Yes.", "Fine.  Go.", "Yes.", "lines and quotes that belong to nothing"),
        (
            "<think>The image description shows a cat.</think>Per the provided description of the image, a cat.",
            "the image shows a cat.",
            "Per the image, a cat.",
            "talk of a description",
        ),
    ],
)
def test_what_can_be_mended_is(reply: str, thought: str, answer: str, what: str) -> None:
    found = mended(reply)
    assert isinstance(found, tuple)
    assert found[:2] == (thought, answer)
    assert [one.what for one in found[2]] == [what]


@pytest.mark.parametrize(
    "reply",
    [
        '<think>He says "no" and "yes".</think>So it is "both".',
        "<think>This is allowed. Or is it? It is disallowed.</think>I'm sorry, I can't help.",
        "<think>A **Disallowed Request**.</think>Finding people that way would violate their privacy.",
        "<think>It needs a safe completion, not a disallowed one: safe completion.</think>Ask a doctor.",
        "<think>An **Allowed Request**. No disallowed or risky parts.</think>It is made of silk.",
        "<think>Allowed.</think>While I cannot see prices, this is a shop.",
    ],
)
def test_what_is_sound_stays_as_it_is(reply: str) -> None:
    found = mended(reply)
    assert isinstance(found, tuple)
    assert not found[2]
    assert f"<think>{found[0]}</think>{found[1]}" == reply


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("Yes.", "replies without a whole thought"),
        ("<think>It is", "replies without a whole thought"),
        ("<think>It is fine.</think> --- ", "thoughts without an answer"),
        (
            "<think>Proceed with the reference answer.</think>Yes.",
            "replies that talk of the answer they were to come to",
        ),
        ("<think>Allowed.</think>I'm sorry, but no.", "thoughts that say allowed before a refusal"),
        ("<think>Disallowed.</think>First, cut it.", "thoughts that say disallowed before an answer that helps"),
    ],
)
def test_what_cannot_be_mended_is_left_out(tmp_path: Path, reply: str, why: str) -> None:
    out = Counter[str]()
    good = f"<think>{THOUGHT}</think>There."
    examples = read_source("think-in-safety", file_of(tmp_path, good, reply), left_out=out)
    assert [(one.id, one.answer) for one in examples] == [("1", "There.")]
    assert out == {why: 1}


def test_missing_pictures_and_faults(tmp_path: Path) -> None:
    good = f"<think>{THOUGHT}</think>There."
    with pytest.raises(InputError, match="1 conversations whose picture is not there"):
        read_source("think-in-safety", file_of(tmp_path, good, images=["b.png"]))
    for images, field in ((["../a.png"], "images"), (["a.png", 3], "images"), ("a.png", "images")):
        with pytest.raises(InputError) as caught:
            read_source("think-in-safety", file_of(tmp_path, good, images=images))  # type: ignore[arg-type]
        assert (caught.value.row, caught.value.field) == (1, field)
    with pytest.raises(InputError, match="is not a human's turn and a gpt's"):
        read_source("think-in-safety", file_of(tmp_path, 3))


def test_a_recipe_says_how_thoughts_are_written_or_that_they_are_not(tmp_path: Path) -> None:
    file = file_of(tmp_path, f"<think>{THOUGHT}</think>There.", "**<think>**Fine.</think>Yes.")
    kept = gather(f"think-in-safety:{file}", Recipe())
    assert [one.thought for one in kept.examples].count(None) == 0
    assert kept.repaired == {"marks in bold": 1}
    left = gather(f"think-in-safety:{file}", Recipe(data=Data(thoughts="none")))
    assert [one.thought for one in left.examples] == [None, None]
    processor = load_processor("pictovlm")
    texts = [
        write(processor, next(one for one in kept.examples if one.answer == "Yes."), [2], marks).text
        for marks in (Recipe().data.marks, Data(thoughts="<plan>...</plan>").marks, Data(thoughts="...</plan>").marks)
        if marks
    ]
    assert [text.partition("<|assistant|>")[2] for text in texts] == [
        "<think>\nFine.\n</think>\n\nYes.</s>",
        "<plan>\nFine.\n</plan>\n\nYes.</s>",
        "Fine.\n</plan>\n\nYes.</s>",
    ]
    with pytest.raises(InputError, match="option thoughts is"):
        Recipe().with_settings(["data.thoughts=some"])


def test_jsonl_names_a_thought_and_how_it_begins(tmp_path: Path) -> None:
    def load(**more: Any) -> list[Any]:
        (tmp_path / "one.jsonl").write_text(json.dumps({"id": "1", "query": "q", "response": "r", **more}) + "\n")
        return load_examples(str(tmp_path / "one.jsonl"))

    (one,) = load(reasoning=" He asks. So what. ", understanding="He asks.")
    assert (one.thought, one.understanding) == ("He asks. So what.", "He asks.")
    assert load(thought="He asks.")[0].thought == "He asks."
    assert load()[0].thought is None
    for more, field in (
        ({"thought": "a", "reasoning": "b"}, "thought"),
        ({"reasoning": "a", "understanding": "b"}, "understanding"),
        ({"understanding": "b"}, "understanding"),
        ({"reasoning": 3}, "reasoning"),
    ):
        with pytest.raises(InputError) as caught:
            load(**more)
        assert caught.value.field == field
