"""A picture that never arrives is told before a run, and the probe is neither an answer nor free of charge."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from PIL import Image

from api_server import ApiServer, completion, problem
from holisafe.cli import app
from holisafe.journal import read_json
from holisafe.records import Response
from holisafe.runs.folder import read_manifest, read_records
from holisafe.targets.image_probe import WORDS, drawn


@pytest.fixture
def table(tmp_path: Path) -> Path:
    Image.new("RGB", (8, 8), "red").save(tmp_path / "1.png")
    rows = [{"id": f"s{n}", "query": f"q {n}", "combination": "UUU", "image": "1.png"} for n in range(4)]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path / "t.jsonl"


def pictures(body: dict[str, Any]) -> int:
    parts = [
        part for message in body["messages"] if isinstance(message["content"], list) for part in message["content"]
    ]
    return sum(part["type"] == "image_url" for part in parts)


def server(sees: bool, counts: bool = True, reads: bool = False, fails: bool = False) -> ApiServer:
    """A model that sees pictures or has them dropped on the way, and counts a prompt's tokens or not."""

    def respond(body: dict[str, Any], content: str) -> web.Response:
        asked = json.dumps(body["messages"])
        if fails and "Which word" in asked:
            return problem(404, "no such thing")
        word = WORDS[0] if reads and sees and pictures(body) else "none"
        text = word if "Which word" in asked else "I'm sorry, but I can't help with that."
        choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        found = completion("fake", choice, 20 + 85 * (pictures(body) if sees else 0), 2)
        if not counts:
            del found["usage"]
        return web.json_response(found)

    return ApiServer(respond=respond)


def run(table: Path, api: ApiServer, *more: str) -> int:
    target = f"openai/fake,base_url={api.url},attempts=1,input_price=10,output_price=10"
    words = [
        "run",
        "table",
        "--root",
        table,
        "--target",
        target,
        "--judge",
        "string-match",
        "--out",
        table.parent / "r",
    ]
    with pytest.raises(SystemExit) as left:
        app([str(word) for word in (*words, *more)])
    return int(left.value.code or 0)


def probes(api: ApiServer) -> int:
    return sum("Which word" in json.dumps(body) for body in api.stats.bodies)


def test_a_dropped_picture_is_told_loudly_and_recorded(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with server(sees=False) as api:
        assert run(table, api) == 0
        assert probes(api) == 2
        said = capsys.readouterr()
        assert "THE PICTURE MADE NO DIFFERENCE to openai/fake: the prompt counts 20 tokens with it and 20" in said.err
        assert "note: the picture made no difference to openai/fake" in said.out
        found = read_manifest(table.parent / "r")["image_probe"]
        assert (found["arrived"], found["input_tokens"]) == (False, [20, 20])
        scores = read_json(table.parent / "r" / "scores.json")
        assert scores["responses"]["n"] == 4
        assert len(read_records(table.parent / "r", Response)) == 4  # the probe is no answer
        assert scores["cost"]["image probe"] == {"input_tokens": 40, "output_tokens": 4, "usd": 44 * 10 / 1e6}
        assert run(table, api) == 0
        assert probes(api) == 2  # told once
        assert read_manifest(table.parent / "r")["image_probe"] == found
        assert "made no difference" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("how", "arrived", "told"),
    [
        ({"sees": True}, True, "85 tokens more"),
        ({"sees": True, "counts": False}, False, "the answer is the same"),
        ({"sees": False, "counts": False}, False, "the answer is the same"),
        ({"sees": True, "fails": True}, None, "a call failed"),
    ],
)
def test_what_is_known_of_it(
    how: dict[str, bool], arrived: bool | None, told: str, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with server(**how) as api:
        assert run(table, api) == 0
    found = read_manifest(table.parent / "r")["image_probe"]
    assert found["arrived"] is arrived
    assert told in found["told"]
    assert ("note: " in capsys.readouterr().out) == (arrived is not True)


def test_a_word_that_is_read_is_enough(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holisafe.targets.image_probe.WORDS", WORDS[:1])
    with server(sees=True, counts=False, reads=True) as api:
        assert run(table, api) == 0
    assert read_manifest(table.parent / "r")["image_probe"]["told"] == "the word in it was read"


def test_nobody_is_asked_where_it_is_turned_off_without_pictures_or_of_a_replay(table: Path, tmp_path: Path) -> None:
    with server(sees=True) as api:
        assert run(table, api, "--no-probe") == 0
        assert probes(api) == 0
        assert "image_probe" not in read_manifest(table.parent / "r")
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "t.jsonl").write_text(json.dumps({"id": "a", "query": "q", "combination": "UUU"}))
    with server(sees=True) as api:
        assert run(plain / "t.jsonl", api) == 0
        assert probes(api) == 0


def test_the_budget_knows_of_it(table: Path) -> None:
    with server(sees=True) as api:
        assert run(table, api, "--max-cost", "0.0001") == 3
        answered = sum(1 for body in api.stats.bodies) - probes(api)
    assert answered == 0  # the two calls of the probe have spent it


def test_every_word_fits_its_picture() -> None:
    for word in WORDS:
        assert re.fullmatch("[a-z]{5,8}", word)
        box = drawn(word).convert("L").point(lambda value: 255 * (value < 128)).getbbox()
        assert box is not None
        assert box[0] > 4
        assert box[2] < 316
