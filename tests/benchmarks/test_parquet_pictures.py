"""HoliSafe-Bench as the hub serves it, against the same records as json and files."""

from __future__ import annotations

import dataclasses
import gc
import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from holisafe import images
from holisafe.benchmarks import open_benchmark
from holisafe.benchmarks.check import check
from holisafe.benchmarks.parquet_pictures import ParquetPictures
from holisafe.errors import InputError

N, SHARED = 60, 4
"""Records, and how many of them show one picture."""


def data_of(number: int, size: tuple[int, int] = (16, 12)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (number * 3 % 256, number * 7 % 256, 90)).save(buffer, format="JPEG")
    return buffer.getvalue()


def record(number: int) -> dict[str, Any]:
    return {
        "id": number * 2 + 1,
        "image": f"violence/terrorism/terrorism_{number // SHARED}.jpg",
        "query": f"What is in picture {number}?",
        "category": "violence",
        "subcategory": "terrorism",
        "type": ("UUU", "USU")[number % 2],
        "image_safe": False,
        "image_safety_label": 15,
    }


RECORDS = [record(number) for number in range(N)]
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write_parquet(path: Path, records: list[dict[str, Any]], **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {name: [row[name] for row in records] for name in records[0]}
    arrays = {name: pa.array(values, type=IMAGE if name == "image" else None) for name, values in columns.items()}
    parquet.write_table(pa.table(arrays), path, **options)


def served(number: int, path: str | None) -> dict[str, Any]:
    return {**RECORDS[number], "image": {"bytes": data_of(number // SHARED), "path": path}}


@pytest.fixture
def as_files(tmp_path: Path) -> Path:
    root = tmp_path / "files"
    for number in range(N // SHARED):
        path = root / "images" / RECORDS[number * SHARED]["image"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data_of(number))
    (root / "holisafe_bench.json").write_text(json.dumps(RECORDS))
    return root


@pytest.fixture
def as_parquet(tmp_path: Path) -> Path:
    """Two files of several row groups, as the hub splits them."""
    root = tmp_path / "parquet"
    rows = [served(number, RECORDS[number]["image"]) for number in range(N)]
    write_parquet(root / "data/test-00000-of-00002.parquet", rows[:37], row_group_size=20)
    write_parquet(root / "data/test-00001-of-00002.parquet", rows[37:], row_group_size=20)
    return root


def test_both_forms_are_one_benchmark(as_files: Path, as_parquet: Path) -> None:
    one, other = open_benchmark("holisafe-bench", as_files), open_benchmark("holisafe-bench", as_parquet)
    assert other.samples == one.samples
    assert other.content_hash() == one.content_hash()
    for sample in one.samples[::7]:
        assert other.open_image(sample.images[0]).tobytes() == one.open_image(sample.images[0]).tobytes()
    remark = f"{N} pairs over {N // SHARED} images; the published release has 4,031 over 1,796"
    assert check("holisafe-bench", as_parquet) == check("holisafe-bench", as_files) == ([], [remark])


def test_json_goes_first_where_there_are_both(as_files: Path, as_parquet: Path) -> None:
    write_parquet(as_files / "other.parquet", [served(0, "a.jpg")])
    assert len(open_benchmark("holisafe-bench", as_files).samples) == N
    (as_files / "holisafe_bench.json").unlink()
    assert len(open_benchmark("holisafe-bench", as_files).samples) == 1


@pytest.mark.parametrize("path", [None, "", "/tmp/cache/{}.jpg", "../{}.jpg", "one-name-for-all.jpg", "images/{}.jpg"])
def test_rows_share_a_picture_whatever_its_path(as_files: Path, tmp_path: Path, path: str | None) -> None:
    """The image is what the bootstrap resamples, so that the same pictures must be told apart and together."""
    name = [path and path.format(number // SHARED) for number in range(N)]
    write_parquet(tmp_path / "p/x.parquet", [served(number, name[number]) for number in range(N)])
    one, other = open_benchmark("holisafe-bench", as_files), open_benchmark("holisafe-bench", tmp_path / "p")
    pairs = {(a.cluster, b.cluster) for a, b in zip(one.samples, other.samples, strict=True)}
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}) == N // SHARED
    for a, b in zip(one.samples, other.samples, strict=True):
        assert dataclasses.replace(b, images=a.images, cluster=a.cluster) == a
        assert other.open_image(b.images[0]).tobytes() == one.open_image(a.images[0]).tobytes()


def test_a_path_with_the_folders_name_is_the_same_picture(as_files: Path, tmp_path: Path) -> None:
    write_parquet(tmp_path / "p/x.parquet", [served(n, "images/" + RECORDS[n]["image"]) for n in range(N)])
    other = open_benchmark("holisafe-bench", tmp_path / "p")
    assert other.content_hash() == open_benchmark("holisafe-bench", as_files).content_hash()


def test_memory_holds_a_few_pictures_only(tmp_path: Path) -> None:
    """100 MB of pictures pass through, in row groups of 5 MB."""
    noise = np.random.default_rng(0).integers(0, 256, 250_000, np.uint8).tobytes()
    rows = [
        {**RECORDS[0], "id": n, "image": {"bytes": noise + bytes([n // 256, n % 256]), "path": f"{n}.jpg"}}
        for n in range(400)
    ]
    write_parquet(tmp_path / "x.parquet", rows, row_group_size=20)
    del rows
    gc.collect()
    pool, most = pa.default_memory_pool(), 0
    before = pool.bytes_allocated()
    tracemalloc.start()
    pictures = ParquetPictures()
    for number, (_, row) in enumerate(pictures.rows(tmp_path / "x.parquet")):
        assert row["image"] == f"{number}.jpg"
        most = max(most, pool.bytes_allocated() - before)
    for number in range(0, 400, 17):
        with pytest.raises(InputError, match="not an image"):
            pictures.open(f"{number}.jpg")
    python = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most + python < 50_000_000


def test_faults_are_named(as_parquet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [served(number, RECORDS[number]["image"]) for number in range(6)]
    rows[1]["type"] = "XXX"
    rows[2]["query"] = " "
    rows[3]["id"] = rows[0]["id"]
    rows[4]["image"] = {"bytes": None, "path": None}
    rows[5]["image"] = {"bytes": b"\xff\xd8 broken", "path": "broken.jpg"}
    path = as_parquet / "data/test-00000-of-00002.parquet"
    write_parquet(path, rows)
    faults = check("holisafe-bench", as_parquet)[0]
    assert [(fault.row, fault.field) for fault in faults if fault.where == path] == [
        (2, "type"),
        (3, "query"),
        (4, "id"),
        (5, "image"),
        (6, "image"),
    ]
    assert "images/broken.jpg: not an image" in str(faults[-1])
    monkeypatch.setattr(images, "PIXEL_LIMIT", 100)
    assert any("192 pixels are more than the limit of 100" in str(f) for f in check("holisafe-bench", as_parquet)[0])


def test_a_query_that_is_no_text_is_not_asked_by_a_name(as_parquet: Path) -> None:
    path = as_parquet / "data/test-00000-of-00002.parquet"
    write_parquet(path, [{**served(0, "a.jpg"), "query": "caf\xe9".encode("latin-1")}])
    faults = check("holisafe-bench", as_parquet)[0]
    assert [(f.row, f.field, f.problem) for f in faults if f.where == path] == [
        (1, "query", "a picture, or bytes that are no UTF-8 text")
    ]


def test_an_id_of_another_file_is_a_duplicate(as_parquet: Path) -> None:
    write_parquet(as_parquet / "data/test-00001-of-00002.parquet", [served(3, "x.jpg")])
    with pytest.raises(InputError, match=r"row 1, field 'id': duplicate id '7', first in row 4 of test-00000-of"):
        open_benchmark("holisafe-bench", as_parquet)


@pytest.mark.parametrize("keep", [0, 100, 3000])
def test_a_half_written_file_is_named(as_parquet: Path, keep: int) -> None:
    path = as_parquet / "data/test-00001-of-00002.parquet"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"00001-of-00002\.parquet: not a readable parquet file"):
        open_benchmark("holisafe-bench", as_parquet)


def test_a_file_without_pictures_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    with pytest.raises(InputError, match=r"holisafe_bench\.json: no such file"):
        open_benchmark("holisafe-bench", tmp_path)
    plain = [{**RECORDS[0]}]
    arrays = {name: pa.array([row[name] for row in plain]) for name in plain[0]}
    parquet.write_table(pa.table(arrays), tmp_path / "x.parquet")
    with pytest.raises(InputError, match="no such image in the table"):
        open_benchmark("holisafe-bench", tmp_path).content_hash()
