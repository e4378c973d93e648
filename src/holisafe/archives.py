"""Pictures in an archive that was not unpacked: `test/a.png` in `test.zip` or `test.tar`, where `test/` would lie.

Benchmarks come like that from the hub, whose cache nobody should unpack in. Members are read one by one, never written
anywhere; those of a compressed tar cannot be, so that has to be unpacked.
"""

from __future__ import annotations

import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from .errors import InputError

CLOSED = (".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".7z", ".rar")
"""Archives that only unpacking opens."""


class Member(NamedTuple):
    """A file in an archive; `size` is what it says it takes."""

    name: str
    size: int
    read: Callable[[], bytes]


def archives(folder: Path, name: str) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """The archives beside the missing folders on the way to `name`, and the names that it may have in each."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    for depth in range(1, len(parts)):
        home = folder.joinpath(*parts[:depth])
        for suffix in (".zip", ".tar", *CLOSED):
            archive = home.with_name(home.name + suffix)
            if archive.is_file() and not home.is_dir():
                yield archive, tuple("/".join(parts[start:]) for start in (0, depth - 1, depth))


def member(archive: Path, names: tuple[str, ...]) -> Member | None:
    """The first of the names that the archive holds. Raises InputError for one that only unpacking opens."""
    if archive.name.endswith(CLOSED):
        raise InputError(f"{archive.name} is not unpacked")
    found = archive.stat()
    try:
        members = _members(archive, os.getpid(), found.st_mtime_ns, found.st_size)
    except (OSError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise InputError(f"broken archive ({error})", where=archive) from None
    return next((members[name] for name in names if name in members), None)


@lru_cache(maxsize=8)
def _members(archive: Path, process: int, *changes: int) -> dict[str, Member]:
    """What an archive holds, by name. It stays open, and a process does not share its place in it with another."""
    if archive.suffix == ".zip":
        file = zipfile.ZipFile(archive)
        return {one.filename: Member(one.filename, one.file_size, partial(file.read, one)) for one in file.infolist()}
    with tarfile.open(archive, "r:") as tar:
        return {
            one.name.removeprefix("./"): Member(one.name, one.size, partial(_part, archive, one.offset_data, one.size))
            for one in tar
            if one.isfile()
        }


def _part(archive: Path, start: int, size: int) -> bytes:
    with archive.open("rb") as file:
        file.seek(start)
        return file.read(size)
