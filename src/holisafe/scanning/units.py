"""What a scan reads: a unit is one picture, with its text where it has one, and where its bytes are to be found."""

from __future__ import annotations

from typing import NamedTuple


class Place(NamedTuple):
    """Where a picture's bytes are.

    file    the image itself, the shard or the table
    start   the byte at which it begins in a shard; the row, from 1, of a table whose cells hold pictures
    size    its bytes in a shard
    named   what a table calls the image's file, beside the table
    column  of a table whose cells hold pictures
    """

    file: str
    start: int | None = None
    size: int | None = None
    named: str | None = None
    column: str | None = None


class Unit(NamedTuple):
    """One picture. `id` is its place in the source, in words, and unlike any other's; `name` what a table calls it.

    `data` are its bytes where they came along with its place. `fault`: what is wrong with it before it is read.
    """

    id: str
    place: Place
    text: str = ""
    name: str | None = None
    fault: str | None = None
    data: bytes | None = None
