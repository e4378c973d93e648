"""CSV written: read again as it was by Python's own reader, and by ours, with nothing that a spreadsheet would run."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holisafe.tables import as_text, csv_text, rows, write_csv

VALUES = st.text(alphabet=st.sampled_from("ab,\"'\n\r\t é’😀;=+NA0.10"), max_size=8)
NAMES = st.lists(st.text('abc ,"', min_size=1, max_size=4), min_size=2, max_size=4, unique_by=str.strip)


@settings(max_examples=100, deadline=None)
@given(
    columns=NAMES.filter(lambda names: all(map(str.strip, names))),
    values=st.lists(st.lists(VALUES, min_size=4, max_size=4), min_size=1, max_size=6),
    newline=st.sampled_from(["\n", "\r\n"]),
    marked=st.booleans(),
)
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, columns: list[str], values: list[list[str]], newline: str, marked: bool
) -> None:
    table = [["x", *line[1 : len(columns)]] for line in values]
    path = tmp_path_factory.getbasetemp() / "again.csv"
    write_csv(path, columns, table, newline=newline, marked=marked)
    assert path.read_bytes().startswith(b"\xef\xbb\xbf") == marked
    with path.open(encoding="utf-8-sig", newline="") as file:
        again = list(csv.reader(file))
    assert (again[0], [[as_text(cell) for cell in line] for line in again[1:]]) == (columns, table)
    assert [[as_text(cell) for cell in row.values()] for _, row in rows(path)] == table


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("＝1+1", "'＝1+1"),  # what some spreadsheets take for the same sign
        ("＠SUM(1)", "'＠SUM(1)"),
        ("+1+cmd|' /C calc'!A0", "'+1+cmd|' /C calc'!A0"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("-2+3", "'-2+3"),
        ("\t=1", "'\t=1"),
        ("'so", "''so"),
        ("-5", "-5"),
        ("+1.5e-3", "+1.5e-3"),
        ("a=1", "a=1"),
        (-0.5, "-0.5"),
        (True, "true"),
        (None, ""),
    ],
)
def test_formulas_are_inert_and_numbers_stay(value: Any, cell: str) -> None:
    assert list(csv.reader(io.StringIO(csv_text([value, "b"])))) == [[cell, "b"]]


def test_a_failed_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.csv"
    write_csv(path, ["a"], [["1"]])

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_csv(path, ["a"], [["2"]])
    assert [row for _, row in rows(path)] == [{"a": "1"}]
