"""The Ray engine gives the rows that a local scan gives, and either goes on with what the other began."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

import ray
from bright_guard import environment, paint
from holisafe.errors import InputError
from holisafe.scanning.folder import part_files
from holisafe.scanning.scan import scan


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Ray on this machine, its workers with the guard that the tests use."""
    before = dict(os.environ)
    os.environ.update(environment(tmp_path_factory.mktemp("plugin")))
    for left in (2, 1, 0):  # Ray gives a machine half a minute to start, which a busy one may need twice
        try:
            ray.init(num_cpus=2, object_store_memory=100 << 20, include_dashboard=False, log_to_driver=False)
            break
        except Exception:
            ray.shutdown()
            if not left:
                raise
    yield
    ray.shutdown()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Pictures in folders and in a shard, copies among them also across these, and what goes wrong."""
    root = tmp_path / "photos"
    for number in range(60):
        paint(root / "abc"[number % 3] / f"{number}.png", number)
    (root / "c" / "copy.png").write_bytes((root / "b" / "1.png").read_bytes())
    (root / "a" / "broken.png").write_bytes(b"\x89PNG no more")
    (root / "a" / "gone.png").symlink_to(root / "nowhere.png")
    with tarfile.open(root / "d.tar", "w") as tar:
        for number in range(20):
            content = paint(tmp_path / "more.png", 50 + number).read_bytes()
            info = tarfile.TarInfo(f"{number}.png")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    (root / "no.tar").write_bytes(b"no archive")
    return root


def rows(out: Path) -> dict[str, dict[str, Any]]:
    """Each row once, without the small pictures, of which every actor keeps its own."""
    found = [row for path in part_files(out) for row in parquet.read_table(path).to_pylist()]
    assert max(Counter(row["id"] for row in found).values()) == 1
    return {row["id"]: {**row, "thumb": None} for row in found}


def test_a_folder_with_shards(photos: Path, tmp_path: Path) -> None:
    here = scan(str(photos), "bright/-", tmp_path / "here")
    there = scan(str(photos), "bright/-", tmp_path / "there", engine="ray", workers=2)
    assert rows(tmp_path / "there") == rows(tmp_path / "here")
    assert there == here, "also the sample"
    assert here["copies"] == 11
    assert not (tmp_path / "there" / "listings").exists()


@pytest.mark.parametrize("form", ["bytes.parquet", "paths.csv"])
def test_pairs_in_a_table(form: str, photos: Path, tmp_path: Path) -> None:
    names = [f"{'abc'[number % 3]}/{number}.png" for number in range(30)]
    texts = [f"text {number % 7}" + (" unsafe" if number == 4 else "") for number in range(30)]
    if form == "bytes.parquet":
        column = [(photos / name).read_bytes() for name in names]
        parquet.write_table(pa.table({"image": column, "text": texts}), photos / form, row_group_size=7)
    else:
        lines = [f"{name},{text}\n" for name, text in zip(names, texts, strict=True)]
        (photos / form).write_text("image,text\n" + "".join(lines))
    given = (str(photos / form), "bright/-,pairs=yes")
    scan(*given, tmp_path / "here")
    scan(*given, tmp_path / "there", engine="ray")
    assert rows(tmp_path / "there") == rows(tmp_path / "here")
    assert len(rows(tmp_path / "here")) == 30


def test_either_engine_goes_on_with_the_other(photos: Path, tmp_path: Path) -> None:
    whole = scan(str(photos), "bright/-", tmp_path / "whole")
    log = tmp_path / "log"
    out, guard = tmp_path / "out", f"bright/{log}"
    scan(str(photos), guard, out, engine="ray")
    for number in range(5):
        paint(photos / "later" / f"{number}.png", 900 + number)
    (photos / "later" / "copy.png").write_bytes((photos / "later" / "1.png").read_bytes())
    log.unlink()
    (out / "scan.json").write_text((out / "scan.json").read_text())
    found = scan(str(photos), guard, out)
    assert sorted(log.read_text().split()) == [f"later/{number}.png" for number in (0, 1, 2, 3, 4)]
    assert found["n"] == whole["n"] + 6
    assert rows(out)["later/copy.png"]["copy_of"] == "later/1.png"


def test_killed_on_the_way_no_row_is_twice_and_none_is_missing(photos: Path, tmp_path: Path) -> None:
    log, out = tmp_path / "log", tmp_path / "out"
    scan(str(photos), "bright/-", tmp_path / "calm")
    code = (
        "import ray; from pathlib import Path; from holisafe.scanning.scan import scan\n"
        "ray.init(num_cpus=1, object_store_memory=100 << 20, include_dashboard=False, log_to_driver=False)\n"
        f"scan({str(photos)!r}, 'bright/{log},delay=0.05', Path({str(out)!r}), engine='ray')\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not log.exists() and process.poll() is None:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not part_files(out)
    scan(str(photos), f"bright/{log},delay=0.05", out, engine="ray")
    assert rows(out) == rows(tmp_path / "calm")


def test_a_guard_that_is_open_here_cannot_be_sent(photos: Path, tmp_path: Path) -> None:
    from bright_guard import BrightGuard

    with pytest.raises(InputError, match="other machines open the guard by its spec"):
        scan(str(photos), BrightGuard(), tmp_path / "out", engine="ray")
