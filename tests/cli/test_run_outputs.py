"""What `holisafe run` gives besides its tables: JSON, JUnit, what it cost, training data; and what it needs for it."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from api_server import ApiServer
from cli.test_failing_calls import api, holisafe, run, table
from holisafe.journal import read_json
from holisafe.records import Response
from holisafe.runs.folder import read_records

__all__ = ["table"]
REFUSES = "I'm sorry, but I can't help with that."


@pytest.fixture
def answers(table: Path) -> str:
    """Answers every odd question, to which a refusal is expected, and refuses the first alone."""
    file = table.parent / "answers.jsonl"
    rows = [{"id": f"s{n}", "response": REFUSES if n == 1 else "Sure, like this."} for n in range(60)]
    file.write_text("\n".join(map(json.dumps, rows)))
    return f"replay/{file}"


def test_json_is_all_that_is_printed_and_says_what_the_run_folder_says(
    table: Path, answers: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(table, answers, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["scores"] == read_json(table.parent / "run" / "scores.json")
    assert (told["benchmark"], told["target"], told["run"]) == ("table", answers, str(table.parent / "run"))
    assert told["scores"]["judges"]["string-match:normalised"]["masr_pooled"]["rate"] == 29 / 30


@pytest.mark.parametrize(("gate", "code"), [("masr_pooled>10%", 1), ("masr_pooled>0.99", 0)])
def test_junit_has_a_case_a_gate_and_a_measure_and_fails_as_the_command_does(
    table: Path, answers: str, gate: str, code: int
) -> None:
    file = table.parent / "junit.xml"
    assert run(table, answers, "--fail-if", gate, "--junit", str(file)) == code
    (suite,) = ET.parse(file).getroot().iter("testsuite")
    cases = {case.get("name"): case for case in suite.iter("testcase")}
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == (str(len(cases)), str(code), "0")
    assert [name for name, case in cases.items() if case.find("failure") is not None] == [f"gate {gate}"] * code
    measured = cases["mASR, pooled by string-match:normalised"].findtext("system-out")
    assert str(measured).startswith("96.7 % [")
    assert str(measured).endswith("] n=30")


def test_a_junit_file_that_cannot_be_is_told_before_anything_is_asked(table: Path, answers: str) -> None:
    run(table, answers, "--junit", str(table.parent))
    assert [path.name for path in table.parent.iterdir() if path.is_dir()] == []


def test_junit_counts_calls_that_failed_as_an_error(table: Path) -> None:
    file, half = table.parent / "junit.xml", table.parent / "half.jsonl"
    half.write_text("\n".join(json.dumps({"id": f"s{n}", "response": "Yes."}) for n in range(20, 60)))
    assert run(table, f"replay/{half}", "--junit", str(file)) == 3
    (suite,) = ET.parse(file).getroot().iter("testsuite")
    assert suite.get("errors") == "1"
    assert [error.get("message") for error in suite.iter("error")] == ["20 calls failed"]


def test_what_a_run_cost_is_told_at_its_end(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """60 calls; the local server counts what it is asked and what it says."""
    with ApiServer(answer=lambda *_: {"message": {"content": "Yes."}, "finish_reason": "stop"}) as server:
        assert run(table, f"{api(server.url)},input_price=1000,output_price=2000") == 0
    used = [answer.usage for answer in read_records(table.parent / "run", Response).values()]
    paid = sum(one["input_tokens"] * 1000 + one["output_tokens"] * 2000 for one in used) / 1e6
    assert paid > 0
    assert f"Cost so far: {paid:,.4f} USD" in capsys.readouterr().out


def test_a_dry_run_needs_no_key_and_a_run_does(
    table: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    hosted = "openai/gpt-4o-mini,base_url=https://models.example/v1"
    assert run(table, hosted, "--dry-run", "--judge", f"llm/holisafe/{hosted}") == 0
    assert "60" in capsys.readouterr().out
    assert not (table.parent / "run").exists()
    assert run(table, hosted) == 2
    assert "OPENAI_API_KEY holds no key" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["tuned", "./tuned", "models/tuned"])
def test_a_folder_as_a_target_is_told_how_it_is_written(
    table: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(table.parent)
    Path(name).mkdir(parents=True)
    assert run(table, name) == 2
    assert capsys.readouterr().err == f"holisafe: {name}: a model in a folder is written hf/{name}\n"


def test_failures_become_training_data(table: Path, answers: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(table, answers) == 0
    file = table.parent / "train.jsonl"
    assert holisafe("export", table.parent / "run", "--training", file) == 0
    rows: list[dict[str, Any]] = [json.loads(line) for line in file.read_text().splitlines()]
    assert sorted(row["id"] for row in rows) == sorted(f"s{n}" for n in range(3, 60, 2))
    assert all(row["response"] == REFUSES and row["rejected"] == "Sure, like this." for row in rows)
    assert "29 examples" in capsys.readouterr().out
    assert holisafe("export", table.parent / "run", "--training", file, "--out", table.parent / "x.csv") == 2


@pytest.mark.parametrize("judged", [False, True])
def test_a_limit_on_cost_that_cannot_hold_is_refused(
    table: Path, answers: str, judged: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with ApiServer() as server:
        priceless = api(server.url)
        more = ["--judge", f"llm/holisafe/{priceless}"] if judged else []
        assert run(table, answers if judged else priceless, "--max-cost", "1", *more) == 2
        assert "--max-cost cannot hold: fake has no prices" in capsys.readouterr().err
        assert not server.stats.attempts
        free = f"{priceless},input_price=0,output_price=0"
        assert run(table, free, "--max-cost", "1") in (0, 3)


@pytest.mark.parametrize(("option", "noted"), [("", True), (",temperature=0.7", False), (",temperature=none", False)])
def test_repeats_that_pay_for_the_same_answer_are_noted(
    table: Path, option: str, noted: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with ApiServer() as server:
        assert run(table, api(server.url) + option, "--repeats", "3", "--limit", "4") in (0, 3)
        assert sum(server.stats.completed.values()) == 12
    said = capsys.readouterr().err
    assert ("--repeats 3 at temperature 0: openai/fake mostly gives the same answers, each paid for" in said) == noted
