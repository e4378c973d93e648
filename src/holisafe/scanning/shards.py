"""Pictures in tar shards, as WebDataset and img2dataset write them: members of one key belong together.

    000001.jpg  000001.txt  000001.json        the text is that of .txt, else "caption" or "text" of .json

The key is a member's path up to the first dot of its name. A plain shard's pictures are read where they lie; of a
compressed one, or one far away, they come as the shard is gone through.
"""

from __future__ import annotations

import json
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator

from ..errors import InputError
from ..image_files import MODERN, SUFFIXES, shown_name
from ..images import BYTES_PER_PIXEL, pixel_limit
from .stores import LocalFolder, Store
from .units import Place, Unit

SHARDS = (".tar", ".tar.gz", ".tgz")
PICTURES = (*SUFFIXES, *MODERN)
TEXT_BYTES = 1 << 20
"""Bytes of a text beyond which it is none."""
MEMBERS = 64
"""Pictures of one key at most."""


def shard_units(store: Store, shard: str, *, data: bool) -> Iterator[Unit]:
    """The pictures of a shard in its order; a unit that is a fault where the shard is broken. With `data`, those that
    could only be had by going through the shard again bring their bytes along."""
    plain = shard.lower().endswith(".tar")
    along = data and not (plain and isinstance(store, LocalFolder))
    try:
        with store.open(shard) as file, tarfile.open(fileobj=file, mode="r:" if plain else "r|*") as tar:
            key, texts, found, names = None, dict[str, str](), list[Unit](), Counter[str]()
            for member in tar:
                if not plain and member.size > _most():  # to pass over what it says it holds may take for ever
                    raise tarfile.ReadError(f"{shown_name(member.name)} says it has {member.size:,} bytes")
                if not member.isfile():
                    continue
                folder, _, name = member.name.removeprefix("./").rpartition("/")
                stem, _, ending = name.partition(".")
                if (folder, stem) != key or len(found) >= MEMBERS:
                    yield from _with_text(found, texts)
                    key, texts, found = (folder, stem), {}, []
                if name.lower().endswith(PICTURES):
                    bytes_of = _bytes(tar, member) if along and member.size <= _most() else None
                    place = Place(shard, member.offset_data if plain else None, member.size)
                    fault = None if member.size <= _most() else f"more than {_most():,} bytes"
                    called = shown_name(f"{shard}/{member.name.removeprefix('./')}")
                    names[called] += 1
                    called += f"#{names[called]}" if names[called] > 1 else ""
                    found.append(Unit(called, place, fault=fault, data=bytes_of))
                elif ending.lower() in ("txt", "json") and member.size <= TEXT_BYTES:
                    texts[ending.lower()] = _bytes(tar, member).decode("utf-8", "replace")
            yield from _with_text(found, texts)
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        yield Unit(shown_name(shard), Place(shard), fault=f"broken archive ({error})")
    except InputError as fault:
        yield Unit(shown_name(shard), Place(shard), fault=fault.problem)


def _with_text(found: list[Unit], texts: dict[str, str]) -> Iterator[Unit]:
    text = texts.get("txt")
    if text is None and "json" in texts:
        try:
            told = json.loads(texts["json"])
        except (ValueError, RecursionError):
            told = None
        said = (told.get("caption") or told.get("text")) if isinstance(told, dict) else None
        text = said if isinstance(said, str) else None
    for unit in found:
        yield unit._replace(text=(text or "").strip())


def _bytes(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    return file.read() if file is not None else b""


def _most() -> int:
    return BYTES_PER_PIXEL * pixel_limit()
