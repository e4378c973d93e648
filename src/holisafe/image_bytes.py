"""A picture's file without what is no picture: the same pixels, and nothing told about who took it, when and where.

    PNG     IHDR, PLTE, tRNS, IDAT and IEND stay; text, EXIF, colour profile and further frames go
    JPEG    tables, frame and scans stay, and of the applications' segments those that say how colours are coded
    WebP    the one still picture stays

What stands behind the end of a file goes too. A colour profile is not applied anywhere in this package: models are
given the stored values, as their processors read them. Nothing is decoded here, and no length in a file is trusted.

Sources: PNG (Third Edition, W3C), JPEG (ITU-T T.81, annex B), WebP (RFC 9649).
"""

from __future__ import annotations

import re
import struct
import zlib
from typing import NamedTuple

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"

MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""The first marker behind a JPEG's scan: what else begins with FF there is part of it."""

FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
USUAL_FRAMES = {0xC0, 0xC1, 0xC2}
"""Baseline, extended and progressive with Huffman coding: what every decoder reads."""


class Plain(NamedTuple):
    """A file of one still picture. `size` is that of the stored pixels, before `exif` turns them.

    `direct`: any decoder gives its pixels as RGB without a choice of its own (no transparency, 8 bits, no CMYK).
    """

    kind: str
    data: bytes
    size: tuple[int, int]
    direct: bool
    exif: bytes


def plain(data: bytes) -> Plain | None:
    """The plain form of a PNG, JPEG or still WebP file; None for anything else, and for one that is not whole."""
    try:
        if data.startswith(PNG):
            return _png(data)
        if data.startswith(JPEG):
            return _jpeg(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp(data)
    except (struct.error, IndexError):  # it ends within a header
        pass
    return None


def _png(data: bytes) -> Plain | None:
    kept, exif, clear, at, name = [PNG], b"", False, len(PNG), b""
    if data[at : at + 8] != b"\0\0\0\rIHDR":
        return None
    while name != b"IEND":
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + length + 12
        sound = end <= len(data) and zlib.crc32(data[at + 4 : end - 4]) == int.from_bytes(data[end - 4 : end])
        critical = not name[0] & 0x20
        if end > len(data) or (critical and not sound):
            return None
        if name == b"eXIf" and sound:
            exif = data[at + 8 : end - 4]
        elif critical or (name == b"tRNS" and sound):
            kept.append(data[at:end])
            clear |= name == b"tRNS"
        at = end
    width, height, depth, colours = struct.unpack_from(">IIBB", data, 16)
    return Plain("png", b"".join(kept), (width, height), depth <= 8 and colours in (0, 2, 3) and not clear, exif)


def _jpeg(data: bytes) -> Plain | None:
    kept, exif, size, direct, at, marker = [JPEG], b"", None, False, 2, 0
    while marker != 0xD9:
        while data[at + 1] == 0xFF:
            at += 1
        first, marker, length = struct.unpack_from(">BBH", data, at) if data[at + 1] != 0xD9 else (data[at], 0xD9, 0)
        end = at + 2 + length
        if first != 0xFF or end > len(data) or (length < 2 and marker != 0xD9):
            return None
        body = data[at + 4 : end]
        if marker == 0xE0 and body[:5] == b"JFIF\0" and len(body) >= 14:
            kept.append(b"\xff\xe0\0\x10" + body[:12] + b"\0\0")  # without its thumbnail
        elif marker == 0xE1 and body[:6] == b"Exif\0\0":
            exif = exif or body
        elif (marker & 0xF0 != 0xE0 and marker != 0xFE) or (marker == 0xEE and body[:5] == b"Adobe"):
            kept.append(data[at:end])
        if marker in FRAMES:
            depth, height, width, channels = struct.unpack_from(">BHHB", body)
            size, direct = (width, height), marker in USUAL_FRAMES and depth == 8 and channels in (1, 3)
        at = end
        if marker == 0xDA:
            following = MARKER.search(data, at)
            if following is None:
                return None  # cut short
            kept.append(data[at : following.start()])
            at = following.start()
    return size and Plain("jpeg", b"".join(kept), size, direct, exif)


def _webp(data: bytes) -> Plain | None:
    chunks: dict[bytes, bytes] = {}
    at, end = 12, 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        return None
    while at < end:
        name, length = struct.unpack_from("<4sI", data, at)
        if at + 8 + length > end:
            return None
        chunks.setdefault(name, data[at + 8 : at + 8 + length])
        at += 8 + length + length % 2
    if {b"ALPH", b"ANIM", b"ANMF"} & chunks.keys() or (b"VP8 " in chunks) == (b"VP8L" in chunks):
        return None
    if b"VP8 " in chunks:
        name, body, direct = b"VP8 ", chunks[b"VP8 "], True
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", body, 6))
    else:
        name, body = b"VP8L", chunks[b"VP8L"]
        (bits,) = struct.unpack_from("<I", body, 1)
        width, height, direct = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, not bits >> 28 & 1
    picture = name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)
    whole = b"RIFF" + struct.pack("<I", 4 + len(picture)) + b"WEBP" + picture
    return Plain("webp", whole, (width, height), direct, chunks.get(b"EXIF", b""))
