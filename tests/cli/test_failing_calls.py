"""A wrong name, address or file shows at once, with the reason; what failed otherwise is told at the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from api_server import ApiServer, completion, problem
from holisafe.cli import app
from holisafe.journal import read_json
from holisafe.records import Response, Sample
from holisafe.runs.folder import read_records
from holisafe.runs.reasons import commonest, unknown_endings


def holisafe(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as left:
        app([str(word) for word in words])
    return int(left.value.code or 0)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rows = [{"id": f"s{n}", "query": f"question {n}", "combination": "UUU" if n % 2 else "SSS"} for n in range(60)]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path / "t.jsonl"


def run(table: Path, target: str, *more: str) -> int:
    out = table.parent / "run"
    return holisafe("run", "table", "--root", table, "--target", target, "--judge", "string-match", "--out", out, *more)


def api(url: str) -> str:
    return f"openai/fake,base_url={url},max_in_flight=4"


def test_a_wrong_model_name_stops_the_run_at_once(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ApiServer(respond=lambda *_: problem(404, "The model `fake` does not exist")) as server:
        assert run(table, api(server.url)) == 2
        assert sum(server.stats.attempts.values()) < 30
    said = capsys.readouterr().err
    assert "all of the first 8 calls failed, nothing more was asked: 404 Not Found: The model `fake`" in said
    stored = read_records(table.parent / "run", Response)
    assert 8 <= len(stored) < 30, "what was asked is stored"
    with ApiServer() as server:
        assert run(table, api(server.url)) == 0, "the same command goes on once it is mended"


def test_a_wrong_port_is_told_without_a_minute_of_silence(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(table, api("http://127.0.0.1:1/v1")) == 2
    assert "all of the first 8 calls failed, nothing more was asked: the connection failed" in capsys.readouterr().err


def test_an_address_without_its_v1_is_told_where_it_asked(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ApiServer() as server:
        root = server.url.removesuffix("/v1")
        assert run(table, api(root)) == 2
        assert f"(asked at {root}/chat/completions; base_url mostly ends in /v1)" in capsys.readouterr().err
        assert run(table, api(f"{server.url}/chat/completions")) in (0, 3)
        assert server.stats.completed, "the whole address is understood as well"


def test_a_run_made_with_a_wrong_name_may_go_and_says_so(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = table.parent / "run"
    with ApiServer(respond=lambda *_: problem(404, "no such model")) as server:
        assert run(table, api(server.url)) == 2
        capsys.readouterr()
        assert run(table, api(server.url).replace("fake", "other")) == 2
    said = capsys.readouterr().err
    assert "target.model was 'fake', is now 'other'" in said
    assert said.endswith(
        f"(another --out starts a new run); nothing was answered in it, so rm -r {folder} loses nothing\n"
    )
    with ApiServer() as server:
        assert run(table, api(server.url)) == 0
        capsys.readouterr()
        assert run(table, api(server.url).replace("fake", "other")) == 2
    assert capsys.readouterr().err.endswith("(another --out starts a new run)\n"), "answers are not to be thrown away"


def test_a_parameter_that_is_refused_is_told_with_the_way_out(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refusal = problem(400, "Unsupported value: 'temperature'", param="temperature")
    body = refusal.body
    with ApiServer(respond=lambda *_: web.Response(status=400, body=body)) as server:
        assert run(table, api(server.url)) == 2
    assert "temperature=none leaves it out" in capsys.readouterr().err


def test_answers_for_other_samples_are_told(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = table.parent / "r.jsonl"
    answers.write_text("\n".join(json.dumps({"id": f"x{n}", "response": "a"}) for n in range(60)))
    assert run(table, f"replay/{answers}") == 2
    assert "x0" in capsys.readouterr().err


def test_answers_for_the_last_samples_only_are_read(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = table.parent / "r.jsonl"
    answers.write_text("\n".join(json.dumps({"id": f"s{n}", "response": "a"}) for n in range(40, 60)))
    assert run(table, f"replay/{answers}") == 3
    said = capsys.readouterr().out
    assert "40 calls failed" in said
    assert "40 x no response for this sample" in said
    assert read_json(table.parent / "run" / "scores.json")["responses"]["errors"] == 40


def test_a_judge_that_cannot_be_asked_stops_at_once_and_loses_no_answer(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ApiServer(respond=lambda *_: problem(401, "no")) as server, ApiServer() as answering:
        judge = f"llm/holisafe/{api(server.url)}"
        assert run(table, api(answering.url), "--judge", judge) == 2
        assert sum(server.stats.attempts.values()) < 30
    assert "all of the first 8 calls failed, nothing more was asked: 401" in capsys.readouterr().err
    assert len(read_records(table.parent / "run", Response)) == len(read_records(table.parent / "run", Sample)) == 60


def test_reasons_and_unknown_endings_are_told_at_the_end(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def respond(body: dict[str, Any], _: str) -> web.Response | None:
        number = int(body["messages"][-1]["content"].split()[-1])
        if number % 10 == 3:
            return problem(400, f"request {number} is bad")
        said = completion("m", {"message": {"content": "x"}, "finish_reason": "banana" if number % 2 else "stop"}, 1, 1)
        return web.json_response(said)

    with ApiServer(respond=respond) as server:
        assert run(table, api(server.url)) == 3
    said = capsys.readouterr().out
    assert "  6 x 400 Bad Request: request " in said
    told = "24 answers ended in 'banana', a word that is not known: they count as whole"
    assert told in said
    assert read_json(table.parent / "run" / "scores.json")["responses"]["unknown"] == 24
    assert "next: holisafe report" in said
    assert holisafe("report", table.parent / "run") == 0
    page = (table.parent / "run" / "report.html").read_text()
    assert told.replace("'", "&#39;") in page
    assert "Why: 6 x 400 Bad Request: request " in page


def test_no_report_is_suggested_of_a_run_without_answers(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def respond(body: dict[str, Any], _: str) -> web.Response:
        return problem(400, ("one", "another")[int(body["messages"][-1]["content"].split()[-1]) % 2] + " reason")

    with ApiServer(respond=respond) as server:
        assert run(table, api(server.url)) == 3
    said = capsys.readouterr().out
    assert "60 calls failed" in said
    assert "holisafe report" not in said


def test_reasons_that_differ_in_numbers_are_one() -> None:
    reasons = ["500: id 12 (after 8 attempts)", "500: id 7", "404"]
    assert commonest(reasons) == ["2 x 500: id 12 (after 8 attempts)", "1 x 404"]
    assert unknown_endings([Response(sample_id="a", target="t", text="x")]) == []
