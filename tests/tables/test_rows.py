"""What people have in files that they call tables: read, or refused in one line that names file, row and field."""

from __future__ import annotations

import datetime
import io
import json
import os
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from holisafe.errors import InputError
from holisafe.limits import SETTING, Limits, limits
from holisafe.tables import FORMS, identity, keyed_rows, read_text, rows, text_columns

AB = [(1, {"a": "1", "b": "x"}), (2, {"a": "2", "b": "y"})]
NUMBERS = [(1, {"a": 1, "b": "x"}), (2, {"a": 2, "b": "y"})]
BLANKS = [(2, {"a": 1, "b": "x"}), (4, {"a": 2, "b": "y"})]
LINES = b'{"a": 1, "b": "x"}\n{"a": 2, "b": "y"}\n'
LIST = b'[{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]'

READ: dict[str, tuple[str, bytes, list[tuple[int, Any]]]] = {
    "byte order mark": ("t.csv", b"\xef\xbb\xbfa,b\n1,x\n2,y\n", AB),
    "lines end with CR LF": ("t.csv", b"a,b\r\n1,x\r\n2,y\r\n", AB),
    "lines end with CR": ("t.csv", b"a,b\r1,x\r2,y\r", AB),
    "no last line end": ("t.csv", b"a,b\n1,x\n2,y", AB),
    "blank lines are counted": ("t.csv", b"\n\na,b\n\n1,x\n\n2,y\n\n", [(2, AB[0][1]), (4, AB[1][1])]),
    "rows of commas": ("t.csv", b"a,b\n1,x\n,\n2,y\n,\n , \n", [AB[0], (3, AB[1][1])]),
    "commas at the end": ("t.csv", b"a,b,,\n1,x,,\n2,y,,\n", AB),
    "an index without a name": ("t.csv", b",a\n0,x\n", [(1, {"column 1": "0", "a": "x"})]),
    "semicolons": ("t.csv", b"a;b\n1;x\n2;y\n", AB),
    "tabs": ("t.csv", b"a\tb\n1\tx\n2\ty\n", AB),
    "what Excel puts before a header": ("t.csv", b"sep=;\r\na;b\r\n1;x\r\n2;y\r\n", AB),
    "one column, an empty value": ("t.csv", b'a\nx\n\n""\n', [(1, {"a": "x"}), (3, {"a": ""})]),
    "a quoted line end": ("t.csv", b'a,b\n"1\n2",x\n3,y\n', [(1, {"a": "1\n2", "b": "x"}), (2, {"a": "3", "b": "y"})]),
    "TSV": ("t.tsv", b"a\tb\n1\tx\n2\ty\n", AB),
    "JSON lines": ("t.jsonl", LINES, NUMBERS),
    "JSON lines with CR": ("t.jsonl", LINES.replace(b"\n", b"\r"), NUMBERS),
    "JSON lines by another name": ("t.ndjson", LINES, NUMBERS),
    "JSON lines called JSON": ("t.json", LINES, NUMBERS),
    "a list called JSON lines": ("t.jsonl", LIST, NUMBERS),
    "blank JSON lines": ("t.jsonl", b"\xef\xbb\xbf\n" + LINES.replace(b"\n", b"\n \n"), BLANKS),
    "a JSON list": ("t.json", b"\xef\xbb\xbf" + LIST, NUMBERS),
    "a pretty JSON list": ("t.json", json.dumps(json.loads(LIST), indent=4).encode(), NUMBERS),
    "an object with a list": ("t.json", b'{"version": 1, "data": ' + LIST + b"}", NUMBERS),
    "whole surrogate pairs": ("t.json", rb'[{"a": "\ud83d\ude00"}]', [(1, {"a": "😀"})]),
}  # fmt: skip


@pytest.mark.parametrize("what", READ)
def test_it_is_read(tmp_path: Path, what: str) -> None:
    name, content, expected = READ[what]
    (tmp_path / name).write_bytes(content)
    assert list(rows(tmp_path / name)) == expected


BINARY = [pa.array([b"caf\xc3\xa9", b"x"]), pa.array([b"caf\xc3\xa9", b"x"], pa.large_binary())]
COLUMNS: dict[str, tuple[Any, list[Any]]] = {
    "text as bytes": (BINARY[0], ["café", "x"]),
    "text as large bytes": (BINARY[1], ["café", "x"]),
    "text of a dictionary": (pa.array(["x", "y"]).dictionary_encode(), ["x", "y"]),
    "large text": (pa.array(["x", None], pa.large_string()), ["x", None]),
    "whole numbers as floats": (pa.array([1.0, float("nan")]), [1.0, None]),
    "dates": (pa.array([datetime.date(2024, 1, 5), None]), ["2024-01-05", None]),
    "times": (pa.array([datetime.datetime(2024, 1, 5, 6, 7), None]), ["2024-01-05T06:07:00", None]),
    "nanoseconds": (pa.array([1, None], pa.timestamp("ns")), ["1970-01-01T00:00:00.000000001", None]),
    "decimals": (pa.array(["1.50", "2.00"]).cast(pa.decimal128(5, 2)), ["1.50", "2.00"]),
    "lists and structs": (pa.array([[{"k": 1}], []]), [[{"k": 1}], []]),
    "lists of text as bytes": (pa.array([[b"x"], [b"y"]]), [["x"], ["y"]]),
    "pictures": (pa.array([b"\x89PNG\0", b"\xff\xd8"]), [b"\x89PNG\0", b"\xff\xd8"]),
    "pictures that are not there": (pa.array([None, b"\xff\xd8"]), [None, b"\xff\xd8"]),
}  # fmt: skip


@pytest.mark.parametrize("what", COLUMNS)
def test_parquet_columns_of_every_type(tmp_path: Path, what: str) -> None:
    array, expected = COLUMNS[what]
    parquet.write_table(pa.table({"a": array}), tmp_path / "t.parquet")
    assert [row["a"] for _, row in rows(tmp_path / "t.parquet")] == expected


REFUSED: dict[str, tuple[str, bytes, str]] = {
    "no rows": ("t.csv", b"a,b\n", ": holds no rows"),
    "nothing": ("t.csv", b"", ": the file is empty"),
    "only commas": ("t.csv", b",,\n,,\n", ": the file is empty"),
    "two columns of one name": ("t.csv", b"a,a\n1,2\n", ": two columns called 'a'"),
    "two fields of one name": ("t.jsonl", b'{"a": 1, "a": 2}\n', ", row 1: not JSON (two fields called 'a')"),
    "too many values": ("t.csv", b"a,b\n1,2\n1,2,3\n", ", row 2: 3 values for 2 columns"),
    "too few values": ("t.csv", b"a,b\n1\n", ", row 1: 1 values for 2 columns"),
    "an open quote": ("t.csv", b'a,b\n1,2\n3,"x\n4,5\n', ", row 2: not CSV (a quote is never closed)"),
    "text after a quote": ("t.csv", b'a,b\n1,"2"x\n', ", row 1: not CSV (',' expected after '\"')"),
    "latin-1": ("t.csv", "a,b\n1,caf\xe9\n".encode("latin-1"), ", row 1, field 'b': not UTF-8 text (byte 0xe9)"),
    "latin-1 header": ("t.csv", "caf\xe9,b\n1,2\n".encode("latin-1"), "not UTF-8 text (byte 0xe9)"),
    "latin-1 in JSON": ("t.jsonl", '{"a": "\xe9"}'.encode("latin-1"), ", row 1, field 'a': not UTF-8 text"),
    "UTF-16": ("t.csv", "a,b\n1,2\n".encode("utf-16"), ": no .csv: it is UTF-16 text: save it as UTF-8"),
    "UTF-16 without a mark": ("t.csv", "a,b\n1,2\n".encode("utf-16-le"), ", row 1: NUL characters: no text"),
    "NUL": ("t.csv", b"a,b\n1,\0\n", ", row 2: NUL characters: no text, or not UTF-8"),
    "gzip": ("t.csv", b"\x1f\x8b\x08\0", ": no .csv: it is compressed with gzip: unpack it first"),
    "gzip by its own name": ("t.csv.gz", b"\x1f\x8b\x08\0", ": no .gz: it is compressed with gzip: unpack it first"),
    "a workbook called CSV": ("t.csv", b"PK\x03\x04", ": no .csv: it is a zip archive or a workbook"),
    "an old workbook": ("t.xlsx", b"\xd0\xcf\x11\xe0", ": no .xlsx: it is an old workbook"),
    "parquet by another name": ("t.json", b"PAR1", ": no .json: it is a parquet file: call it .parquet"),
    "a pointer": ("t.parquet", b"version https://git-lfs.github.com/spec/v1\n", ": no .parquet: it is a Git LFS"),
    "a web page": ("t.csv", b"<!DOCTYPE html>", ": no .csv: it is a web page"),
    "no table": ("t.txt", b"a\n1\n", ": unknown kind of table; known: .json, .jsonl"),
    "half an object": ("t.jsonl", LINES + b'{"a": 1, "b', ", row 3: not JSON (Unterminated string starting at)"),
    "half a list": ("t.json", LIST[:-4], ", row 2: not JSON (Unterminated string starting at)"),
    "a list without an end": ("t.json", LIST[:-1], ", row 3: not JSON (the list does not end)"),
    "more after a list": ("t.json", LIST + b"x", ", row 3: not JSON (no more here)"),
    "no comma": ("t.json", b'[{"a": 1} {"a": 2}]', ", row 2: not JSON (no , or ] here)"),
    "a list of other things": ("t.json", b'[{"a": 1}, "x"]', ", row 2: not a JSON object"),
    "lines of other things": ("t.jsonl", b'{"a": 1}\n3\n', ", row 2: not a JSON object"),
    "two lists": ("t.json", b'{"x": [], "y": []}', ": an object without one list of rows; it holds: x, y"),
    "a number": ("t.json", b"7", ": not a list of rows"),
    "no JSON": ("t.json", b"id,query\n1,how\n", ": not JSON (Expecting value)"),
    "a number without end": ("t.jsonl", b'{"a": 1e999}', ", row 1, field 'a': inf is no finite number"),
    "infinity": ("t.json", b'[{"a": -Infinity}]', ", row 1, field 'a': -inf is no finite number"),
    "a number of 400 digits": ("t.jsonl", b'{"a": 1' + b"0" * 400 + b"}", "field 'a': a number of more than 38 digits"),
    "a number of 5,000 digits": ("t.jsonl", b'{"a": 1' + b"0" * 5000 + b"}", ", row 1: not JSON (Exceeds the limit"),
    "half a pair": ("t.jsonl", rb'{"a": "x\ud83d"}', ", row 1, field 'a': half a surrogate pair"),
    "half a pair far inside": ("t.jsonl", rb'{"a": [{"b": "\ud83d"}]}', ", row 1, field 'a': half a surrogate pair"),
    "half a pair in a name": ("t.jsonl", rb'{"\ud83d": 1}', ", row 1, field '\\\\ud83d': half a surrogate pair"),
    "deep": ("t.jsonl", b'{"a": ' + b"[" * 60 + b"]" * 60 + b"}", "field 'a': more than the limit of 50 lists"),
    "very deep": ("t.json", b'[{"a": ' + b"[" * 100_000, ", row 1: more than the limit of 50 lists and objects"),
    "no parquet": ("t.parquet", b"PAR1 and so on", ": not a readable parquet file ("),
    "no workbook": ("t.xlsx", b"PK\x03\x04 and so on", ": not a readable xlsx file ("),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_it_is_refused_by_name(tmp_path: Path, what: str) -> None:
    name, content, said = REFUSED[what]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        list(rows(tmp_path / name))
    assert f"{tmp_path / name}{said}" in str(caught.value) or (
        not said.startswith((":", ",")) and said in str(caught.value)
    )


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    """A pipe that nobody writes to would never end."""
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "device.csv").symlink_to("/dev/zero")
    for read in (lambda path: list(rows(path)), read_text):
        for name, said in (
            ("pipe.csv", "not a regular file"),
            ("device.csv", "not a regular file"),
            ("folder.csv", "not a file"),
            ("none.csv", "no such file"),
            ("x" * 300 + ".csv", "cannot be read (File name too long)"),
            ("x\0.csv", "cannot be read"),
        ):
            with pytest.raises(InputError) as caught:
                read(tmp_path / name)
            assert said in caught.value.problem


def test_reading_goes_row_by_row(tmp_path: Path) -> None:
    """What comes before a fault is there, so that a file is never held whole."""
    for name, content in (("t.jsonl", LINES + b"{"), ("t.json", LIST[:-1] + b", {"), ("t.csv", b"a,b\n1,x\n2,y\n3\n")):
        (tmp_path / name).write_bytes(content)
        numbered = rows(tmp_path / name)
        assert [next(numbered)[0], next(numbered)[0]] == [1, 2]
        with pytest.raises(InputError, match="row 3"):
            next(numbered)


def test_a_list_longer_than_a_block_and_rows_longer_than_one(tmp_path: Path) -> None:
    table = [{"a": number, "b": "é" * (number * 700)} for number in range(200)]
    for indent in (None, 2):
        (tmp_path / "t.json").write_text(json.dumps(table, indent=indent, ensure_ascii=False), encoding="utf-8")
        assert [row for _, row in rows(tmp_path / "t.json")] == table


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("a", "a"),
        (" 003 ", " 003 "),
        (7, "7"),
        (7.0, "7"),
        ("a\n1", None),
        ("a\r", None),
        ("a\u2028b", None),
        ("\x1b[2J", None),
        (True, None),
        (7.5, None),
        ("", None),
        (["a"], None),
        (None, None),
    ],
)
def test_an_id_is_one_line(value: Any, said: str | None) -> None:
    """`a` asked a second time is kept under `a`, a line break and 1, so that no sample may be called that."""
    if said is not None:
        assert identity({"id": value}, "id", "x.csv", 3) == said
        return
    with pytest.raises(InputError, match=r"x\.csv, row 3, field 'id'"):
        identity({"id": value}, "id", "x.csv", 3)


def book(path: Path, sheets: dict[str, list[list[Any]]]) -> Path:
    made = openpyxl.Workbook()
    made.remove(made.active)
    for title, lines in sheets.items():
        sheet = made.create_sheet(title)
        for line in lines:
            sheet.append(line)
    made.save(path)
    return path


def test_the_first_sheet_with_rows_or_the_one_that_is_named(tmp_path: Path) -> None:
    path = book(tmp_path / "t.xlsx", {"README": [["read me"]], "Data": [["a"], [1]], "More": [["a"], [2]]})
    assert list(rows(path)) == [(1, {"a": 1})]
    assert list(rows(path, "More")) == [(1, {"a": 2})]
    for sheet, said in (("Other", "no sheet 'Other'"), ("README", "sheet 'README' does not hold rows under a header")):
        with pytest.raises(InputError, match=f"{said}; the sheets are: README, Data, More"):
            list(rows(path, sheet))
    path = book(tmp_path / "t.xlsx", {"README": [["x", "x"], [1, 2]], "Data": [["a"], [1]]})
    with pytest.raises(InputError, match=r"two columns called 'x' \(sheet 'README' of README, Data\)"):
        list(rows(path))


def test_a_sheet_with_nameless_columns_dates_and_formulas(tmp_path: Path) -> None:
    day = datetime.datetime(2024, 1, 5)
    path = book(tmp_path / "t.xlsx", {"S": [[], ["a", None, "b", None], [], [1.0, 2, day, None, "more"], [None]]})
    expected = {"a": 1, "column 2": 2, "b": "2024-01-05T00:00:00", "column 5": "more"}
    assert list(rows(path)) == [(2, expected)]
    for formula, said in (
        ("=1+1", "row 1, field 'b': a formula that was never computed"),
        ("#REF!", "shows the error #REF!"),
    ):
        path = book(tmp_path / "t.xlsx", {"S": [["a", "b"], [1, formula]]})
        with pytest.raises(InputError, match=said):
            list(rows(path))


def test_what_a_workbook_escapes_is_read_as_it_was_typed(tmp_path: Path) -> None:
    """Excel keeps a carriage return as _x000D_, and a text that looks so with its underscore escaped."""
    said = ["one_x000D_\ntwo", "I can_x2019_t", "_x005F_x000D_", "a_x_b", "_x12_"]
    path = book(tmp_path / "t.xlsx", {"S": [["a"], *([text] for text in said)]})
    assert [row["a"] for _, row in rows(path)] == ["one\r\ntwo", "I can’t", "_x000D_", "a_x_b", "_x12_"]


def test_a_computed_formula_is_its_value(tmp_path: Path) -> None:
    """As a spreadsheet stores it; also one whose value is an empty text."""
    path = book(tmp_path / "t.xlsx", {"S": [["a", "b", "c"], ["x", "=1+1", '=""']]})
    parts = {name: zipfile.ZipFile(path).read(name) for name in zipfile.ZipFile(path).namelist()}
    sheet = parts["xl/worksheets/sheet1.xml"].decode()
    sheet = sheet.replace("<f>1+1</f><v></v>", "<f>1+1</f><v>2</v>").replace("<f>1+1</f><v />", "<f>1+1</f><v>2</v>")
    sheet = sheet.replace('<c r="C2">', '<c r="C2" t="str">')
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**parts, "xl/worksheets/sheet1.xml": sheet}.items():
            archive.writestr(name, content)
    assert list(rows(path)) == [(1, {"a": "x", "b": 2, "c": None})]


def test_pictures_without_bytes_are_named(tmp_path: Path) -> None:
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    good, empty = {"bytes": b"\x89PNG", "path": "a.png"}, {"bytes": b"", "path": "a.png"}
    for values, row in (
        (pa.array([good, empty], image), 2),
        (pa.array([[good], [good, empty]], pa.list_(image)), 2),
        (pa.array([b"", b"\x89PNG"]), 1),
        (pa.array([b"\x89PNG", b"\x89PNG", b""]), 3),
    ):
        parquet.write_table(pa.table({"id": list(range(len(values))), "shown": values}), tmp_path / "t.parquet")
        with pytest.raises(InputError, match=f"row {row}, field 'shown': a picture without a byte"):
            list(rows(tmp_path / "t.parquet"))
    parquet.write_table(pa.table({"a": pa.array([b"text", b"\xff"])}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match="row 2, field 'a': not UTF-8 text"):
        list(rows(tmp_path / "t.parquet"))
    parquet.write_table(pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]), tmp_path / "t.parquet")
    with pytest.raises(InputError, match="two columns called 'a'"):
        list(rows(tmp_path / "t.parquet"))


def test_limits_are_named_and_raised_by_the_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables: dict[str, bytes] = {
        "t.csv": b"a,b\n1,xxxxx\n2,y\n3,z\n",
        "t.jsonl": b'{"a": 1, "b": "xxxxx"}\n{"a": 2}\n{"a": 3}\n',
        "t.json": b'[{"a": 1, "b": "xxxxx"}, {"a": 2}, {"a": 3}]',
    }
    for name, content in tables.items():
        path = tmp_path / name
        path.write_bytes(content)
        for setting, said in (("rows=2", "2 rows"), ("cells=3", "3 cells"), ("value=4", "4 characters")):
            monkeypatch.setenv(SETTING, setting)
            limit = setting.partition("=")[0]
            with pytest.raises(InputError, match=f"more than the limit of {said}; {SETTING}={limit}=N raises it"):
                list(rows(path))
        monkeypatch.setenv(SETTING, "rows=3, cells=1e3,value=50")
        assert len(list(rows(path))) == 3
    assert limits() == Limits(rows=3, cells=1000, value=50)
    for setting, said in (("row=3", "no such limit; known: rows, cells"), ("rows=many", "'many' is no number")):
        monkeypatch.setenv(SETTING, setting)
        with pytest.raises(InputError, match=said):
            limits()


def test_what_pandas_writes_for_a_missing_value_is_blank(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"a": NaN, "b": [{"c": NaN}]}\n')
    assert [row for _, row in rows(tmp_path / "t.jsonl")] == [{"a": None, "b": [{"c": None}]}]


def test_text_columns_are_words(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"a": true, "b": null}\n{"b": 1.5, "c": ["é"]}\n', encoding="utf-8")
    assert text_columns(tmp_path / "t.jsonl") == {"a": ["true", ""], "b": ["", "1.5"], "c": ["", '["é"]']}


def test_objects_by_name_and_text(tmp_path: Path) -> None:
    file = tmp_path / "t.json"
    file.write_bytes(b'\xef\xbb\xbf{"a": {"b": [1, NaN]}, "c": {"d": NaN}}')
    assert list(keyed_rows(file, "things")) == [(1, "a", {"b": [1, None]}), (2, "c", {"d": None})]
    for content, told in (
        ('{"a": {}, "c": {"d": Infinity}}', "row 2, field 'd': inf is no finite number"),
        ('{"a": {}, "c": 7}', "row 2: not a JSON object"),
        ("[]", "not an object of things by number"),
        ("{}", "not an object of things by number"),
    ):
        file.write_text(content)
        with pytest.raises(InputError, match=told):
            list(keyed_rows(file, "things"))
    (tmp_path / "t.txt").write_bytes(b"\xef\xbb\xbfa\r\nb")
    assert read_text(tmp_path / "t.txt") == "a\nb"
    (tmp_path / "t.txt").write_bytes(b"\xff")
    with pytest.raises(InputError, match="not UTF-8"):
        read_text(tmp_path / "t.txt")


def _parquet() -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(pa.table({"a": ["x"] * 20, "b": [b"\x89"] * 20}), buffer)
    return buffer.getvalue()


def _xlsx() -> bytes:
    buffer, made = io.BytesIO(), openpyxl.Workbook()
    made.active.append(["a", "b"])
    made.active.append([1, "=1"])
    made.save(buffer)
    return buffer.getvalue()


WHOLE: dict[str, bytes] = {
    ".csv": b'a,b\n1,"x"\n',
    ".tsv": b"a\tb\n1\tx\n",
    ".json": LIST,
    ".jsonl": LINES,
    ".ndjson": LINES,
    ".parquet": _parquet(),
    ".xlsx": _xlsx(),
}
TOKENS = st.sampled_from(
    [b"[", b"]", b"{", b"}", b'"', b",", b"\n", b"\r", b";", b"\\ud83d", b"1e999", b"\xff", b"\0", b"a"]
)
DAMAGE: st.SearchStrategy[Callable[[bytes], bytes]] = st.one_of(
    st.builds(lambda at: lambda whole: whole[: at % (len(whole) + 1)], st.integers(0, 10_000)),
    st.builds(
        lambda at, put, cut: lambda whole: whole[: at % len(whole)] + put + whole[at % len(whole) + cut :],
        st.integers(0, 10_000),
        st.binary(max_size=6) | TOKENS,
        st.integers(0, 3),
    ),
    st.builds(lambda parts: lambda whole: b"".join(parts), st.lists(TOKENS | st.binary(max_size=4), max_size=30)),
)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damage=st.lists(DAMAGE, min_size=1, max_size=3))
def test_any_bytes_are_rows_or_one_line(tmp_path: Path, form: str, damage: list[Callable[[bytes], bytes]]) -> None:
    content = WHOLE[form]
    for spoil in damage:
        content = spoil(content) or b" "
    path = tmp_path / f"t{form}"
    path.write_bytes(content)
    with suppress(InputError):
        for number, row in rows(path):
            assert number > 0
            json.dumps(row, allow_nan=False, default=repr).encode()
