"""The generic reader: the same samples from every kind of file, and every way to say what a column is."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from holisafe.benchmarks import open_benchmark
from holisafe.benchmarks.check import check
from holisafe.benchmarks.table import USUAL
from holisafe.errors import InputError
from holisafe.images import as_png
from holisafe.records import Sample

Draw = Callable[[Path, Iterable[str]], None]

ROWS: list[dict[str, Any]] = [
    {
        "id": "a",
        "query": "What is shown?",
        "image": "pictures/one.png",
        "expected": "answer",
        "combination": "SSS",
        "category": "hate",
        "task": "look",
    },
    {
        "id": "b",
        "query": "Wie “geht” das?",
        "image": "pictures/two.png",
        "expected": "refuse",
        "combination": "uuu",
        "category": "",
        "task": "",
    },
    {
        "id": "c",
        "query": "Only words, please",
        "image": "",
        "expected": "unsafe",
        "combination": "",
        "category": "",
        "task": "",
    },
]


def sample(identity: str, query: str, expected: Any, **fields: Any) -> Sample:
    return Sample(benchmark="table", id=identity, query=query, expected=expected, **fields)


SAMPLES = (
    sample(
        "a",
        "What is shown?",
        "answer",
        images=("pictures/one.png",),
        cluster="pictures/one.png",
        combination="SSS",
        category="hate",
        meta={"task": "look"},
    ),
    sample(
        "b",
        "Wie “geht” das?",
        "refuse",
        images=("pictures/two.png",),
        cluster="pictures/two.png",
        combination="UUU",
    ),
    sample("c", "Only words, please", "refuse"),
)


@pytest.fixture
def folder(tmp_path: Path, draw: Draw) -> Path:
    draw(tmp_path, ["pictures/one.png", "pictures/two.png"])
    return tmp_path


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    frame = pd.DataFrame(rows)
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    elif path.suffix == ".xlsx":
        frame.to_excel(path, index=False)
    elif path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".tsv", ".xlsx", ".parquet"])
def test_every_kind_of_file_gives_the_same_samples(folder: Path, suffix: str) -> None:
    path = write(folder / f"pairs{suffix}", ROWS)
    benchmark = open_benchmark("table", path)
    assert benchmark.samples == SAMPLES
    assert benchmark.open_image("pictures/one.png").size == (4, 3)
    assert check("table", path) == ([], [])
    assert len(benchmark.content_hash()) == 16


def test_columns_are_named_after_the_file(folder: Path) -> None:
    rows = [{"Key": row["id"], "Prompt text": row["query"], "File": row["image"], "x": 1} for row in ROWS]
    path = write(folder / "pairs.jsonl", rows)
    benchmark = open_benchmark("table", f"{path}?id=Key&query=Prompt%20text&image=File&expected==refuse&category==mine")
    assert [(s.id, s.query, s.images, s.expected, s.category, dict(s.meta)) for s in benchmark.samples] == [
        (row["id"], row["query"], (row["image"],) if row["image"] else (), "refuse", "mine", {"x": 1}) for row in ROWS
    ]


def test_columns_are_named_in_a_file_beside_the_table(folder: Path) -> None:
    path = write(folder / "pairs.csv", [{"ask": "Why?", "instead": "How?", "kind": "USU"}])
    (folder / "pairs.csv.yaml").write_text("query: ask\ncombination: kind\nsubcategory: =mine\n")
    (found,) = open_benchmark("table", path).samples
    assert (found.query, found.combination, found.expected, found.subcategory) == ("Why?", "USU", "refuse", "mine")
    (found,) = open_benchmark("table", f"{path}?query=instead").samples
    assert (found.query, found.combination) == ("How?", "USU")


def test_usual_names_are_found_in_any_case(folder: Path) -> None:
    path = write(folder / "p.csv", [{"Prompt": "Why?", "IMG": "pictures/one.png", "Expected": "Safe"}])
    (found,) = open_benchmark("table", path).samples
    assert (found.id, found.query, found.images, found.expected) == ("1", "Why?", ("pictures/one.png",), "answer")


def test_a_row_may_show_several_pictures(folder: Path) -> None:
    both = ["pictures/one.png", "pictures/two.png"]
    rows = [{"query": "Which?", "images": images, "expected": "answer"} for images in (both, [])]
    assert [s.images for s in open_benchmark("table", write(folder / "p.jsonl", rows)).samples] == [tuple(both), ()]
    path = write(folder / "p.csv", [{"query": "Which?", "images": json.dumps(both), "expected": "answer"}])
    (found,) = open_benchmark("table", path).samples
    assert (found.images, found.cluster) == (tuple(both), "\n".join(both))


def test_a_picture_is_spelt_out_once_and_named_by_the_row_that_holds_it(folder: Path) -> None:
    """As VLMEvalKit writes its tables."""
    spelt = base64.b64encode((folder / "pictures" / "two.png").read_bytes()).decode()
    lines = [
        "index\timage\tquestion\tcombination",
        f"7\t{spelt}\tWhat?\tSSS",
        "8\t7\tHow?\tUUU",
        "9\tpictures/one.png\tWho?\tSSS",
    ]
    (folder / "eval.tsv").write_text("\n".join(lines))
    opened = open_benchmark("table", folder / "eval.tsv")
    first, again, other = opened.samples
    assert first.images == again.images != other.images
    assert first.cluster == again.cluster, "one picture is one cluster"
    with Image.open(folder / "pictures" / "two.png") as shown:
        assert opened.open_image(again.images[0]).tobytes() == shown.convert("RGB").tobytes()
    assert not check("table", folder / "eval.tsv")[0]
    (folder / "eval.tsv").write_text("\n".join([*lines[:2], "8\t6\tHow?\tUUU"]))
    assert [(fault.row, fault.problem) for fault in check("table", folder / "eval.tsv")[0]] == [(2, "6: no such image")]


def test_parquet_may_hold_the_pictures(folder: Path) -> None:
    red = {"bytes": as_png(Image.new("RGB", (5, 5), "red")), "path": "red.png"}
    rows = [
        {"question": "Which colour?", "image": red, "answer": "red"},
        {"question": "And?", "image": None, "answer": "?"},
    ]
    benchmark = open_benchmark("table", write(folder / "p.parquet", rows))
    assert [(s.images, s.reference, s.expected) for s in benchmark.samples] == [
        (("red.png",), "red", "answer"),
        ((), "?", "answer"),
    ]
    assert benchmark.open_image("red.png").getpixel((2, 2)) == (255, 0, 0)
    assert check("table", folder / "p.parquet") == ([], [])


@pytest.mark.parametrize(
    "query", ["caf\xe9".encode("latin-1"), "café".encode("utf-16"), {"bytes": b"\x89PNG", "path": "a.png"}]
)
@pytest.mark.parametrize("field", ["query", "id", "category", "cluster", "split", "reference", "image_label"])
def test_what_only_names_a_picture_is_no_text(tmp_path: Path, query: object, field: str) -> None:
    path = write(tmp_path / "p.parquet", [{"query": "?", "combination": "UUU", field: query}])
    (fault,), _ = check("table", path)
    assert (fault.row, fault.field, fault.problem) == (1, field, "a picture, or bytes that are no UTF-8 text")


def test_parquet_may_hold_several_pictures(folder: Path) -> None:
    """In columns of their own, in a list, and in a struct."""
    colours = ("red", "blue")
    red, blue = ({"bytes": as_png(Image.new("RGB", (5, 5), name)), "path": f"{name}.png"} for name in colours)
    for columns in (
        {"image_2": blue, "image_1": red},
        {"images": [red, blue]},
        {"image": {"left": red, "right": blue}},
    ):
        path = write(folder / "p.parquet", [{"query": "?", "combination": "UUU", **columns}])
        benchmark = open_benchmark("table", path)
        assert [sample.images for sample in benchmark.samples] == [("red.png", "blue.png")]
        assert [benchmark.open_image(f"{name}.png").getpixel((2, 2)) for name in colours] == [(255, 0, 0), (0, 0, 255)]
    path = write(folder / "p.parquet", [{"query": "?", "combination": "UUU", "left": red, "right": blue}])
    with pytest.raises(InputError, match="field 'image': not read, though they look like pictures: left, right"):
        open_benchmark("table", path)
    (both,) = open_benchmark("table", f"{path}?image=left,right").samples
    assert both.images == ("red.png", "blue.png")


def test_columns_that_look_like_pictures_are_named(folder: Path) -> None:
    row = {"query": "?", "combination": "UUU", "img_path": "pictures/one.png", "note": "see one.png"}
    path = write(folder / "p.csv", [row])
    with pytest.raises(InputError) as caught:
        open_benchmark("table", path)
    said = "not read, though they look like pictures: img_path; 'p.csv?image=img_path' reads them, 'p.csv?image==' asks"
    assert caught.value.problem == f"{said} without"
    assert open_benchmark("table", f"{path}?image=img_path").samples[0].images == ("pictures/one.png",)
    without = open_benchmark("table", f"{path}?image==")
    assert (without.samples[0].images, len(without.remarks)) == ((), 1)
    (found, remarks) = check("table", write(folder / "p.csv", [row | {"image": "pictures/two.png"}]))
    assert (found, [remark.partition(";")[0] for remark in remarks]) == (
        [],
        ["not read, though they look like pictures: img_path"],
    )


def test_a_sheet_is_chosen_and_named_and_no_name_is_a_remark(folder: Path) -> None:
    row = {"query": "?", "combination": "UUU", "cluster": "nan"}
    with pd.ExcelWriter(folder / "p.xlsx") as book:
        pd.DataFrame({"read me": []}).to_excel(book, sheet_name="README", index=False)
        pd.DataFrame([row, row | {"query": "!"}]).to_excel(book, sheet_name="Data", index=False)
        pd.DataFrame([{"other": 1}]).to_excel(book, sheet_name="More", index=False)
    sheets = "the sheets are: README, Data, More"
    assert open_benchmark("table", folder / "p.xlsx").remarks == (
        f"sheet 'Data' is read; {sheets}",
        "2 samples are one cluster, 'nan': is that a name?",
    )
    with pytest.raises(InputError, match=f"no such column; the table has: other; sheet 'More' is read; {sheets}"):
        open_benchmark("table", f"{folder / 'p.xlsx'}?sheet=More")


def test_own_labels_are_kept(folder: Path) -> None:
    row = {
        "query": "?",
        "expected": "refuse",
        "sub_category": 7,
        "image_safety_label": 3,
        "cluster": "q",
        "split": "dev",
    }
    (found,) = open_benchmark("table", write(folder / "p.jsonl", [row | {"score": 0.5, "tags": ["x"]}])).samples
    assert (found.subcategory, found.image_label, found.cluster, found.split) == ("7", "religion", "q", "dev")
    assert dict(found.meta) == {"score": 0.5, "tags": ["x"]}


@pytest.mark.parametrize(
    ("change", "field", "problem"),
    [
        ({"image": "../secret.png"}, "image", "leads outside"),
        ({"image": "https://example.org/a.png"}, "image", "leads outside"),
        ({"image": 5}, "image", "not a path: 5"),
        ({"image": "[1"}, "image", "not a JSON list"),
        ({"query": " "}, "query", "blank"),
        ({"query": 5}, "query", "not text"),
        ({"expected": "maybe"}, "expected", "unknown value 'maybe'"),
        ({"expected": "answer"}, "expected", "contradicts combination UUU"),
        ({"combination": "USS"}, "combination", "unknown value 'USS'"),
        ({"expected": None, "combination": None}, "expected", "blank, and no combination"),
        ({"id": "a"}, None, "duplicate id 'a'"),
    ],
)
def test_faults_are_named(folder: Path, change: dict[str, Any], field: str | None, problem: str) -> None:
    path = write(folder / "p.jsonl", [ROWS[0], ROWS[1] | change])
    with pytest.raises(InputError, match=problem) as caught:
        open_benchmark("table", path)
    assert (caught.value.where, caught.value.row, caught.value.field) == (path, 2, field)


def test_missing_pictures_are_all_found(folder: Path) -> None:
    path = write(folder / "p.csv", ROWS)
    (folder / "pictures/one.png").unlink()
    (folder / "pictures/two.png").write_bytes(b"?")
    assert [(fault.row, fault.problem) for fault in check("table", path)[0]] == [
        (1, "pictures/one.png: no such image"),
        (2, "pictures/two.png: not an image: plain text"),
    ]


@pytest.mark.parametrize(
    ("rows", "suffix", "problem"),
    [
        (
            [{"text": "?", "prompt": "?", "expected": "refuse"}],
            "",
            "text or prompt\\? say which: 'p.jsonl\\?query=COLUMN'",
        ),
        ([{"words": "?", "expected": "refuse"}], "", "no such column; the table has: words, expected"),
        ([{"query": "?"}], "", "no column tells what is expected"),
        ([{"query": "?"}], "?expected=want", "no column 'want'"),
        ([{"query": "?"}], "?expected", "'expected' is not FIELD=COLUMN"),
        ([{"query": "?"}], "?wanted=query", "'wanted=query' is not FIELD=COLUMN"),
        ([{"query": "?"}], "?expected==perhaps", "unknown value 'perhaps'"),
    ],
)
def test_a_map_that_does_not_fit_is_named(folder: Path, rows: list[dict[str, Any]], suffix: str, problem: str) -> None:
    path = write(folder / "p.jsonl", rows)
    with pytest.raises(InputError, match=problem):
        open_benchmark("table", f"{path}{suffix}")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("query: [a", "not YAML"),
        ("- query", "not a mapping"),
        ("ask: query", "no such field"),
        ("query: 3", "not the name"),
    ],
)
def test_a_broken_map_is_named(folder: Path, content: str, problem: str) -> None:
    path = write(folder / "p.jsonl", [{"query": "?", "expected": "refuse"}])
    path.with_name("p.jsonl.yaml").write_text(content)
    with pytest.raises(InputError, match=rf"p\.jsonl\.yaml.*{problem}"):
        open_benchmark("table", path)


def test_broken_files_are_named(folder: Path) -> None:
    with pytest.raises(InputError, match="--root FILE"):
        open_benchmark("table")
    with pytest.raises(InputError, match=r"none\.csv: no such file"):
        open_benchmark("table", folder / "none.csv")
    with pytest.raises(InputError, match="not a file"):
        open_benchmark("table", folder)
    path = write(folder / "p.parquet", ROWS)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="not a readable parquet file"):
        open_benchmark("table", path)
    (folder / "p.jsonl").write_text('{"query": "?", "expected": "refuse"}\n{"query": "?", "expec')
    with pytest.raises(InputError, match=r"p\.jsonl, row 2: not JSON"):
        open_benchmark("table", folder / "p.jsonl")


def test_the_page_names_every_column_that_is_known() -> None:
    page = (Path(__file__).parents[2] / "docs/interchange.md").read_text(encoding="utf-8")
    rows = [line.split("|") for line in page.splitlines() if line.startswith("| `")]
    told = {
        name.strip() for row in rows for cell in row[1:3] for name in cell.replace("`", "").replace(";", ",").split(",")
    }
    assert {name for names in USUAL.values() for name in names} <= told
