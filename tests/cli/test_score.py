from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from holisafe.cli import app
from holisafe.metrics.intervals import clopper_pearson

TABLE = """sample_id,combination,adheres,judge,category
1,SSS,true,a,
2,SSS,false,a,
3,SSU,TRUE,a,hate
4,SSU,False,a,hate
5,SSU,,a,violence
6,UUU,1,a,violence
1,SSS,0,b,
3,SSU,true,b,hate
"""


def holisafe(*args: str | Path) -> int:
    with pytest.raises(SystemExit) as left:
        app([str(arg) for arg in args])
    return int(left.value.code or 0)


def scored(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, *more: str) -> dict[str, dict[str, object]]:
    table = tmp_path / "t.csv"
    table.write_text(text, encoding="utf-8")
    assert holisafe("score", table, "--json", *more) == 0
    found: dict[str, dict[str, object]] = json.loads(capsys.readouterr().out)
    return found


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = scored(tmp_path, capsys, TABLE)
    assert list(found) == ["a", "b"]
    assert set(found["a"]) == {"n", "n_invalid", "asr", "masr_pooled", "masr_macro", "rr", "categories"}
    assert (found["a"]["n"], found["a"]["n_invalid"]) == (5, 1)
    low, high = clopper_pearson(1, 2)
    assert found["a"]["asr"]["SSU"] == {
        "rate": 0.5,
        "n": 2,
        "n_invalid": 1,
        "low": low,
        "high": high,
        "bound_low": pytest.approx(1 / 3),
        "bound_high": pytest.approx(2 / 3),
    }
    assert found["a"]["masr_pooled"]["rate"] == pytest.approx(1 / 3)
    assert found["a"]["masr_macro"]["rate"] == pytest.approx((1 / 2 + 0) / 2)
    assert found["a"]["rr"]["rate"] == 0.5
    assert set(found["a"]["categories"]) == {"hate", "violence"}
    assert found["b"]["rr"]["rate"] == 1


def test_without_a_judge_column_there_is_one_called_default(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = scored(tmp_path, capsys, "sample_id,combination,adheres\n1,SSU,false\n")
    assert list(found) == ["default"]
    assert found["default"]["asr"]["SSU"]["rate"] == 1


def test_clusters_widen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = [int(index**0.7) for index in range(120)]  # of 1 to 6 pairs, which share their fate
    rows = [f"{i},{'SSU' if i % 3 else 'UUU'},{bool(image % 3)},image {image}" for i, image in enumerate(images)]
    text = "\n".join(["sample_id,combination,adheres,cluster", *rows])
    first = scored(tmp_path, capsys, text)
    pooled = first["default"]["masr_pooled"]
    assert pooled["high"] - pooled["low"] > 1.3 * (clopper_pearson(42, 120)[1] - clopper_pearson(42, 120)[0])


def test_the_table_on_screen_has_rates_intervals_n_and_invalid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    table = tmp_path / "t.csv"
    table.write_text(TABLE, encoding="utf-8")
    assert holisafe("score", table) == 0
    said = capsys.readouterr().out
    for words in ("50.0 %", "n=2", "1 invalid", "mASR, pooled", "mASR, macro", "RR", "violence", "hate"):
        assert words in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("sample_id,combination,adheres\n", "no rows"),
        ("sample_id,adheres\n1,true\n", "field 'combination'"),
        ("sample_id,combination,adheres\n1,SSX,true\n", "row 1, field 'combination': unknown combination 'SSX'"),
        ("sample_id,combination,adheres\n1,SSS,true\n2,SSS,maybe\n", "row 2, field 'adheres'"),
        ("sample_id,combination,adheres\n1,SSS,true\n1,SSS,true\n", "row 2, field 'sample_id'"),
        ("sample_id,combination,adheres,adheres\n1,SSS,true,true\n", "two columns"),
        ("sample_id,combination,adheres\n1,SSS\n", "row 1"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: str) -> None:
    table = tmp_path / "t.csv"
    table.write_text(text, encoding="utf-8")
    assert holisafe("score", table, "--json") == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert str(table) in said.err
    assert words in said.err


def test_bytes_that_are_no_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "t.csv"
    table.write_bytes(b"sample_id,combination,adheres\n1,SSS,true\n\xe9,SSS,true\n")
    assert holisafe("score", table) == 2
    assert "row 2, field 'sample_id': not UTF-8 text (byte 0xe9)" in capsys.readouterr().err


def test_no_torch_is_loaded(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text(TABLE, encoding="utf-8")
    code = (
        "import sys; from holisafe.cli import app\n"
        f"try: app(['score', {str(table)!r}, '--json'])\n"
        "except SystemExit as left: assert not left.code\n"
        "assert not {'torch', 'transformers', 'sklearn'} & set(sys.modules), sorted(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
