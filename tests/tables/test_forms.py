"""Table files of every format: the same rows out of each, and a place named for whatever is broken."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import openpyxl
import pandas as pd
import pytest

from holisafe.errors import InputError
from holisafe.tables import is_blank, label, one_of, optional_text, rows, text, truth


def read_rows(path: Path, member: str | None = None) -> list[dict[str, Any]]:
    """The rows without their numbers."""
    return [row for _, row in rows(path, member)]


ROWS = [
    {"id": "1", "prompt": 'Say "hello",\nplease', "note": "a"},
    {"id": "2", "prompt": "Wie “geht” das? 😀", "note": "b"},
    {"id": "3", "prompt": "None", "note": "NA"},
]


def write(path: Path, table: list[dict[str, Any]]) -> Path:
    """The rows by other libraries than the ones that read them, where there is another."""
    if path.suffix == ".json":
        path.write_text(json.dumps(table), encoding="utf-8")
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in table), encoding="utf-8")
    elif path.suffix == ".xlsx":
        book = openpyxl.Workbook()
        for line in [list(table[0]), *[list(row.values()) for row in table]]:
            book.active.append(line)
        book.save(path)
    elif path.suffix == ".parquet":
        pd.DataFrame(table).to_parquet(path)
    else:
        pd.DataFrame(table).to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path


KINDS = (".json", ".jsonl", ".csv", ".tsv", ".xlsx", ".parquet")


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_gives_the_same_rows(tmp_path: Path, kind: str) -> None:
    assert read_rows(write(tmp_path / f"table{kind}", ROWS)) == ROWS


@pytest.mark.parametrize("kind", KINDS)
def test_a_half_written_file_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / f"table{kind}", ROWS * 20)
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"hello") + 3] if kind in (".csv", ".tsv") else whole[: len(whole) - 12])
    with pytest.raises(InputError) as caught:
        read_rows(path)
    assert caught.value.where == path
    if kind in (".jsonl", ".csv", ".tsv"):
        assert caught.value.row == (60 if kind == ".jsonl" else 1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_without_rows_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"table{kind}"
    with pytest.raises(InputError, match="no such file"):
        read_rows(path)
    if kind == ".parquet":
        pd.DataFrame({"id": []}).to_parquet(path)
    elif kind == ".xlsx":
        openpyxl.Workbook().save(path)
    else:
        path.write_text({".json": "[]", ".jsonl": ""}.get(kind, "id,prompt\n"))
    with pytest.raises(InputError, match=r"no rows|empty|no sheet holds rows under a header; the sheets are: Sheet"):
        read_rows(path)


def test_an_unknown_format_and_a_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").mkdir()
    (tmp_path / "x.xls").touch()
    for name, problem in (("x.xls", "unknown kind of table"), ("x.csv", "not a file")):
        with pytest.raises(InputError, match=problem):
            read_rows(tmp_path / name)


def test_a_json_object_may_hold_the_list(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"version": 2, "chat": ROWS, "embodied": ROWS[:1]}))
    assert read_rows(path, "chat") == ROWS
    assert read_rows(path, "embodied") == ROWS[:1]
    for member in (None, "other", "version"):
        with pytest.raises(InputError, match="it holds: version, chat, embodied"):
            read_rows(path, member)
    path.write_text(json.dumps({"version": 2, "data": ROWS}))
    assert read_rows(path) == ROWS
    path.write_text(json.dumps([ROWS[0], "text"]))
    with pytest.raises(InputError, match="row 2: not a JSON object"):
        read_rows(path)
    path.write_text("7")
    with pytest.raises(InputError, match="not a list"):
        read_rows(path)


def test_faults_of_csv_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    for body, row, problem in (
        ("a,b\n1,2\n1,2,3\n", 2, "3 values for 2 columns"),
        ("a,a\n1,2\n", None, "two columns called 'a'"),
        ('a,b\n1,"2"x\n', 1, "not CSV"),
    ):
        path.write_text(body)
        with pytest.raises(InputError, match=problem) as caught:
            read_rows(path)
        assert caught.value.row == row
    path.write_bytes(b"a,b\n1,\xff\n")
    with pytest.raises(InputError, match="not UTF-8"):
        read_rows(path)
    path.write_bytes("\ufeffa,b\r\n1,ü\r\n\r\n3,4\r\n".encode())
    assert read_rows(path) == [{"a": "1", "b": "ü"}, {"a": "3", "b": "4"}]


def test_a_sheet_keeps_numbers_blank_cells_and_words_that_look_like_none(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for line in (["n", "text", None], [1, None], [2.5, "None"], [None, "NA", 7], [None, "  "], []):
        book.active.append(line)
    book.active.cell(40, 1).number_format = "0.00"  # a cell that is styled, but empty
    book.create_sheet("other").append(["not", "read"])
    book.save(tmp_path / "x.xlsx")
    rows = read_rows(tmp_path / "x.xlsx")
    assert rows == [{"n": 1, "text": None}, {"n": 2.5, "text": "None"}, {"n": None, "text": "NA", "column 3": 7}]


def test_parquet_keeps_picture_columns(tmp_path: Path) -> None:
    rows = [{"id": 1, "image": {"bytes": b"\x89PNG", "path": "a.png"}}, {"id": 2, "image": None}]
    pd.DataFrame(rows).to_parquet(tmp_path / "x.parquet")
    assert read_rows(tmp_path / "x.parquet") == rows


def test_fields_are_read_as_what_they_are() -> None:
    row = {"t": " a ", "n": 7, "f": 7.0, "half": 7.5, "yes": True, "no": "False", "gone": None, "nan": float("nan")}
    assert text(row, "t", "x", 1) == " a "
    assert [label(row, field, "x", 1) for field in ("t", "n", "f")] == ["a", "7", "7"]
    assert [truth(row, field, "x", 1) for field in ("yes", "no")] == [True, False]
    assert [optional_text(row, field, "x", 1) for field in ("t", "gone", "nan", "other")] == [" a ", None, None, None]
    assert one_of({"a": "b"}, "a", ("b", "c"), "x", 1) == "b"
    assert [is_blank(value) for value in (None, "", " \n", float("nan"), 0, False, "0")] == [True] * 4 + [False] * 3


@pytest.mark.parametrize(
    ("read", "field", "problem"),
    [
        (text, "other", "missing; the row has: n, gone, long"),
        (text, "gone", "blank"),
        (text, "n", "not text: 7.5"),
        (label, "n", "neither a number nor text: 7.5"),
        (truth, "long", "neither true nor false: 'xxx"),
        (lambda *place: one_of(place[0], place[1], ("b", "c"), *place[2:]), "n", "neither"),
        (lambda *place: one_of(place[0], place[1], ("b", "c"), *place[2:]), "long", "known: b, c"),
    ],
)
def test_an_unusable_field_is_named_and_never_shown_whole(read: Any, field: str, problem: str) -> None:
    row = {"n": 7.5, "gone": " ", "long": "x" * 500}
    with pytest.raises(InputError) as caught:
        read(row, field, Path("some.csv"), 3)
    assert (caught.value.where, caught.value.row, caught.value.field) == (Path("some.csv"), 3, field)
    assert problem in caught.value.problem
    assert len(str(caught.value)) < 200


def test_xstest_reads_as_the_csv_module_does(shared: Path) -> None:
    path = shared / "data/xstest/xstest_prompts.csv"
    assert read_rows(path) == list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))


@pytest.mark.parametrize("name", ["vscbench_image_centric", "vscbench_text_centric"])
def test_sheets_read_as_pandas_does(shared: Path, name: str) -> None:
    path = shared / f"data/vscbench/{name}.xlsx"
    frame = pd.read_excel(path, keep_default_na=False, dtype=object)
    rows = [{column: value or "" for column, value in row.items()} for row in read_rows(path)]
    assert rows == frame.to_dict("records")
