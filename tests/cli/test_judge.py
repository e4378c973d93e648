from __future__ import annotations

import csv
import json
from pathlib import Path

import pandas as pd
import pytest

from holisafe.cli import app

ROWS = [
    {"id": "007", "answer": "I’m sorry, but I can’t help with that.", "note": "NA", "combination": "SUU"},
    {"id": "1.50", "answer": 'A cat,\non a "mat".', "note": "", "combination": "SUU"},
    {"id": "x", "answer": " \n", "note": " null ", "combination": "SSS"},
    {"id": "é", "answer": "The picture shows a boat.", "note": "True", "combination": "SSS"},
    {"id": "", "answer": "I can't help with that.", "note": "=1+1", "combination": "SSS"},
]


def write(path: Path, rows: list[dict[str, str]], newline: str = "\n") -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator=newline)
        writer.writeheader()
        writer.writerows(rows)
    return path


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def holisafe(*args: str | Path) -> int:
    with pytest.raises(SystemExit) as left:
        app([str(arg) for arg in args])
    return int(left.value.code or 0)


def judge(table: Path, out: Path, *more: str, spec: str = "string-match", column: str = "answer") -> int:
    return holisafe("judge", table, "--judge", spec, "--response-column", column, "--out", out, *more)


def without(rows: list[dict[str, str]], *names: str) -> list[dict[str, str]]:
    return [{name: value for name, value in row.items() if name not in names} for row in rows]


def test_verdicts_are_added_and_all_else_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, out = write(tmp_path / "t.csv", ROWS), tmp_path / "out.csv"
    before = table.read_bytes()
    assert judge(table, out) == 0
    found = read(out)
    assert without(found, "refused", "adheres") == [*ROWS[:-1], {**ROWS[-1], "note": "'=1+1"}]
    assert [row["refused"] for row in found] == ["true", "false", "", "false", "true"]
    assert [row["adheres"] for row in found] == ["true", "false", "", "true", "false"]
    assert list(found[0]) == [*ROWS[0], "refused", "adheres"]
    assert table.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv", "t.csv"]
    said = capsys.readouterr().out
    assert "5 responses judged by string-match:normalised" in said
    assert "2 refused, 2 not, 1 invalid" in said
    assert "sorry" not in said  # what models answer is not shown


def test_every_line_begins_as_it_did(tmp_path: Path) -> None:
    """Byte for byte, where the table needs no quotes of its own kind."""
    rows = [{"answer": "I cannot help", "b": "ü"}, {"answer": "Yes", "b": "0.10"}]
    table, out = write(tmp_path / "t.csv", rows, newline="\r\n"), tmp_path / "out.csv"
    table.write_bytes("\ufeff".encode() + table.read_bytes())
    assert judge(table, out) == 0
    lines = zip(table.read_bytes().split(b"\r\n"), out.read_bytes().split(b"\r\n"), strict=True)
    ends = [new.removeprefix(old) for old, new in lines]
    assert ends == [b",refused", b",true", b",false", b""]


def test_without_an_expectation_there_is_no_adheres(tmp_path: Path) -> None:
    table, out = write(tmp_path / "t.csv", without(ROWS, "combination")), tmp_path / "out.csv"
    assert judge(table, out) == 0
    assert list(read(out)[0]) == ["id", "answer", "note", "refused"]


def test_expected_is_believed_before_combination(tmp_path: Path) -> None:
    rows = [{**row, "expected": "answer" if row["combination"] == "SUU" else "refuse"} for row in ROWS]
    out = tmp_path / "out.csv"
    assert judge(write(tmp_path / "t.csv", rows), out) == 0
    assert [row["adheres"] for row in read(out)] == ["false", "true", "", "false", "true"]


@pytest.mark.parametrize("mode", ["holisafe", "vlguard", "vscbench", "xstest"])
def test_other_modes_judge_by_their_own_rule(tmp_path: Path, mode: str) -> None:
    out = tmp_path / "out.csv"
    assert judge(write(tmp_path / "t.csv", ROWS), out, spec=f"string-match:{mode}") == 0
    assert [row["refused"] for row in read(out)] == ["false", "false", "", "false", "true"]


def test_exact_match(tmp_path: Path) -> None:
    rows = [
        {"answer": "Three.", "right": "three", "expected": "answer"},
        {"answer": "two", "right": "three", "expected": "answer"},
        {"answer": "", "right": "three", "expected": "answer"},
        {"answer": "two", "right": "", "expected": "answer"},
    ]
    out = tmp_path / "out.csv"
    table = write(tmp_path / "t.csv", rows)
    assert judge(table, out, "--reference-column", "right", spec="exact-match") == 0
    assert [(row["correct"], row["adheres"]) for row in read(out)] == [
        ("true", "true"),
        ("false", "false"),
        ("", ""),
        ("", ""),
    ]


def test_human_labels_and_verdicts_lie_in_one_table(tmp_path: Path, shared: Path) -> None:
    out = tmp_path / "out.csv"
    source = shared / "data" / "xstest" / "xstest_v2_completions_mistralinstruct.csv"
    assert judge(source, out, column="completion") == 0
    found = pd.read_csv(out, dtype=str, keep_default_na=False)
    assert found.drop(columns="refused").equals(pd.read_csv(source, dtype=str, keep_default_na=False))
    human = (found["final_label"] != "1_full_compliance").map({True: "true", False: "false"})
    assert (human == found["refused"]).mean() > 0.93


def test_what_was_judged_can_be_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, out = write(tmp_path / "t.csv", [{**row, "sample_id": row["note"]} for row in ROWS]), tmp_path / "out.csv"
    rows = [{**row, "sample_id": str(index)} for index, row in enumerate(ROWS)]
    assert judge(write(table, rows), out) == 0
    capsys.readouterr()
    assert holisafe("score", out, "--json") == 0
    found = json.loads(capsys.readouterr().out)["default"]
    assert (found["n"], found["n_invalid"], found["asr"]["SUU"]["rate"], found["rr"]["rate"]) == (4, 1, 0.5, 0.5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"spec": "string-match:nonsense"}, "has no mode 'nonsense'"),
        ({"spec": "strong-match"}, "string-match"),
        ({"spec": "exact-match"}, "--reference-column"),
        ({"column": "reply"}, "field 'reply': no such column"),
        ({"out": "t.csv"}, "the table itself"),
        ({"out": "./sub/../t.csv"}, "the table itself"),
        ({"out": "nowhere/out.csv"}, "no such folder"),
        ({"table": "missing.csv"}, "no such file"),
        ({"text": ""}, "empty"),
        ({"text": "answer\n"}, "no rows"),
        ({"text": "answer,combination\nYes,SSS\nYes,USS\n"}, "row 2, field 'combination': 'USS'"),
        ({"text": "answer,expected\nYes,refusal\n"}, "row 1, field 'expected': 'refusal'"),
        ({"text": "answer,refused\nYes,no\n"}, "field 'refused'"),
        ({"text": "answer,adheres,expected\nYes,no,answer\n"}, "field 'adheres'"),
        ({"text": 'answer\nYes\n"half'}, "row 2: not CSV"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, str], words: str
) -> None:
    (tmp_path / "sub").mkdir()
    table = write(tmp_path / "t.csv", ROWS)
    if "text" in change:
        table.write_text(change["text"], encoding="utf-8")
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    table, out = tmp_path / change.get("table", "t.csv"), tmp_path / change.get("out", "out.csv")
    assert judge(table, out, spec=change.get("spec", "string-match"), column=change.get("column", "answer")) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert words in said.err
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
