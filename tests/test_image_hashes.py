"""Kept pixel hashes: decoded once while the file stays the same, and never when anything about it changed."""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from holisafe import image_hashes, images
from holisafe.errors import InputError
from holisafe.image_hashes import KeptHashes
from holisafe.images import ImageFile, open_image, pixel_hash, read_bytes


class Counted:
    """An image file that counts how often it is read."""

    def __init__(self, path: Path, part: str = "") -> None:
        self.path, self.part, self.reads = path, part, 0

    def file(self) -> ImageFile:
        return ImageFile(self.path, self.read, self.part)

    def read(self) -> bytes:
        self.reads += 1
        return read_bytes(self.path)


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the cache is; files count as settled at once."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(image_hashes, "SETTLED_SECONDS", -60.0)
    return tmp_path / "cache" / "holisafe" / "pixels.sqlite"


def noise(path: Path, seed: int = 0) -> Path:
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (9, 7, 3), dtype=np.uint8)).save(path)
    return path


def hashed(*files: Counted) -> list[str]:
    with KeptHashes() as kept:
        return [kept.hash(one.file()) for one in files]


def test_a_file_is_decoded_once_and_its_hash_is_that_of_its_pixels(tmp_path: Path, kept: Path) -> None:
    one, other = (Counted(noise(tmp_path / f"{n}.png", n)) for n in range(2))
    expected = [pixel_hash(open_image(file.path)) for file in (one, other)]
    assert [hashed(one, other) for _ in range(3)] == [expected] * 3
    assert (one.reads, other.reads) == (1, 1)
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.parent.stat().st_mode & 0o777 == 0o700


def test_any_change_is_noticed(tmp_path: Path, kept: Path) -> None:
    """Also one that puts size and time of change back as they were."""
    file = Counted(tmp_path / "x.bmp")
    noise(file.path)
    first, times = hashed(file), (file.path.stat().st_atime_ns, file.path.stat().st_mtime_ns)
    noise(tmp_path / "y.bmp", 1)
    assert (tmp_path / "y.bmp").stat().st_size == file.path.stat().st_size
    changed = [lambda: file.path.write_bytes((tmp_path / "y.bmp").read_bytes())]
    changed.append(lambda: (tmp_path / "y.bmp").replace(noise(file.path)))
    for change in changed:
        change()
        os.utime(file.path, ns=times)
        assert hashed(file) == [pixel_hash(open_image(file.path))] != first


def test_pictures_in_one_file_stay_apart_and_so_do_rules(
    tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = noise(tmp_path / "x.png")
    one, other = Counted(path, "0/1"), Counted(path, "0/2")
    hashed(one, other)
    assert (one.reads, other.reads) == (1, 1)
    monkeypatch.setattr(image_hashes, "RULES", 99)
    hashed(one)
    monkeypatch.setenv(images.LIMIT_VARIABLE, "10")
    with pytest.raises(InputError, match="limit"):
        hashed(one)


def test_a_file_that_has_just_changed_is_not_kept(tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_hashes, "SETTLED_SECONDS", 3600.0)
    file = Counted(noise(tmp_path / "x.png"))
    hashed(file)
    hashed(file)
    assert file.reads == 2


def test_a_file_that_changes_while_it_is_read_is_read_again(tmp_path: Path, kept: Path) -> None:
    file = Counted(noise(tmp_path / "x.png"))
    read = file.read

    def change() -> bytes:
        data = read()
        noise(file.path, 1)
        return data

    file.read = change  # type: ignore[method-assign]
    first = hashed(file)
    file.read = read  # type: ignore[method-assign]
    assert hashed(file) == [pixel_hash(open_image(file.path))] != first


def broken(path: Path) -> None:
    path.write_bytes(b"no database at all" * 99)


def poisoned(path: Path) -> None:
    with sqlite3.connect(path) as known:
        known.execute("UPDATE pixels SET hash = 'not a hash'")


def foreign(path: Path) -> None:
    path.chmod(0o666)


def linked(path: Path) -> None:
    path.rename(path.with_suffix(".real"))
    path.symlink_to(path.with_suffix(".real"))


def open_to_all(path: Path) -> None:
    path.parent.chmod(0o777)


@pytest.mark.parametrize("harm", [broken, poisoned, foreign, linked, open_to_all, Path.unlink])
def test_a_cache_that_cannot_be_trusted_is_not_used(tmp_path: Path, kept: Path, harm: object) -> None:
    file = Counted(noise(tmp_path / "x.png"))
    first = hashed(file)
    harm(kept)  # type: ignore[operator]
    assert hashed(file) == first
    assert file.reads == 2
    hashed(file)
    assert file.reads == (2 if harm in (poisoned, Path.unlink) else 3)


def test_no_place_for_a_cache_is_no_fault(tmp_path: Path, kept: Path) -> None:
    kept.parent.parent.write_text("a file")
    file = Counted(noise(tmp_path / "x.png"))
    assert hashed(file) == hashed(file)


def test_the_oldest_go(tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_hashes, "MOST", 3)
    files = [Counted(noise(tmp_path / f"{n}.png", n)) for n in range(5)]
    hashed(*files)
    with sqlite3.connect(kept) as known:
        assert known.execute("SELECT count(*) FROM pixels").fetchone() == (3,)
    hashed(*files[2:])
    assert [file.reads for file in files] == [1] * 5


def test_threads_and_processes_share_it(tmp_path: Path, kept: Path) -> None:
    files = [Counted(noise(tmp_path / f"{n}.png", n)) for n in range(20)]
    threads = [threading.Thread(target=hashed, args=files[n::2]) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    hashed(*files)
    assert {file.reads for file in files} == {1}
