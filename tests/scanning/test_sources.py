"""The same pictures and texts out of a folder, shards, tables and object stores; and what strangers put in there."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from bright_guard import BrightGuard, brightness, paint
from holisafe.errors import InputError
from holisafe.scanning.folder import part_files
from holisafe.scanning.scan import scan
from holisafe.scanning.sources import open_source

NUMBERS = range(7)
TEXTS = [f"what is {number}?" + (" unsafe" if number == 2 else "") for number in NUMBERS]


def added(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven pictures with texts, in every form."""
    root = tmp_path_factory.mktemp("sources")
    files = [paint(root / "images" / f"{number}.png", number) for number in NUMBERS]
    contents = [file.read_bytes() for file in files]
    for ending, mode in (("tar", "w"), ("tar.gz", "w:gz")):
        with tarfile.open(root / f"shard.{ending}", mode) as tar:
            for number, content in enumerate(contents):
                added(tar, f"part/{number:03}.png", content)
                if number % 2:
                    added(tar, f"part/{number:03}.txt", TEXTS[number].encode())
                else:
                    added(tar, f"part/{number:03}.json", json.dumps({"caption": TEXTS[number]}).encode())
    named = [f"images/{number}.png" for number in NUMBERS]
    ids = [f"pair-{number}" for number in NUMBERS]
    (root / "pairs.csv").write_text(
        "id,image,text\n" + "".join(f"{i},{n},{t}\n" for i, n, t in zip(ids, named, TEXTS, strict=True))
    )
    lines = [{"id": i, "image_path": n, "query": t} for i, n, t in zip(ids, named, TEXTS, strict=True)]
    (root / "pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    structs = [{"bytes": content, "path": None} for content in contents]
    for name, column in (("bytes", contents), ("structs", structs), ("paths", named)):
        table = pa.table({"id": ids, "image": column, "text": TEXTS})
        parquet.write_table(table, root / f"{name}.parquet", row_group_size=3)
    store = fsspec.filesystem("memory")
    for path in root.rglob("*.*"):
        store.pipe_file(f"/bucket/{path.relative_to(root).as_posix()}", path.read_bytes())
    return root


FORMS = ["shard.tar", "shard.tar.gz", "pairs.csv", "pairs.jsonl", "bytes.parquet", "structs.parquet", "paths.parquet"]


@pytest.mark.parametrize("where", ["here", "far"])
@pytest.mark.parametrize("form", FORMS)
def test_pairs_of_every_form_are_the_same(form: str, where: str, home: Path, tmp_path: Path) -> None:
    given = f"memory://bucket/{form}" if where == "far" else str(home / form)
    guard = BrightGuard(takes=frozenset({"image", "pair"}))
    found = scan(given, guard, tmp_path / "out")
    rows = [row for part in part_files(tmp_path / "out") for row in parquet.read_table(part).to_pylist()]
    assert found["n"] == len(rows) == 7
    rows.sort(key=lambda row: row["id"])
    shares = [brightness(Image.open(home / "images" / f"{number}.png")) for number in NUMBERS]
    assert [row["score"] for row in rows] == pytest.approx(shares)
    assert [row["unsafe"] for row in rows] == [share > 0.5 or n == 2 for n, share in enumerate(shares)]
    if form.startswith("shard"):
        assert rows[3]["id"] == f"{form}/part/003.png"
    else:
        assert (rows[3]["id"], rows[3]["name"]) == (f"{form}:4", "pair-3")


@pytest.mark.parametrize("form", [form for form in FORMS if form != "shard.tar.gz"])
def test_a_unit_can_be_read_where_its_bytes_did_not_come_along(form: str, home: Path) -> None:
    """As on another machine, which is sent places alone."""
    for given in (str(home / form), f"memory://bucket/{form}"):
        source = open_source(given)
        units = list(source.units(data=False))
        assert not any(unit.data for unit in units)
        contents = [(home / "images" / f"{number}.png").read_bytes() for number in NUMBERS]
        assert [source.read(unit) for unit in reversed(units)] == contents[::-1]
        assert [unit.text for unit in units] == TEXTS


def test_folders_patterns_and_counts(home: Path) -> None:
    def ids(given: str) -> list[str]:
        source = open_source(given)
        units = [unit.id for unit in source.units()]
        counted = list(source.counts())
        assert counted[-1] == -1 or sum(counted) == len(units)
        return units

    folder = [f"images/{number}.png" for number in NUMBERS]
    shards = [f"shard.{ending}/part/{number:03}.png" for ending in ("tar", "tar.gz") for number in NUMBERS]
    assert sorted(ids(str(home))) == sorted(ids("memory://bucket")) == sorted([*folder, *shards])
    assert ids(f"{home}/shard.t*") == ids("memory://bucket/shard.t*") == shards
    assert ids(f"{home}/*.parquet")[:8] == [*(f"bytes.parquet:{n + 1}" for n in NUMBERS), "paths.parquet:1"]
    assert ids(f"file://{home}/images") == ids("memory://bucket/images/") == [f"{number}.png" for number in NUMBERS]
    assert ids(str(home / "images" / "3.png")) == ["3.png"]


def test_what_strangers_put_into_a_source_is_a_row_with_its_fault(tmp_path: Path) -> None:
    root, secret = tmp_path / "data", paint(tmp_path / "secret.png", 1)
    paint(root / "good.png", 2)
    names = [
        "good.png",
        "../secret.png",
        str(secret),
        "https://example.org/a.png",
        "",
        "gone.png",
        "file:///etc/passwd",
    ]
    (root / "t.csv").write_text("image,text\n" + "".join(f"{name},{'x' if name else 'y'}\n" for name in names))
    scan(str(root / "t.csv"), BrightGuard(), tmp_path / "table")
    faults = faults_of(tmp_path / "table")
    assert faults.pop("t.csv:1") is None
    assert list(map(str, faults.values())) == [
        "'../secret.png' leads outside its folder", f"'{secret}' leads outside its folder",
        "a URL: none that stands in data is fetched", "the row names no picture", "no such image",
        "a URL: none that stands in data is fetched",
    ]  # fmt: skip
    with tarfile.open(root / "s.tar", "w") as tar:
        for name in ("../../up.png", "/etc/a.png", "twice.png", "twice.png"):
            added(tar, name, (root / "good.png").read_bytes() + name.encode())
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        added(tar, "text.png", b"no picture")
        broken = tarfile.TarInfo("rest.png")
        broken.size = 10_000
        tar.addfile(broken, io.BytesIO(bytes(10_000)))
    (root / "cut.tar").write_bytes((root / "s.tar").read_bytes()[:5000])
    (root / "no.tar").write_bytes(b"no archive at all" * 100)
    found = scan(str(root), BrightGuard(), tmp_path / "folder")
    faults = faults_of(tmp_path / "folder")
    assert {name for name, fault in faults.items() if fault is None} >= {
        "good.png", "s.tar/../../up.png", "s.tar//etc/a.png", "s.tar/twice.png", "s.tar/twice.png#2",
    }  # fmt: skip
    assert faults["s.tar/text.png"] == "not an image: plain text"
    assert str(faults["no.tar"]).startswith("broken archive")
    assert not any("link" in name for name in faults)
    assert found["n"] == len(faults)


def test_a_table_far_away_stays_in_its_folder(tmp_path: Path) -> None:
    store, picture = fsspec.filesystem("memory"), paint(tmp_path / "a.png", 1).read_bytes()
    store.pipe_file("/far/secret.png", picture)
    store.pipe_file("/far/data/good.png", picture)
    names = ["good.png", "../secret.png", "/far/secret.png", "x/../../secret.png", "memory://far/secret.png"]
    store.pipe_file("/far/data/t.csv", "\n".join(["image", *names]).encode())
    scan("memory://far/data/t.csv", BrightGuard(), tmp_path / "out")
    faults = list(faults_of(tmp_path / "out").values())
    assert faults[0] is None
    assert all(fault and ("leads outside" in fault or "URL" in fault) for fault in faults[1:])


def test_a_store_that_fails_now_and_then_costs_rows_that_are_tried_again(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = fsspec.filesystem("memory")
    plain, calls = type(store).cat_file, [0]

    def failing(self: object, path: str, *more: object, **how: object) -> bytes:
        calls[0] += 1
        if calls[0] % 3 == 0:
            raise RuntimeError("slow down")
        return bytes(plain(self, path, *more, **how))

    with monkeypatch.context() as broken:
        broken.setattr(type(store), "cat_file", failing)
        first = scan("memory://bucket/images", BrightGuard(), tmp_path / "out")
    assert (first["n"], first["again"]) == (7, 2)
    assert first["unread"] == {"cannot be read (slow down)": 2}
    assert scan("memory://bucket/images", BrightGuard(), tmp_path / "out")["again"] == 0

    def lost(*_: object, **__: object) -> None:
        raise RuntimeError("no route")

    monkeypatch.setattr(type(store), "walk", lost)
    with pytest.raises(InputError, match=r"memory://bucket/images: cannot be read \(no route\)"):
        scan("memory://bucket/images", BrightGuard(), tmp_path / "out")


def faults_of(out: Path) -> dict[str, str | None]:
    table = pa.concat_tables([parquet.read_table(part) for part in part_files(out)]).to_pylist()
    return {row["id"]: row["fault"] for row in sorted(table, key=lambda row: row["id"])}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("nowhere", "no such file or folder"),
        ("empty", "holds no images or tar shards"),
        ("tables", r"but 1 \.parquet; name tables as"),
        ("t.csv", "the row has none; it has: picture_of, text"),
        ("memory://nowhere/at/all", "holds no images"),
        ("s3://key:secret@bucket/x", "give keys through the environment"),
        ("nothing://bucket", "no store that can be read"),
        ("broken.tar", "broken archive"),
    ],
)
def test_what_cannot_be_a_source_is_one_line(given: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "tables").mkdir()
    parquet.write_table(pa.table({"image": ["a.png"]}), tmp_path / "tables" / "a.parquet")
    (tmp_path / "t.csv").write_text("picture_of,text\na.png,b\n")
    (tmp_path / "broken.tar").write_bytes(b"no archive")
    with pytest.raises(InputError, match=words) as raised:
        open_source(given if "://" in given else str(tmp_path / given))
    assert "secret@" not in str(raised.value)


@pytest.fixture(autouse=True)
def _nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refuse(*_: object) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
