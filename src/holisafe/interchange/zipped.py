"""Zip archives that may be bombs: looked through, a piece at a time, before anybody else reads them."""

from __future__ import annotations

from pathlib import Path
from zipfile import ZipFile

from ..errors import InputError

DEEPEST = 10_000
"""Brackets open at once, as far as counting alone tells. JSON that people write has ten."""

_PIECE = 2**14


def largest_member(archive: Path, most: int) -> int:
    """Bytes of the longest file in a zip archive of JSON, by unpacking all: what it claims is not believed.

    Raises InputError, naming the file in it, when one is longer than `most` bytes or nested too deep; and whatever
    `zipfile` raises.
    """
    longest = 0
    with ZipFile(archive) as opened:
        for member in opened.infolist():
            size = depth = 0
            with opened.open(member) as file:
                while piece := file.read(_PIECE):
                    size += len(piece)
                    depth += piece.count(b"[") + piece.count(b"{") - piece.count(b"]") - piece.count(b"}")
                    if size > most:
                        problem = f"is longer than {most:,} bytes when unpacked (--max-bytes takes more)"
                        raise InputError(problem, where=archive, field=member.filename)
                    if depth > DEEPEST:
                        raise InputError(f"is nested deeper than {DEEPEST:,}", where=archive, field=member.filename)
            longest = max(longest, size)
    return longest
