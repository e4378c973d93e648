"""Replayed answers: what is read, what is refused, and that nothing is invented."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from holisafe.errors import InputError
from holisafe.records import GenerationSettings, Message, Request, Response, to_line
from holisafe.targets import open_target
from holisafe.targets.replay import read_answers

SETTINGS = GenerationSettings()


def ask(spec: str, *ids: str) -> list[Response]:
    async def requests():
        for name in ids:
            yield Request(sample_id=name, messages=(Message("user", "?"),))

    async def collect() -> list[Response]:
        return [response async for response in open_target(spec, SETTINGS).respond(requests())]

    return asyncio.run(collect())


def test_csv_with_quotes_line_breaks_and_a_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text('\ufeffid,response,note\n1,"a, ""b""\nc",x\n2,,y\n', encoding="utf-8")
    first, second = ask(f"replay/{file}", "1", "2")
    assert (first.text, first.finish, first.target) == ('a, "b"\nc', "stop", f"replay/{file}")
    assert (second.text, second.finish, second.error) == ("", "stop", None), "an empty answer is an answer"


def test_jsonl_with_other_names_whole_number_ids_and_finish(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    rows = [{"key": 7, "said": "x", "finish": "truncated"}, {"key": "8", "said": None}, {"key": "9", "said": ""}]
    file.write_text("\n".join(map(json.dumps, rows)) + "\n\n", encoding="utf-8")
    seven, eight, nine, ten = ask(f"replay/{file},id=key,text=said", "7", "8", "9", "10")
    assert (seven.text, seven.finish) == ("x", "truncated")
    assert eight.finish == ten.finish == "error"
    assert ten.error == "no response for this sample"
    assert (nine.text, nine.finish) == ("", "stop")


def test_counts_are_answers_as_sheets_and_json_keep_them(tmp_path: Path) -> None:
    rows = [5, 5.0, 2.5, None, float("nan")]
    lines = [json.dumps({"id": str(n), "response": value}) for n, value in enumerate(rows)]
    (tmp_path / "answers.jsonl").write_text("\n".join(lines))
    answers = read_answers(tmp_path / "answers.jsonl")
    assert [answer.text for answer in answers.values()] == ["5", "5", "2.5", None, None]


def test_a_runs_own_responses_replay_and_its_last_line_wins(tmp_path: Path) -> None:
    file = tmp_path / "responses.jsonl"
    lines = [
        Response(sample_id="a", target="t", text="", finish="error", error="timeout"),
        Response(sample_id="b", target="t", text="", finish="error", error="timeout"),
        Response(sample_id="a", target="t", text="yes", finish="truncated"),
    ]
    file.write_text("".join(to_line(line) + "\n" for line in lines), encoding="utf-8")
    a, b = ask(f"replay/{file}", "a", "b")
    assert (a.text, a.finish) == ("yes", "truncated")
    assert b.finish == "error"


@pytest.mark.parametrize(
    ("name", "content", "row", "field"),
    [
        ("a.csv", "id,response\n1,x\n1,y\n", 2, "id"),
        ("a.csv", "id,answer\n1,x\n", 1, "response or text"),
        ("a.csv", "key,response\n1,x\n", 1, "id or sample_id"),
        ("a.csv", "id,response\n1,x,z\n", 1, None),
        ("a.csv", "id,response\n,x\n", 1, "id"),
        ("a.csv", "id,response\n", None, None),
        ("a.csv", "", None, None),
        ("a.jsonl", '{"id": 1, "text": "x"}\n{"id": 2}\n', 2, "response or text"),
        ("a.jsonl", '{"id": 1, "text": "x"}\n{"id": 2, "te', 2, None),
        ("a.jsonl", '{"id": 1, "text": true}\n', 1, "text"),
        ("a.jsonl", '{"id": true, "text": "x"}\n', 1, "id"),
        ("a.jsonl", '{"id": 1, "text": "x", "finish": "banana"}\n', 1, "finish"),
        ("a.jsonl", '{"id": 1, "text": "x", "repeat": -1}\n', 1, "repeat"),
        ("a.jsonl", '{"id": 1, "text": "x", "repeat": 1}\n{"id": 1, "text": "y", "repeat": 1}\n', 2, "id"),
        ("a.jsonl", '{"id": 1, "text": "x", "reasoning": ["y"]}\n', 1, "reasoning"),
        ("a.jsonl", "[1]\n", 1, None),
    ],
)
def test_faults_name_file_row_and_field(
    tmp_path: Path, name: str, content: str, row: int | None, field: str | None
) -> None:
    file = tmp_path / name
    file.write_text(content, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        open_target(f"replay/{file}", SETTINGS)
    assert (caught.value.where, caught.value.row, caught.value.field) == (file, row, field)


def test_a_missing_file_bad_bytes_and_an_unknown_option(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"id,response\n1,\xff\n")
    for spec in (f"replay/{tmp_path}/none.csv", f"replay/{tmp_path}/a.csv", f"replay/{tmp_path}/a.csv,column=x"):
        with pytest.raises(InputError):
            open_target(spec, SETTINGS)


def test_description_follows_the_content_not_the_layout(tmp_path: Path) -> None:
    def content(name: str, text: str) -> str:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return open_target(f"replay/{tmp_path / name}", SETTINGS).describe()["content"]

    same = content("a.csv", "id,response\n1,x\n2,y\n")
    assert content("b.jsonl", '{"id": 1, "text": "x"}\n{"id": 2, "text": "y"}\n') == same
    assert content("c.csv", "id,response\n1,x\n2,z\n") != same


def test_every_repeat_has_its_own_answer_and_reasoning(tmp_path: Path) -> None:
    file = tmp_path / "responses.jsonl"
    kept = [
        Response(sample_id="a", target="t", text="one", reasoning="because"),
        Response(sample_id="a", target="t", text="two", repeat=1, finish="truncated"),
    ]
    file.write_text("".join(f"{to_line(response)}\n" for response in kept), encoding="utf-8")
    target = open_target(f"replay/{file}", SETTINGS)

    async def requests() -> AsyncIterator[Request]:
        for repeat in (1, 0, 2):
            yield Request(sample_id="a", messages=(Message("user", "?"),), repeat=repeat)

    async def answers() -> list[tuple[int, str, str, str | None]]:
        return [(r.repeat, r.text, r.finish, r.reasoning) async for r in target.respond(requests())]

    assert asyncio.run(answers()) == [
        (1, "two", "truncated", None),
        (0, "one", "stop", "because"),
        (2, "", "error", None),
    ]


def test_thoughts_are_parted_and_wrappers_come_off(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    rows: list[dict[str, Any]] = [
        {"id": "1", "response": "<think>Hm.</think>Yes.</s>"},
        {"id": "2", "response": "<think>Hm."},
        {"id": "3", "response": "<plan>Hm.</plan>Yes."},
        {"id": "4", "response": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Yes."}]},
        {"id": "5", "response": "Hm.</think>Yes.", "reasoning": "First."},
        {"id": "6", "response": "<think>Hm.", "finish": "filtered"},
    ]
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    found = [(r.text, r.reasoning, r.finish) for r in ask(f"replay/{file}", *"123456")]
    assert found == [
        ("Yes.", "Hm.", "stop"),
        ("", "Hm.", "truncated"),
        ("<plan>Hm.</plan>Yes.", None, "stop"),
        ("Yes.", "Hm.", "stop"),
        ("Yes.", "First.\nHm.", "stop"),
        ("", "Hm.", "filtered"),
    ]
    (own,) = ask(f"replay/{file},thoughts=<plan>...</plan>", "3")
    assert (own.text, own.reasoning) == ("Yes.", "Hm.")
    (kept,) = ask(f"replay/{file},thoughts=none", "1")
    assert kept.text == "<think>Hm.</think>Yes.</s>"


def test_how_an_answer_ended_may_be_said_in_a_providers_words(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text(
        "id,text,finish,finish_reason\n1,a,length,\n2,b,,SAFETY\n3,c,,abort\n4,d,,banana\n5,e,,stop\n6,f,stop,banana\n",
        encoding="utf-8",
    )
    found = [(r.finish, r.finish_reason) for r in ask(f"replay/{file}", *"123456")]
    assert found == [
        ("truncated", None),
        ("filtered", None),
        ("error", None),
        ("stop", "banana"),
        ("stop", None),
        ("stop", "banana"),
    ]
