"""Whether pictures reach a guard behind an API: told, kept, and asked as the guard itself asks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from PIL import Image

from api_server import ApiServer
from guards.test_servers import logprobs
from holisafe.cli import app
from holisafe.evaluation.image_probe import probe_guard
from holisafe.guards import open_guard
from holisafe.journal import read_json
from scripted_ocr import scripted


def parts(body: dict[str, Any], kind: str) -> int:
    turns = body["input"] if "input" in body else body["messages"][-1]["content"]
    return sum(part["type"] == kind for part in turns) if isinstance(turns, list) else 0


def chances(sees: bool) -> Any:
    return lambda body, _: logprobs({"Yes": 0.2 + 0.1 * (sees and parts(body, "image_url")), "No": 0.3})


def says(text: str, sees: bool = True) -> Any:
    """A guard's answer; the prompt's tokens count the picture where it is seen."""
    usage = {"completion_tokens": 2, "total_tokens": 0}

    def respond(body: dict[str, Any], _: str) -> Any:
        message = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop", "index": 0}
        counted = usage | {"prompt_tokens": 30 + 85 * (sees and parts(body, "image_url"))}
        return web.json_response({"id": "c", "model": "m", "choices": [message], "usage": counted})

    return respond


def moderates(sees: bool) -> Any:
    def moderate(body: dict[str, Any]) -> dict[str, Any]:
        scores = {"hate": 0.1 + 0.01 * (sees and parts(body, "image_url"))}
        return {"results": [{"flagged": False, "categories": {"hate": False}, "category_scores": scores}]}

    return moderate


def without_usage(answer: Any) -> Any:
    def respond(body: dict[str, Any], content: str) -> Any:
        return web.json_response({"id": "c", "model": "m", "choices": [{"index": 0, **answer(body, content)}]})

    return respond


WORDS = {"message": {"role": "assistant", "content": "safe"}, "finish_reason": "stop"}


@pytest.mark.parametrize(
    ("kind", "server", "arrived", "told"),
    [
        ("llama-guard/openai/m", {"respond": says("safe")}, True, "85 tokens more"),
        ("llama-guard/openai/m", {"respond": says("safe", sees=False)}, False, "30 tokens with it and 30 without"),
        ("llavaguard/openai/m", {"respond": says("x", sees=False)}, False, "30 tokens with it and 30 without"),
        ("llama-guard/openai/m", {"respond": without_usage(lambda *_: WORDS)}, None, "says nothing"),
        ("qguard/openai/m", {"respond": without_usage(chances(True))}, True, "its numbers change"),
        ("qguard/openai/m", {"respond": without_usage(chances(False))}, False, "its numbers are the same"),
        ("moderation/m", {"moderate": moderates(True)}, True, "its numbers change"),
        ("moderation/m", {"moderate": moderates(False)}, False, "its numbers are the same"),
        ("moderation/m", {"moderate": lambda body: {}}, None, "a call failed"),
    ],
)
def test_what_is_known_of_a_guard(kind: str, server: Any, arrived: bool | None, told: str) -> None:
    with ApiServer(**server) as api:
        guard = open_guard(f"{kind},base_url={api.url},attempts=1")
        if arrived is False:
            with pytest.warns(UserWarning, match=f"THE PICTURE MADE NO DIFFERENCE to {kind}: "):
                found = probe_guard(guard)
        else:
            found = probe_guard(guard)
    assert found is not None
    assert (found["arrived"], told in found["told"]) == (arrived, True)
    assert sorted(parts(body, "image_url") for body in api.stats.bodies) == [0, 1], "two calls"


def test_who_sends_no_picture_or_stands_here_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch)
    (tmp_path / "said.jsonl").write_text(json.dumps({"id": "a", "response": "safe"}))
    with ApiServer(respond=says("safe")) as api:
        place = f"llama-guard/openai/m,base_url={api.url}"
        assert probe_guard(open_guard(f"ocr/{place},pictures=left-out")) is None
        assert probe_guard(open_guard(f"llama-guard/replay/{tmp_path / 'said.jsonl'}")) is None
        assert not api.stats.bodies
        assert (probe_guard(open_guard(f"ocr/{place}")) or {})["arrived"] is True


def leave(*words: object) -> int:
    with pytest.raises(SystemExit) as left:
        app([str(word) for word in words])
    return int(left.value.code or 0)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    Image.new("RGB", (8, 8), "red").save(tmp_path / "1.png")
    rows = [
        {"id": f"s{n}", "query": f"q {n}", "combination": ("SSS", "UUU")[n % 2], "image": "1.png"} for n in range(4)
    ]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path / "t.jsonl"


def test_it_is_told_kept_and_asked_once(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = table.parent / "board"
    with ApiServer(respond=says("safe", sees=False)) as api:
        words = ["guard", "pairs", "--data", f"table:{table}", "--model", f"llama-guard/openai/m,base_url={api.url}"]
        assert leave(*words, "--draws", 100, "--out", out) == 0
        said = capsys.readouterr()
        assert "THE PICTURE MADE NO DIFFERENCE to llama-guard/openai/m" in said.err
        assert "note: the picture made no difference to llama-guard/openai/m" in " ".join(said.out.split())
        assert len(api.stats.bodies) == 4 + 2
        assert leave(*words, "--draws", 100, "--out", out) == 0
        assert len(api.stats.bodies) == 4 + 2
        assert "made no difference" in capsys.readouterr().out
        (found,) = read_json(out / "board.json")["guards"].values()
        assert (found["n"], found["image_probe"]["arrived"]) == (4, False)
        assert "the picture made no difference" in (out / "index.html").read_text()
        assert leave(*words, "--draws", 100, "--no-probe") == 0
        assert len(api.stats.bodies) == 4 + 2 + 4


@pytest.mark.parametrize("more", [("--threshold", 0.5), ("--choose-on", "validation", "--false-alarms", 0.5)])
def test_one_guard_measured_alone_is_asked_too(
    table: Path, capsys: pytest.CaptureFixture[str], more: tuple[object, ...]
) -> None:
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    both = [{**row, "id": f"{split}{row['id']}", "split": split} for split in ("test", "validation") for row in rows]
    table.write_text("\n".join(map(json.dumps, both)))
    with ApiServer(moderate=moderates(False)) as api:
        model = f"moderation/m,base_url={api.url}"
        assert leave("guard", "pairs", "--data", f"table:{table}", "--split", "test", "--model", model, *more) == 0
    assert "note: the picture made no difference to moderation/m" in " ".join(capsys.readouterr().out.split())


def test_a_dry_run_counts_its_calls_until_they_are_made(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ApiServer(respond=says("I am sorry.")) as api:
        words = ["run", "table", "--root", table, "--judge", "string-match", "--out", table.parent / "r", "--target"]
        words.append(f"openai/m,base_url={api.url},input_price=1,output_price=1")

        def foreseen(*more: object) -> list[list[str]]:
            assert leave(*words, "--dry-run", *more) == 0
            return [line.split() for line in capsys.readouterr().out.splitlines()]

        (probe,) = [line for line in foreseen() if line[:2] == ["image", "probe"]]
        (together,) = [line for line in foreseen() if line[:1] == ["together"]]
        assert (probe[2], together[1]) == ("2", "6")
        assert not [line for line in foreseen("--no-probe") if line[:2] == ["image", "probe"]]
        assert not api.stats.bodies
        assert leave(*words) == 0
        capsys.readouterr()
        assert not [line for line in foreseen() if line[:2] == ["image", "probe"]]
