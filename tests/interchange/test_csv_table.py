from __future__ import annotations

import csv
import os
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holisafe.errors import InputError
from holisafe.interchange.csv_table import CsvTable, read_csv, write_csv

VALUES = st.text(alphabet=st.sampled_from("ab,\"'\n\r\t é’😀;=+NA0.10"), max_size=8)
TABLES = st.integers(1, 4).flatmap(
    lambda width: st.tuples(
        st.lists(st.text('abc ,"', min_size=1, max_size=4), min_size=width, max_size=width),
        st.lists(st.lists(VALUES, min_size=width, max_size=width), min_size=1, max_size=6),
    )
)


@settings(max_examples=100, deadline=None)
@given(TABLES, st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, parts: tuple[list[str], list[list[str]]], newline: str, marked: bool
) -> None:
    table = CsvTable(*parts, newline, marked)
    path = tmp_path_factory.getbasetemp() / "again.csv"
    write_csv(table, path)
    assert read_csv(path) == table
    with path.open(encoding="utf-8-sig", newline="") as file:
        assert list(csv.reader(file)) == [table.columns, *table.rows]


def test_values_stay_text(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('id,value\n007,NA\n1.50,null\n  x , "y"\n', encoding="utf-8")
    path.write_text("id,value\n007,NA\n1.50,null\n  x ,TRUE\n", encoding="utf-8")
    assert read_csv(path).rows == [["007", "NA"], ["1.50", "null"], ["  x ", "TRUE"]]


def test_it_reads_what_pandas_reads(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    frame = pd.DataFrame({"a": ['x "quoted"', "two\nlines", "", "é, ü"], "b": ["1", " 2", "3\r\n4", "None"]})
    frame.to_csv(path, index=False)
    table = read_csv(path)
    assert (table.columns, table.rows) == (["a", "b"], frame.to_numpy().tolist())


def test_blank_lines_are_no_rows_and_in_one_column_empty_values(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n\n1,2\n\n", encoding="utf-8")
    assert read_csv(path).rows == [["1", "2"]]
    path.write_text("a\nx\n\ny\n", encoding="utf-8")
    assert read_csv(path).rows == [["x"], [""], ["y"]]


@pytest.mark.parametrize(
    ("raw", "row", "words"),
    [
        (b"", None, "empty"),
        (b"\n\n", None, "empty"),
        (b"a,b\n", None, "no rows"),
        (b"a,b\n1,2\n3\n", 2, "1 values for 2 columns"),
        (b"a,b\n1,2,3\n", 1, "3 values for 2 columns"),
        (b'a,b\n1,2\n3,"half', 2, "not CSV"),
        (b'a,b\n1,"x"y\n', 1, "not CSV"),
        (b'a,b\n"1\n2",x\n3,\xff\n', 2, "0xff"),
        (b"\xff\xfea,b\n", None, "not UTF-8"),
    ],
)
def test_bad_files_are_named_with_their_place(tmp_path: Path, raw: bytes, row: int | None, words: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(raw)
    with pytest.raises(InputError, match=words) as caught:
        read_csv(path)
    assert (caught.value.where, caught.value.row) == (path, row)


def test_a_missing_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_csv(tmp_path / "none.csv")


def test_columns_by_name() -> None:
    table = CsvTable(["a", "b", "b"], [["1", "2", "3"], ["4", "5", "6"]])
    assert table.column("a", "t.csv") == ["1", "4"]
    with pytest.raises(InputError, match="two columns"):
        table.column("b", "t.csv")
    with pytest.raises(InputError, match="no such column; the table has: a, b, b"):
        table.column("c", "t.csv")
    assert table.with_column("c", ["x", "y"]).rows == [["1", "2", "3", "x"], ["4", "5", "6", "y"]]
    assert table.columns == ["a", "b", "b"]


def test_a_failed_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.csv"
    write_csv(CsvTable(["a"], [["1"]]), path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_csv(CsvTable(["a"], [["2"]]), path)
    assert read_csv(path).rows == [["1"]]
