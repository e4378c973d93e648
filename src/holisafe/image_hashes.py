"""Pixel hashes of image files, kept from one command to the next: a file that has not changed is not decoded again.

    $XDG_CACHE_HOME/holisafe/pixels.sqlite, or the same in ~/.cache

A hash is kept under the file's path, inode, size and both of its times, to the nanosecond; one of these changes
whenever the file does. A file changed in the last seconds is not kept, for the clock may tick too slowly to show a
further change. Only hashes are kept, never names. A cache that anyone else may write to is not used, a broken one is
made anew.
"""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
import stat
import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType

import PIL

from .images import ImageFile, decoded, pixel_hash, pixel_limit

RULES = 1
"""To be raised whenever `images` makes other pixels of the same file."""

SETTLED_SECONDS = 2.0
MOST = 200_000
"""Hashes that are kept; the oldest go first. They take about 20 MB."""


class KeptHashes:
    """The cache, open. Use as `with KeptHashes() as kept:`; it is written when that ends. For any number of threads."""

    def __init__(self) -> None:
        home = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
        self.path = Path(home, "holisafe", "pixels.sqlite")
        self._known: sqlite3.Connection | None = None
        self._found: dict[bytes, str] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> KeptHashes:
        with suppress(OSError, sqlite3.OperationalError):
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600))
            if all(map(_ours_alone, (self.path.parent, self.path))):
                known = sqlite3.connect(self.path, timeout=5, check_same_thread=False)
                try:
                    known.execute("CREATE TABLE IF NOT EXISTS pixels (file BLOB PRIMARY KEY, hash TEXT)")
                    self._known = known
                except sqlite3.DatabaseError as error:
                    known.close()
                    if not isinstance(error, sqlite3.OperationalError):  # it is no database, rather than in use
                        self.path.unlink()
        return self

    def hash(self, file: ImageFile) -> str:
        """The hash of the image's pixels. Raises InputError when it is missing or broken."""
        before = _identity(file)
        if before is not None and (known := self._get(before)) is not None:
            return known
        with decoded(file.read(), file.path) as image:
            value = pixel_hash(image)
        if before is not None and _settled(file.path):
            with self._lock:
                self._found[before] = value
        return value

    def _get(self, identity: bytes) -> str | None:
        with self._lock, suppress(sqlite3.Error):
            row = self._known and self._known.execute("SELECT hash FROM pixels WHERE file = ?", (identity,)).fetchone()
            if row and isinstance(row[0], str) and re.fullmatch("[0-9a-f]{16}", row[0]):
                return row[0]
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._known is None:
            return
        with closing(self._known), suppress(sqlite3.Error), self._known as known:
            if self._found:
                known.executemany("INSERT OR REPLACE INTO pixels VALUES (?, ?)", self._found.items())
                newest = known.execute("SELECT max(rowid) FROM pixels").fetchone()[0]
                known.execute("DELETE FROM pixels WHERE rowid <= ?", (newest - MOST,))


def _ours_alone(path: Path) -> bool:
    """Whether nobody else may write there."""
    found = path.lstat()
    return found.st_uid == os.getuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _identity(file: ImageFile) -> bytes | None:
    """What changes whenever the file does, or the way it is decoded; None when there is no such file."""
    try:
        found = file.path.stat()
    except OSError:
        return None
    times = found.st_mtime_ns, found.st_ctime_ns
    rules = RULES, PIL.__version__, pixel_limit()
    told = (os.fsencode(file.path.absolute()), file.part, found.st_ino, found.st_size, *times, *rules)
    return hashlib.sha256(repr(told).encode()).digest()


def _settled(path: Path) -> bool:
    return time.time() - path.stat().st_ctime > SETTLED_SECONDS
