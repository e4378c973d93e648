"""Small files that stand for endless memory: one line, in a process that may have 2 GB."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pyarrow as pa
import pytest
from pyarrow import parquet

MOST = 2 << 30
SECONDS = 60

READ = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, ({MOST}, {MOST}))
resource.setrlimit(resource.RLIMIT_CPU, ({SECONDS}, {SECONDS}))
from pathlib import Path
from holisafe.errors import InputError
from holisafe.tables import rows
try:
    for _ in rows(Path(sys.argv[1])):
        pass
except InputError as fault:
    print(fault)
"""


def dictionary_of_one_value(path: Path) -> None:
    """40 MB of zeros, once in the file, in each of a thousand rows."""
    index = pa.array([0] * 1_000, pa.int32())
    column = pa.DictionaryArray.from_arrays(index, pa.array(["0" * 40_000_000]))
    parquet.write_table(pa.table({"a": column}), path, compression="zstd", dictionary_pagesize_limit=1 << 30)


def dictionary_of_bytes(path: Path) -> None:
    index = pa.array([0] * 1_000, pa.int32())
    column = pa.DictionaryArray.from_arrays(index, pa.array([b"\x89" * 40_000_000]))
    parquet.write_table(pa.table({"a": column}), path, compression="zstd", dictionary_pagesize_limit=1 << 30)


def one_huge_value(path: Path) -> None:
    parquet.write_table(pa.table({"a": ["0" * 550_000_000]}), path, compression="zstd")


def rows_of_nothing(path: Path) -> None:
    parquet.write_table(pa.table({"a": pa.nulls(50_000_000, pa.int8())}), path, compression="zstd")


def nested_nothing(path: Path) -> None:
    parquet.write_table(pa.table({"a": pa.array([[None] * 60_000_000], pa.list_(pa.int8()))}), path, compression="zstd")


def workbook(path: Path, sheet: Callable[[str], str]) -> None:
    """A workbook whose only sheet's XML is replaced."""
    buffer, made = io.BytesIO(), openpyxl.Workbook()
    made.active.append(["a", "b"])
    made.active.append([1, 2])
    made.save(buffer)
    with zipfile.ZipFile(buffer) as whole, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in whole.namelist():
            content = whole.read(name).decode()
            archive.writestr(name, sheet(content) if name.endswith("sheet1.xml") else content)


def row_of_a_thousand_million(path: Path) -> None:
    workbook(path, lambda xml: xml.replace('<row r="2">', '<row r="1000000000">').replace('"A2"', '"A1000000000"'))


def wide_rows(path: Path) -> None:
    rows = "".join(f'<row r="{n}"><c r="XFD{n}"><v>1</v></c></row>' for n in range(3, 20_000))
    workbook(path, lambda xml: xml.replace("</sheetData>", f"{rows}</sheetData>"))


def zip_bomb(path: Path) -> None:
    workbook(path, lambda xml: xml.replace("</sheetData>", " " * 550_000_000 + "</sheetData>"))


def entities(path: Path) -> None:
    """A thousand million laughs."""
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    head = f'<?xml version="1.0"?><!DOCTYPE worksheet [<!ENTITY l0 "lol">{laughs}]>'
    workbook(path, lambda xml: head + xml.replace("<v>1</v>", "<v>&l9;</v>", 1))


def deep_list(path: Path) -> None:
    path.write_bytes(b'[{"a": ' + b"[" * 20_000_000)


def endless_line(path: Path) -> None:
    with path.open("wb") as file:
        for _ in range(300):
            file.write(b"0" * 1_000_000)


def many_columns(path: Path) -> None:
    path.write_bytes(b",".join(b"c%d" % n for n in range(300_000)) + b"\n" + (b"," * 299_999 + b"1\n") * 40)


def one_object(path: Path) -> None:
    path.write_bytes(b'{"data": [' + b"{}," * 60_000_000 + b"{}]}")


BOMBS: dict[str, tuple[Callable[[Path], None], str]] = {
    "dictionary.parquet": (dictionary_of_one_value, "bytes unpacked; HOLISAFE_LIMITS=unpacked=N raises it"),
    "bytes.parquet": (dictionary_of_bytes, "bytes unpacked; HOLISAFE_LIMITS=unpacked=N raises it"),
    "value.parquet": (one_huge_value, "bytes unpacked; HOLISAFE_LIMITS=unpacked=N raises it"),
    "nothing.parquet": (rows_of_nothing, "5,000,000 rows; HOLISAFE_LIMITS=rows=N raises it"),
    "nested.parquet": (nested_nothing, ""),
    "row.xlsx": (row_of_a_thousand_million, "1,000,000 rows; HOLISAFE_LIMITS=rows=N raises it"),
    "wide.xlsx": (wide_rows, "5,000,000 cells; HOLISAFE_LIMITS=cells=N raises it"),
    "zip.xlsx": (zip_bomb, "bytes unpacked; HOLISAFE_LIMITS=unpacked=N raises it"),
    "laughs.xlsx": (entities, "not a readable xlsx file"),
    "deep.json": (deep_list, "lists and objects within each other; HOLISAFE_LIMITS=depth=N raises it"),
    "line.csv": (endless_line, "characters; HOLISAFE_LIMITS=value=N raises it"),
    "line.jsonl": (endless_line, "characters; HOLISAFE_LIMITS=value=N raises it"),
    "line.json": (endless_line, "characters; HOLISAFE_LIMITS=value=N raises it"),
    "columns.csv": (many_columns, "5,000,000 cells; HOLISAFE_LIMITS=cells=N raises it"),
    "object.json": (one_object, "characters; HOLISAFE_LIMITS=value=N raises it"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_one_line(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make, said = BOMBS[name]
    make(tmp_path / name)
    monkeypatch.setenv("HOLISAFE_LIMITS", "" if name.endswith(".parquet") else "rows=1e6,cells=5e6")
    command = [sys.executable, "-c", READ, str(tmp_path / name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    assert str(tmp_path / name) in done.stdout
    assert said in done.stdout
