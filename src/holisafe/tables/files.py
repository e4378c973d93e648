"""Files before anything is read of them: regular ones, of the form that their name tells, opened as text."""

from __future__ import annotations

import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from ..errors import InputError
from ..limits import beyond, limits

SIGNATURES = {
    b"\x1f\x8b": "it is compressed with gzip: unpack it first",
    b"BZh91AY&SY": "it is compressed with bzip2: unpack it first",
    b"\xfd7zXZ": "it is compressed with xz: unpack it first",
    b"\x28\xb5\x2f\xfd": "it is compressed with zstd: unpack it first",
    b"\xff\xfe": "it is UTF-16 text: save it as UTF-8",
    b"\xfe\xff": "it is UTF-16 text: save it as UTF-8",
    b"PK\x03\x04": "it is a zip archive or a workbook: call it .xlsx, or unpack it",
    b"PAR1": "it is a parquet file: call it .parquet",
    b"\xd0\xcf\x11\xe0": "it is an old workbook, or one with a password: save it as .xlsx without one",
    b"version https://git-lfs": "it is a Git LFS pointer, not the file itself: git lfs pull fetches that",
    b"<!DOCTYPE": "it is a web page",
    b"<html": "it is a web page",
    b"%PDF": "it is a PDF document",
    b"SQLite format 3": "it is an SQLite database",
    b"ARROW1": "it is an Arrow file: save it as .parquet",
}
"""How files begin that are often called by another form's name, and what is said of them."""

OWN = {".xlsx": b"PK\x03\x04", ".parquet": b"PAR1"}


def read_text(path: Path) -> str:
    """A text file without its byte order mark, whatever it is called. Raises InputError when it is not UTF-8."""
    regular_file(path)
    with reading(path), opened(path) as file:
        text = file.read(limits().value + 1)
    if len(text) > limits().value:
        raise beyond("value", "characters", path)
    check_unicode(text, path)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def regular_file(path: Path, forms: Collection[str] = ()) -> None:
    """Raise InputError unless there is a file, no folder, pipe or device, and one of `forms` by name and content."""
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise InputError("not a file" if stat.S_ISDIR(mode) else "not a regular file", where=path)
        with path.open("rb") as file:
            begins = file.read(32)
    except FileNotFoundError:
        raise InputError("no such file", where=path) from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read ({getattr(error, 'strerror', error)})", where=path) from None
    form = path.suffix.lower()
    for signature, said in SIGNATURES.items():
        if begins.startswith(signature) and OWN.get(form) != signature:
            raise InputError(f"no {form or 'table'}: {said}", where=path)
    if forms and form not in forms:
        raise InputError(f"unknown kind of table; known: {', '.join(forms)}", where=path)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what the file system and the memory refuse into InputError."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror or error})", where=path) from None
    except MemoryError:
        raise InputError("reading it takes more memory than there is", where=path) from None


def lines(file: TextIO, path: Path) -> Iterator[str]:
    """The lines of a text file with their ends; none is too long to be held, and none has a NUL in it."""
    most = limits().value
    for number in range(1, 1 << 62):
        line = file.readline(most)
        if not line:
            return
        if len(line) == most:
            raise beyond("value", "characters", path, number)
        if "\0" in line:
            raise InputError("NUL characters: no text, or not UTF-8", where=path, row=number)
        yield line


def opened(path: Path) -> TextIO:
    """The file as text without its byte order mark. Bytes that are no UTF-8 stay, to be named with their place."""
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")


def check_unicode(value: str, path: Path, number: int | None = None, field: str | None = None) -> None:
    """Raise InputError for text that no UTF-8 file can hold."""
    if value.isascii():
        return
    try:
        value.encode()
    except UnicodeEncodeError as error:
        code = ord(value[error.start])
        odd = f"not UTF-8 text (byte {code - 0xDC00:#04x})" if 0xDC80 <= code <= 0xDCFF else "half a surrogate pair"
        raise InputError(odd, where=path, row=number, field=field) from None
