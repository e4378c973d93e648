"""Where files lie: a folder of this machine, or one of an object store through fsspec (s3://, gs://, memory:// ...).

Names are relative, with slashes. What a table names stays in the table's folder, and no URL in data is ever fetched.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol

from ..errors import InputError
from ..images import BYTES_PER_PIXEL, FOLLOW_VARIABLE, LIMIT_VARIABLE, not_led_out, pixel_limit, read_bytes, stored


class Store(Protocol):
    """Files below one place. All but `walk` raise InputError for what is not there or cannot be read."""

    @property
    def place(self) -> str: ...

    def walk(self) -> Iterator[str]:
        """The names of all files, folder by folder, in order within each; no more is held than one folder's names. The
        name of a folder that cannot be listed ends in a slash."""
        ...

    def read(self, name: str, start: int = 0, size: int | None = None) -> bytes:
        """A file's bytes, or a part of it; no more than any image needs."""
        ...

    def named(self, folder: str, name: str) -> bytes:
        """The bytes of the file that a table in `folder` calls `name`."""
        ...

    def open(self, name: str) -> IO[bytes]: ...

    @contextmanager
    def here(self, name: str) -> Iterator[Path]:
        """The file as one of this machine, while it is needed."""
        ...


@dataclass(frozen=True)
class LocalFolder:
    """A folder of this machine. Links lead nowhere outside of it, but with `--follow-links`."""

    root: Path

    @property
    def place(self) -> str:
        return str(self.root.absolute())

    def walk(self) -> Iterator[str]:
        following, gone_into = os.environ.get(FOLLOW_VARIABLE) == "1", set[Path]()
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            real = (self.root / folder).resolve()
            if real in gone_into:  # links in a circle
                continue
            gone_into |= {real} if following else set()
            try:
                with os.scandir(self.root / folder) as listing:
                    entries = sorted((entry.name, entry.is_dir(follow_symlinks=following)) for entry in listing)
            except OSError:
                yield f"{folder}/"
                continue
            inner = []
            for name, is_folder in entries:
                path = f"{folder}/{name}" if folder else name
                if is_folder:
                    inner.append(path)
                else:
                    yield path
            waiting += reversed(inner)

    def read(self, name: str, start: int = 0, size: int | None = None) -> bytes:
        path = not_led_out(self.root, self.root / name)
        if size is None:
            return read_bytes(path)
        with self.open(name) as file:
            file.seek(start)
            return file.read(_within(size, name))

    def named(self, folder: str, name: str) -> bytes:
        return stored(self.root / folder, name).read()

    def open(self, name: str) -> IO[bytes]:
        path = not_led_out(self.root, self.root / name)
        try:
            return path.open("rb")
        except OSError as error:
            raise InputError(f"cannot be read ({error.strerror})", where=path) from None

    @contextmanager
    def here(self, name: str) -> Iterator[Path]:
        yield not_led_out(self.root, self.root / name)


@dataclass(frozen=True)
class RemoteFolder:
    """A folder of an object store. Keys are taken as the store's own library finds them: from the environment."""

    address: str
    files: Any
    root: str

    @property
    def place(self) -> str:
        return self.address

    def walk(self) -> Iterator[str]:
        with self._saying(self.address):
            for folder, inner, names in self.files.walk(self.root):
                inner.sort()
                for name in sorted(names):
                    yield f"{folder}/{name}".removeprefix(self.root).lstrip("/")

    def read(self, name: str, start: int = 0, size: int | None = None) -> bytes:
        most = _most_bytes()
        with self._saying(name):
            end = start + _within(size, name) if size is not None else most + 1
            data: bytes = self.files.cat_file(self._path(name), start=start, end=end)
        _within(len(data), name)
        return data

    def named(self, folder: str, name: str) -> bytes:
        parts = PurePosixPath(name.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or not parts.parts:
            raise InputError(f"{name!r} leads outside its folder")
        return self.read(str(PurePosixPath(folder, parts)))

    def open(self, name: str) -> IO[bytes]:
        with self._saying(name):
            file: IO[bytes] = self.files.open(self._path(name), "rb")
            return file

    @contextmanager
    def here(self, name: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="holisafe-") as folder:
            path = Path(folder, PurePosixPath(name).name)
            with self._saying(name), self.open(name) as there, path.open("wb") as copy:
                shutil.copyfileobj(there, copy, 1 << 20)
            yield path

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}" if self.root else name

    @contextmanager
    def _saying(self, name: str) -> Iterator[None]:
        """What a store's library raises, which may be anything, as a fault of the file."""
        try:
            yield
        except InputError:
            raise
        except FileNotFoundError:
            raise InputError("no such image" if "." in name else "no such file", where=name) from None
        except Exception as error:  # noqa: BLE001
            said = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
            raise InputError(f"cannot be read ({said})", where=name) from None


def remote_folder(address: str) -> RemoteFolder:
    """A folder by its address. Raises InputError for an address with a secret in it, one of no known kind, and where
    the library for it is missing."""
    kind, _, rest = address.partition("://")
    if "@" in rest.split("/")[0] or "::" in address:
        raise InputError("give keys through the environment, not in an address", where=f"{kind}://...")
    try:
        import fsspec
    except ModuleNotFoundError:
        raise InputError("this needs fsspec, try: pip install 'holisafe[remote]'", where=address) from None
    try:
        files, root = fsspec.core.url_to_fs(address)
    except (ValueError, ImportError, OSError) as error:
        raise InputError(f"no store that can be read ({error})", where=address) from None
    return RemoteFolder(address.rstrip("/"), files, str(root).rstrip("/"))


def _most_bytes() -> int:
    return BYTES_PER_PIXEL * pixel_limit()


def _within(size: int, name: str) -> int:
    """The size, as far as any image needs so much. Raises InputError for more."""
    if size > (most := _most_bytes()):
        raise InputError(f"more than {most:,} bytes ({LIMIT_VARIABLE} raises the limit)", where=name)
    return size
