"""Whole files that appear at once, and lines that survive kill -9: for everyone who writes.

    with whole_file(path) as unfinished: ...    any library writes it; whoever reads `path` never sees half
    with whole_folder(path) as unfinished: ...  the same for a folder of files
    with Journal(path) as journal: journal.append(line)

Until it is done, what becomes NAME is called `.NAME.unfinished`, and is locked; after a kill the next writer of NAME
takes it over. Files are as open as the folder they are in, and folders of runs are for their owner alone.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

from .errors import InputError, Notice
from .limits import beyond, limits

UNFINISHED: Final = ".unfinished"
LONGEST_NAME: Final = 255 - len(f".{UNFINISHED}")

SHARE: Final = "HOLISAFE_SHARE"
"""Environment variable: set to anything, folders of runs are made as the umask says rather than for their owner."""

SYNC_SECONDS: Final = 1.0
"""Lines are handed to the system one by one, which survives a kill, and to the disk this often, for a power cut."""

FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""No room: nothing is wrong with the place, and the same command goes on once there is some."""

NO_PLACE: Final = (
    *(errno.EROFS, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP),
    *(errno.EEXIST, errno.ENOTEMPTY, errno.ENXIO, errno.ETXTBSY, errno.ESTALE),
)
NO_LOCKS: Final = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF)  # EBADF: NFS, for a folder
NO_SYNC: Final = (errno.EINVAL, errno.EOPNOTSUPP, errno.EBADF)


@contextmanager
def said_of(path: Path) -> Iterator[None]:
    """Give what the system says against a place, or the folders above, as one line about it.

    Raises InputError for a place where nothing can be written; OSError naming the file where there is no room.
    """
    try:
        yield
    except OSError as error:
        folder = Path(os.path.realpath(error.filename or path)).parent
        if not Path(os.path.realpath(path)).is_relative_to(folder):
            raise
        if error.errno in FULL:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        if error.errno in NO_PLACE:
            raise InputError(f"cannot be written ({os.strerror(error.errno)})", where=path) from None
        raise


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Gives the name to write under; what was written there becomes `path` at the end, and nothing does on an error.

    Folders above are made; a link is followed; a pipe or device is written as it is. Raises as `said_of`.
    """
    with said_of(path):
        whole = Path(os.path.realpath(path))
        if whole.is_dir():
            raise InputError("is a folder", where=path)
        if whole.exists() and not whole.is_file():
            yield whole
            return
        whole.parent.mkdir(parents=True, exist_ok=True)
        unfinished = _unfinished(whole)
        held = _held(unfinished, os.O_CREAT | os.O_RDWR, wait=True)
        try:
            yield unfinished
            _to_disk(unfinished)
            unfinished.replace(whole)
            _to_disk(whole.parent)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        finally:
            os.close(held)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Gives an empty folder to fill, which becomes `path`, new or empty, at the end; nothing does on an error.

    Raises InputError when another process is filling it, or `path` holds something; else as `said_of`.
    """
    with said_of(path):
        whole = Path(os.path.realpath(path))
        unfinished = _unfinished(whole)
        unfinished.mkdir(parents=True, exist_ok=True)
        held = _held(unfinished, os.O_RDONLY)
        try:
            for left in unfinished.iterdir():  # by a call that was killed
                _remove(left)
            yield unfinished
            for file in filter(Path.is_file, unfinished.rglob("*")):
                file.chmod(_mode(file))  # safetensors writes for the owner alone, whatever the umask
                _to_disk(file)
            unfinished.replace(whole)
            _to_disk(whole.parent)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        finally:
            os.close(held)


def clean(folder: Path, *more: str) -> None:
    """Remove what killed writers left in a folder, and files called as in `more`; what is being written stays."""
    for path in (*folder.glob(f".*{UNFINISHED}"), *(folder / name for name in more)):
        with suppress(InputError, OSError):
            held = _held(path, os.O_RDONLY)
            _remove(path)
            os.close(held)


def write_text(path: Path, text: str) -> None:
    """Write a file whole. What UTF-8 cannot hold, half a surrogate pair, is written as its escape."""
    with whole_file(path) as unfinished:
        unfinished.write_bytes(text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """A JSON file's value. Raises InputError when it cannot be read, is too large, or is no JSON."""
    with _opened(path) as file:
        content = file.read(limits().value + 1)
    if len(content) > limits().value:
        raise beyond("value", "bytes", path)
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON ({error})", where=path) from None


def typed_json(kind: Any, text: str | bytes) -> Any:
    """The value that a text of JSON holds, where it is of this kind, a TypedDict say; None for anything else."""
    try:
        return _kind(kind).validate_json(text, strict=True)
    except ValueError:
        return None


@cache
def _kind(kind: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The whole lines of a file with their numbers from 1; none without a file; a torn last line is left out.

    Raises InputError for a line that is not UTF-8 or too long, and for a file that cannot be read.
    """
    if not path.exists():
        return
    most = limits().value
    with _opened(path) as file:
        for row in count(1):
            line = file.readline(most)
            if not line.endswith(b"\n"):
                if len(line) == most:
                    raise beyond("value", "bytes", path, row)
                return
            try:
                yield row, line[:-1].decode("utf-8")
            except UnicodeDecodeError:
                raise InputError("not UTF-8", where=path, row=row) from None


def read_whole_lines(path: Path) -> bytes:
    """All the lines at once, as `read_lines`. A file that stands for endless bytes is refused at the first of them."""
    pieces, most = [], limits().value
    if path.exists():
        with _opened(path) as file:
            while piece := file.read(most):
                pieces.append(piece)
                if len(piece) == most and b"\n" not in piece:
                    raise beyond("value", "bytes", path)
    content = b"".join(pieces)
    return content[: content.rfind(b"\n") + 1]


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """A regular file, opened for reading. Raises InputError for anything else, and for what the system refuses."""
    try:
        if path.exists() and not path.is_file():
            raise InputError("is a folder, a pipe or a device", where=path)
        with path.open("rb") as file:
            yield file
    except FileNotFoundError:
        raise InputError("no such file", where=path) from None
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", where=path) from None


class Journal:
    """A file of lines, opened for appending by one process at a time. A torn last line is cut off.

    Raises InputError when another process has it; else as `said_of`.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._file, self._synced, self._waiting = path, -1, 0.0, False

    def __enter__(self) -> Journal:
        with said_of(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_APPEND, _mode(self.path))
        try:
            lock(self._file, self.path)
            with said_of(self.path):
                _cut_torn_line(self._file, self.path)
        except BaseException:
            os.close(self._file)
            raise
        return self

    def lines(self) -> Iterator[tuple[int, str]]:
        """What it holds, as `read_lines`."""
        return read_lines(self.path)

    def append(self, *lines: str) -> int:
        """Write lines, given without their ends; once this returns, killing the process does not lose them.

        Gives the byte at which the first of them begins.

        Raises OSError when the disk does not take them all; what it took of them is removed again.
        """
        rest = "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")
        self._waiting = True
        with said_of(self.path):
            whole = os.fstat(self._file).st_size
            try:
                while rest:
                    rest = rest[os.write(self._file, rest) :]
            except OSError:
                with suppress(OSError):
                    os.ftruncate(self._file, whole)
                raise
        if time.monotonic() - self._synced >= SYNC_SECONDS:
            self.sync()
        return whole

    def sync(self) -> None:
        """Wait until the disk has every line."""
        if self._waiting:
            with said_of(self.path):
                _sync(self._file)
            self._synced, self._waiting = time.monotonic(), False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.sync()
        finally:
            os.close(self._file)


def make_private(folder: Path) -> None:
    """Make a folder, unless there is one, for its owner alone; with `HOLISAFE_SHARE` set, as the umask says."""
    with said_of(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o777 if os.environ.get(SHARE) else 0o700, exist_ok=True)


def lock(descriptor: int, path: Path, *, wait: bool = False) -> None:
    """Keep other processes out of an open file until it is closed. Raises InputError when one is in it already.

    Where the file system knows no locks, says so once and goes on.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise InputError("another process is writing it", where=path) from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        warnings.warn("this file system has no locks: let one process at a time write here", Notice, stacklevel=2)


@contextmanager
def locked(path: Path, of: Path) -> Iterator[None]:
    """Keep other processes out of `of` by a lock file. Raises InputError when one is in it already."""
    with said_of(of):
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, _mode(path))
    try:
        lock(descriptor, of)
        yield
    finally:
        os.close(descriptor)


def _held(path: Path, flags: int, *, wait: bool = False) -> int:
    """Open and lock what may be renamed or removed by whoever had it before; the descriptor."""
    while True:
        descriptor = os.open(path, flags, _mode(path))
        try:
            lock(descriptor, path, wait=wait)
            with suppress(FileNotFoundError):
                if os.path.samestat(path.stat(), os.fstat(descriptor)):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _unfinished(path: Path) -> Path:
    """What a file is called until it is whole. A name too long for that is cut: two such files wait for each other."""
    return path.with_name(f".{os.fsdecode(os.fsencode(path.name)[:LONGEST_NAME])}{UNFINISHED}")


def _mode(path: Path) -> int:
    """How open a file in its folder is; the umask comes on top."""
    return 0o666 & path.parent.stat().st_mode


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        _sync(descriptor)
    finally:
        os.close(descriptor)


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise


def _cut_torn_line(descriptor: int, path: Path, block: int = 1 << 16) -> None:
    """Cut off what follows the last line's end. Raises InputError where that is more than any line of ours."""
    size = start = os.fstat(descriptor).st_size
    while start:
        if size - start > limits().value:
            raise beyond("value", "bytes without a line's end", path)
        end, start = start, max(0, start - block)
        found = os.pread(descriptor, end - start, start).rfind(b"\n")
        if found >= 0:
            start += found + 1
            break
    if start != size:
        os.ftruncate(descriptor, start)
