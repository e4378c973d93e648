from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.judged_runs import HUMAN, JUDGES, make_run
from holisafe.cli import app
from holisafe.metrics.run_scores import run_scores
from holisafe.runs.run import read_run


def holisafe(*args: str | Path) -> int:
    with pytest.raises(SystemExit) as left:
        app([str(arg) for arg in args])
    return int(left.value.code or 0)


def agreed(capsys: pytest.CaptureFixture[str], *args: str | Path) -> dict[str, Any]:
    assert holisafe("agreement", *args, "--json", "--draws", "200") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_judges_panels_and_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    judges = {**JUDGES, "llm/other/openai/judge": 0.3}
    run = make_run(tmp_path / "a", 0.4, judges=judges, people=100)
    found = agreed(capsys, run)["runs"]["a"]
    assert list(found["judges"]) == [*judges, HUMAN, "majority", "unanimous"]
    assert set(found["undecided"]["unanimous"]) <= {"judges disagree", "no quorum"}
    assert (
        found["judges"]["majority"]["masr_pooled"]["n_invalid"]
        < found["judges"]["unanimous"]["masr_pooled"]["n_invalid"]
    )
    assert (found["pairs"][0]["first"], found["pairs"][0]["second"]) == tuple(JUDGES)
    assert len(found["pairs"]) == len(found["confusion"]) == 6
    for pair in found["pairs"]:
        assert pair["only_first"] + pair["only_second"] == len(pair["disagree"])
        assert all(name.startswith("s") for name in pair["disagree"])
        assert pair["share"]["n"] + pair["share"]["n_invalid"] == (100 if HUMAN in pair.values() else 200)
    good, bad = "string-match:normalised", "llm/other/openai/judge"
    people = found["against_people"]
    assert people[good]["all"]["accuracy"]["rate"] > 0.9 > people[bad]["all"]["accuracy"]["rate"]
    assert people[good]["refuse"]["accuracy"]["n"] + people[good]["answer"]["accuracy"]["n"] == 100
    powered = found["prediction_powered"]["masr_pooled"]
    assert list(powered) == [*judges, "mean of judges"]
    labels = found["judges"][HUMAN]["masr_pooled"]["n"]
    assert all(one["n"] == labels and not one["few_labels"] for one in powered.values())
    assert powered[good]["weight"] > powered[bad]["weight"]
    assert powered[good]["high"] - powered[good]["low"] < powered[bad]["high"] - powered[bad]["low"]
    assert found["prediction_powered"]["asr.UUU"][good]["few_labels"]  # 20 labels at most, on fewer images


def test_models_are_ordered_alike_by_judges(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [make_run(tmp_path / f"m{i}", wrong) for i, wrong in enumerate((0.1, 0.3, 0.5, 0.8))]
    found = agreed(capsys, *runs)
    [pair] = found["rank_correlation"]["masr_pooled"]
    assert pair["models"] == 4
    assert pair["spearman"]["value"] == pair["kendall"]["value"] == 1
    assert found["runs"]["m0"]["against_people"] is None
    assert agreed(capsys, *runs[:2])["rank_correlation"] == {}


@pytest.mark.parametrize(("people", "width"), [(0, 100), (60, 60), (60, 80), (60, 120)])
def test_on_screen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, people: int, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    runs = [make_run(tmp_path / f"m{i}", wrong, people=people) for i, wrong in enumerate((0.1, 0.3, 0.5))]
    assert holisafe("agreement", *runs, "--draws", "200") == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= width
    assert "…" not in said
    for line in said.splitlines():
        assert line.count("[") == line.count("]"), "an interval is in two"
    told = " ".join(said.split())
    for words in ("What each judge finds", "Cohen's kappa", "Fleiss' kappa", "unanimous of the judges", "Spearman"):
        assert words in told
    assert ("prediction-powered" in told) is ("random part" in told) is bool(people)
    assert "text 0." not in said


def test_one_judge_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "a", 0.4, judges={"string-match:normalised": 0.0})
    assert holisafe("agreement", run) == 0
    assert "One judge alone" in capsys.readouterr().out
    assert agreed(capsys, run)["runs"]["a"]["pairs"] == []


def test_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert holisafe("agreement", tmp_path) == 2
    assert "no manifest.json" in capsys.readouterr().err


def test_a_rate_has_the_interval_that_the_run_gives_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_run(tmp_path / "a", 0.4)
    run = read_run(folder)
    of_run = run_scores(run.answers, run.verdicts).judges
    for judge, cells in agreed(capsys, folder)["runs"]["a"]["judges"].items():
        if judge in JUDGES:
            assert cells["rr"] == of_run[judge].rr.to_json()
            assert cells["masr_pooled"] == of_run[judge].masr_pooled.to_json()
            assert cells["masr_macro"] == of_run[judge].masr_macro.to_json()
