"""Links: a snapshot of the hub's cache is nothing but links, and a picture folder on another disk is one."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.test_figstep import tiny as figstep_tiny  # noqa: F401
from benchmarks.test_holisafe_bench import release as holisafe_bench  # noqa: F401
from benchmarks.test_mm_safetybench import small as mm_safetybench  # noqa: F401
from benchmarks.test_mmsafeaware import release as mmsafeaware  # noqa: F401
from benchmarks.test_mssbench import release as mssbench  # noqa: F401
from benchmarks.test_siuo import release as siuo  # noqa: F401
from benchmarks.test_vlguard import release as vlguard  # noqa: F401
from benchmarks.test_vlsbench import release as vlsbench  # noqa: F401
from holisafe.benchmarks import open_benchmark
from holisafe.benchmarks.check import check
from holisafe.errors import InputError

COMMIT = "0123456789abcdef0123456789abcdef01234567"

RELEASES = {
    name: name.replace("-", "_")
    for name in (
        "holisafe-bench",
        "figstep-tiny",
        "mm-safetybench",
        "mmsafeaware",
        "mssbench",
        "siuo",
        "vlguard",
        "vlsbench",
    )
}


def as_snapshot(release: Path, cache: Path) -> Path:
    """The release as the hub's client keeps it: contents in `blobs`, and links to them."""
    snapshot, blobs = cache / "snapshots" / COMMIT, cache / "blobs"
    blobs.mkdir(parents=True)
    for path in sorted(path for path in release.rglob("*") if path.is_file()):
        link = snapshot / path.relative_to(release)
        link.parent.mkdir(parents=True, exist_ok=True)
        blob = blobs / hashlib.sha256(path.read_bytes()).hexdigest()
        blob.write_bytes(path.read_bytes())
        up = "/".join([".."] * (len(link.relative_to(cache).parts) - 1))
        link.symlink_to(f"{up}/blobs/{blob.name}")
    return snapshot


@pytest.mark.parametrize("name", RELEASES)
def test_a_snapshot_of_the_hub_holds_what_its_files_hold(
    name: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> None:
    release: Path = request.getfixturevalue(RELEASES[name])
    snapshot = as_snapshot(release, tmp_path_factory.mktemp("hub") / "datasets--some--thing")
    read = open_benchmark(name, snapshot)
    assert read.revision == COMMIT
    assert read.samples == open_benchmark(name, release).samples
    picture = read.pictures(next(sample for sample in read.samples if sample.images))[0]
    assert picture.file() is not None
    assert picture.open().size


def test_a_snapshot_with_its_pictures_packed_is_read_as_it_is(
    vlsbench: Path,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = open_benchmark("vlsbench", vlsbench)
    with tarfile.open(vlsbench / "imgs.tar", "w") as packed:
        packed.add(vlsbench / "imgs", "./imgs")
    shutil.rmtree(vlsbench / "imgs")
    cache = tmp_path_factory.mktemp("hub") / "datasets--Foreshhh--vlsbench"
    snapshot = as_snapshot(vlsbench, cache)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache.parent))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    read = open_benchmark("vlsbench", "hub:")
    assert (read.root, read.revision) == (snapshot, COMMIT)
    assert read.content_hash() == before.content_hash()
    (snapshot / "imgs.tar").unlink()
    elsewhere = tmp_path_factory.mktemp("secret") / "imgs.tar"
    next(blob for blob in (cache / "blobs").iterdir() if tarfile.is_tarfile(blob)).rename(elsewhere)
    (snapshot / "imgs.tar").symlink_to(elsewhere)
    with pytest.raises(InputError, match=r"'imgs\.tar' leads outside its folder through a link"):
        open_benchmark("vlsbench", "hub:").content_hash()


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """A table whose pictures lie on another disk, and one that is a link of its own."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "data").mkdir()
    for name, colour in (("a", "red"), ("b", "blue")):
        Image.new("RGB", (4, 3), colour).save(tmp_path / "disk" / f"{name}.png")
    (tmp_path / "data" / "pictures").symlink_to(tmp_path / "disk")
    (tmp_path / "data" / "b.png").symlink_to(tmp_path / "disk" / "b.png")
    table = tmp_path / "data" / "t.csv"
    table.write_text("query,image,expected\nWhat?,pictures/a.png,answer\nWho?,b.png,answer\n")
    return table


def test_what_leads_out_is_refused_and_followed_when_asked(linked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faults, _ = check("table", linked)
    assert [(fault.row, "--follow-links allows it" in fault.problem) for fault in faults] == [(1, True), (2, True)]
    with pytest.raises(InputError, match=r"row 1, field 'image': .*--follow-links"):
        open_benchmark("table", linked)
    monkeypatch.setenv("HOLISAFE_FOLLOW_LINKS", "1")
    assert check("table", linked)[0] == []
    benchmark = open_benchmark("table", linked)
    assert benchmark.open_image("pictures/a.png").getpixel((0, 0)) == (255, 0, 0)
    assert len(benchmark.content_hash()) == 16
    linked.write_text("query,image,expected\nWhat?,../disk/a.png,answer\n")
    with pytest.raises(InputError, match=r"leads outside its folder$"):
        open_benchmark("table", linked)


def test_blobs_that_lie_elsewhere_are_no_part_of_a_snapshot(tmp_path: Path) -> None:
    (tmp_path / "cache" / "snapshots" / COMMIT).mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    Image.new("RGB", (4, 3)).save(tmp_path / "secret" / "a.png")
    (tmp_path / "cache" / "blobs").symlink_to(tmp_path / "secret")
    snapshot = tmp_path / "cache" / "snapshots" / COMMIT
    (snapshot / "a.png").symlink_to("../../blobs/a.png")
    (snapshot / "t.csv").write_text("query,image,expected\nWhat?,a.png,answer\n")
    with pytest.raises(InputError, match="through a link"):
        open_benchmark("table", snapshot / "t.csv")
