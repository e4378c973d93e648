from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.judged_runs import BENCHMARK, JUDGES, make_run
from holisafe.cli import app


def holisafe(*args: str | Path) -> int:
    with pytest.raises(SystemExit) as left:
        app([str(arg) for arg in args])
    return int(left.value.code or 0)


def compared(capsys: pytest.CaptureFixture[str], *args: str | Path) -> dict[str, Any]:
    assert holisafe("compare", *args, "--json") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_every_pair_judge_and_measure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [make_run(tmp_path / name, wrong) for name, wrong in (("a", 0.5), ("b", 0.1), ("c", 0.5))]
    found = compared(capsys, *runs)
    assert found["runs"] == {run.name: str(run) for run in runs}
    assert found["benchmark"] == BENCHMARK
    rows = found["comparisons"]
    assert {row["judge"] for row in rows} == {*JUDGES, "exact-match"}
    assert {(row["first"], row["second"]) for row in rows} == {("a", "b"), ("a", "c"), ("b", "c")}
    assert len(rows) == 3 * (2 * 7 + 1)
    pooled = {
        (row["first"], row["second"]): row
        for row in rows
        if row["measure"] == "masr_pooled" and "match" in row["judge"]
    }
    assert pooled["a", "b"]["n"] == 160
    assert pooled["a", "b"]["high"] < 0
    assert pooled["a", "b"]["p_holm"] < 0.001
    assert pooled["a", "c"]["p_holm"] > 0.05
    llm = next(row for row in rows if row["judge"].startswith("llm") and row["measure"] == "masr_pooled")
    assert llm["left_out"]["invalid"] == 160 - llm["n"] > 0
    alone = compared(capsys, *runs, "--judge", "string-match:normalised")["comparisons"]
    assert {row["judge"] for row in alone} == {"string-match:normalised", "exact-match"}
    panel = compared(capsys, *runs, "--judge", "unanimous")["comparisons"]
    assert {row["judge"] for row in panel} == {"unanimous", "exact-match"}
    assert all(row["left_out"]["invalid"] for row in panel if row["measure"] == "masr_pooled")


def test_on_screen(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    runs = [make_run(tmp_path / name, wrong) for name, wrong in (("a", 0.5), ("b", 0.1))]
    assert holisafe("compare", *runs) == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 100
    assert "…" not in said
    for words in ("a → b, by string-match:normalised", "mASR, pooled", "RR", "Utility", "<0.001", "13 tests"):
        assert words in said


def test_verdicts_out_of_date_do_not_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [make_run(tmp_path / "a", 0.5), make_run(tmp_path / "b", 0.1, stale=True)]
    rows = compared(capsys, *runs, "--judge", "string-match:normalised")["comparisons"]
    pooled = next(row for row in rows if row["measure"] == "masr_pooled")
    assert pooled["n"] == 160 - 16
    assert pooled["left_out"] == {"invalid": 0, "only_first": 16, "only_second": 0}


def test_repeats_are_paired_time_by_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [make_run(tmp_path / name, wrong, repeats=3) for name, wrong in (("a", 0.5), ("b", 0.1))]
    rows = compared(capsys, *runs, "--judge", "string-match:normalised")["comparisons"]
    pooled = next(row for row in rows if row["measure"] == "masr_pooled")
    assert (pooled["n"], pooled["n_clusters"]) == (480, 40)
    utility = next(row for row in rows if row["measure"] == "utility")
    assert (utility["n"], utility["n_clusters"]) == (120, 40)


@pytest.mark.parametrize(
    ("second", "args", "words"),
    [
        ({"benchmark": {**BENCHMARK, "content_hash": "f" * 16}}, (), "content_hash '0123456789abcdef' and 'ffff"),
        ({"benchmark": {**BENCHMARK, "name": "other", "split": "train"}}, (), "name 'toy' and 'other'; split 'test'"),
        ({"judges": {"string-match:other": 0.0}}, (), "different judges"),
        ({"version": "2"}, (), "different versions"),
        ({}, ("--judge", "nobody"), "not every run was judged by nobody"),
    ],
)
def test_runs_that_cannot_be_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], second: dict[str, Any], args: tuple[str, ...], words: str
) -> None:
    runs = [make_run(tmp_path / "a", 0.5), make_run(tmp_path / "b", 0.1, **second)]
    assert holisafe("compare", *runs, *args) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert words in said.err


def test_the_shared_judges_count_and_the_others_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [make_run(tmp_path / "a", 0.5), make_run(tmp_path / "b", 0.1, judges={"string-match:normalised": 0.0})]
    found = compared(capsys, *runs)
    assert {row["judge"] for row in found["comparisons"]} == {"string-match:normalised", "exact-match"}
    assert found["notes"] == ["left out: llm/holisafe/openai/judge, which did not judge b"]
    short = compared(capsys, *runs, "--judge", "string-match")
    assert short["comparisons"] == found["comparisons"]
    assert holisafe("leaderboard", *runs, "--draws", "200") == 0
    assert "left out: llm/holisafe/openai/judge, which did not judge b" in capsys.readouterr().out
    two = {"string-match:normalised": 0.0, "string-match:holisafe": 0.0}
    others = [make_run(tmp_path / name, 0.3, judges=two) for name in ("c", "d")]
    assert holisafe("compare", *others, "--judge", "string-match") == 2
    assert "string-match may be string-match:normalised or string-match:holisafe" in capsys.readouterr().err


def test_a_shared_judge_can_be_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [make_run(tmp_path / "a", 0.5), make_run(tmp_path / "b", 0.1, judges={"string-match:normalised": 0.0})]
    rows = compared(capsys, *runs, "--judge", "string-match:normalised")["comparisons"]
    assert {row["judge"] for row in rows} == {"string-match:normalised", "exact-match"}


def test_one_run_no_run_and_a_run_without_verdicts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, other = make_run(tmp_path / "a", 0.5), make_run(tmp_path / "b", 0.5)
    assert holisafe("compare", run) == 2
    assert "at least two" in capsys.readouterr().err
    assert holisafe("compare", run, tmp_path) == 2
    assert "no run folder" in capsys.readouterr().err
    (run / "verdicts.jsonl").write_text("")
    assert holisafe("compare", other, run) == 2
    assert "no verdicts" in capsys.readouterr().err


def test_runs_of_one_model_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [make_run(tmp_path / name, 0.3, model="same") for name in ("a", "b")]
    assert list(compared(capsys, *runs)["runs"]) == ["same (a)", "same (b)"]
    other = make_run(tmp_path / "elsewhere" / "a", 0.3, model="same")
    assert list(compared(capsys, runs[0], other)["runs"]) == [str(runs[0]), str(other)]
    assert holisafe("compare", runs[0], runs[0]) == 2
    assert "the same run twice" in capsys.readouterr().err
