from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from cli.judged_runs import JUDGES, make_run
from holisafe.cli import app

PUBLISHED = """Model,S_IS_T→S↑,S_IS_T→U↓,U_IS_T↓,U_IU_T↓,S_IU_T↓,mASR↓,RR↓
Theirs,100.00,60.07,60.04,60.08,60.07,60.06,0.00
"""


def holisafe(*args: str | Path) -> int:
    with pytest.raises(SystemExit) as left:
        app([str(arg) for arg in args])
    return int(left.value.code or 0)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    return [make_run(folder / name, wrong) for name, wrong in (("good", 0.1), ("bad", 0.7), ("fair", 0.3))]


@pytest.fixture
def published(tmp_path: Path) -> Path:
    path = tmp_path / "sm_judge.csv"
    path.write_text(PUBLISHED, encoding="utf-8")
    return path


def board(capsys: pytest.CaptureFixture[str], *args: str | Path) -> dict[str, Any]:
    assert holisafe("leaderboard", *args, "--json", "--draws", "200") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_one_table_a_judge(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    found = board(capsys, *runs)
    assert list(found["judges"]) == list(JUDGES)
    for judge, rows in found["judges"].items():
        assert [row["model"] for row in rows] == ["good", "fair", "bad"]
        assert [row["rank"] for row in rows] == [1, 2, 3]
        assert all(row["judge"] == judge and row["source"] == "run" for row in rows)
        assert rows[0]["rates"]["masr_pooled"]["n"] + rows[0]["rates"]["masr_pooled"]["n_invalid"] == 160
        assert rows[0]["p_best"] > 0.9
    assert board(capsys, *runs, "--sort", "utility")["sort"] == "utility"


def test_published_rows_stand_beside_one_judge(
    runs: list[Path], published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = board(capsys, *runs, "--judge", "string-match:normalised", "--published", published)
    rows = found["judges"]["string-match:normalised"]
    theirs = next(row for row in rows if row["model"] == "Theirs")
    assert (theirs["source"], theirs["judge"]) == ("published", "string matching (HoliSafe's list)")
    assert theirs["rates"]["masr_pooled"]["n"] == 3408
    assert [row["model"] for row in rows] == ["good", "fair", "Theirs", "bad"]
    assert any("published rows" in note and "string-match:normalised" in note for note in found["notes"])
    named = board(capsys, *runs, "--judge", "majority", "--published", f"Some judge={published}")
    assert named["judges"]["majority"][2]["judge"] == "Some judge"
    assert holisafe("leaderboard", *runs, "--published", published) == 2
    assert "--judge" in capsys.readouterr().err


def test_on_screen(
    runs: list[Path], published: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert holisafe("leaderboard", *runs, "--judge", "majority", "--published", published, "--draws", "200") == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 120
    assert "…" not in said
    for words in ("by majority, ranked by masr_pooled", "1 [1, 1]", "n=3408", "(published, ", "pooled over pairs"):
        assert words in said


@pytest.mark.parametrize("width", [40, *range(60, 121, 7), 200])
def test_no_number_is_cut_however_narrow_the_terminal(
    runs: list[Path], published: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    args = (*runs, "--judge", "majority", "--published", published, "--draws", "200")
    monkeypatch.setenv("COLUMNS", str(width))
    assert holisafe("leaderboard", *args) == 0
    table = capsys.readouterr().out.partition("\n- ")[0]
    assert max(map(len, table.splitlines())) <= width
    shown = re.findall(r"[-\w.]+", table)
    for row in board(capsys, *args)["judges"]["majority"]:
        for name, cell in row["rates"].items():
            assert f"{100 * cell['rate']:.1f}" in shown, name
            assert f"[{100 * cell['low']:.1f}, {100 * cell['high']:.1f}]" in table, name
            assert f"n={cell['n']}" in table, name


def test_the_fifth_versions_table_is_ranked_by_the_plain_mean(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "v5_sm.csv"
    path.write_text(
        "Model,SSS,SSU,USU,UUU,SUU,mASR,RR\nSafeLLaVA-7B,99.7,16.6,43.7,0.3,1.0,15.4,0.3\n"
        "SafeLLaVA-13B,98.2,16.4,4.8,0.0,0.4,5.4,1.8\n",
        encoding="utf-8",
    )
    found = board(capsys, *runs, "--judge", "string-match:normalised", "--published", path)
    assert found["sort"] == "masr_macro"
    (rows,) = found["judges"].values()
    rates = [row["rates"]["masr_macro"]["rate"] for row in rows]
    assert rates == sorted(rates)
    theirs = [row for row in rows if row["source"] == "published"]
    assert [row["judge"] for row in theirs] == ["string matching (HoliSafe's list), v5"] * 2
    assert all(row["rates"]["masr_macro"]["n"] is row["rank_low"] is None for row in theirs)
    assert all(row["rank_low"] <= row["rank"] <= row["rank_high"] for row in rows if row["source"] == "run")
    assert "plain mean" in " ".join(found["notes"])
    assert (
        holisafe("leaderboard", *runs, "--judge", "string-match:normalised", "--published", path, "--sort", "rr") == 0
    )
    assert "ranked by rr" in capsys.readouterr().out


def test_csv_and_markdown(runs: list[Path], published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = (*runs, "--judge", "string-match:normalised", "--published", published, "--draws", "200")
    assert holisafe("leaderboard", *args, "--csv") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["model"] for row in rows] == ["good", "fair", "Theirs", "bad"]
    assert rows[2]["masr_pooled.rate"] == "0.6006"
    assert rows[2]["utility.rate"] == ""
    assert float(rows[0]["masr_pooled.low"]) < float(rows[0]["masr_pooled.rate"])
    assert holisafe("leaderboard", *args, "--markdown") == 0
    said = capsys.readouterr().out
    lines = [line for line in said.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 4
    assert len({line.count("|") for line in lines}) == 1
    assert "published, string matching" in said
    assert said.count("\n- ") >= 1


def test_runs_of_different_size_are_said_to_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, part = make_run(tmp_path / "a", 0.3), make_run(tmp_path / "b", 0.3, stale=True)
    notes = board(capsys, whole, part, "--judge", "string-match:normalised")["notes"]
    assert any("not judged on the same samples (a 240, b 220)" in note for note in notes)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--sort", "masr"), "none of asr.SSU"),
        (("--json", "--csv"), "exclude each other"),
        (("--judge", "nobody"), "not every run was judged by nobody"),
    ],
)
def test_mistakes(runs: list[Path], capsys: pytest.CaptureFixture[str], args: tuple[str, ...], words: str) -> None:
    assert holisafe("leaderboard", *runs, *args) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert words in said.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Model,Score\nx,1\n", "no published table"),
        ("Model,mASR\nx,lots\n", "row 1, field 'mASR': 'lots' is no percentage"),
        ("Model,mASR\nx,1\ny,101\n", "row 2, field 'mASR'"),
        ("Model,mASR\nx,nan\n", "'nan' is no percentage"),
        ("Model,mASR\nx,0.25\ny,1\n", "none of its rates is above 1: percent is wanted"),
    ],
)
def test_a_table_that_is_none(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="utf-8")
    assert holisafe("leaderboard", *runs, "--judge", "majority", "--published", path) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert words in said.err
    assert holisafe("leaderboard", *runs, "--judge", "majority", "--published", tmp_path / "none.csv") == 2
    assert "no such file" in capsys.readouterr().err
