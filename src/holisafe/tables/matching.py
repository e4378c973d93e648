"""Ids of one file held against those of another: what is left over is counted, named, and said to be nearly another."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..errors import InputError
from .fields import short

SHOWN = 5
"""How many ids a remark names."""


def unmatched(what: str, given: Iterable[str], known: Iterable[str], where: str | Path) -> list[str]:
    """What is to be said of `what` (such as "labels") whose ids no sample has: nothing, or one remark.

    Raises InputError when no id matches at all.
    """
    ids, samples = list(dict.fromkeys(given)), dict.fromkeys(known)
    left = [one for one in ids if one not in samples]
    if not left:
        return []
    alike = {_plain(one): one for one in samples}
    near = [one for one in left if _plain(one) in alike]
    said = f"match no sample: {', '.join(map(short, left[:SHOWN]))}{' ...' if len(left) > SHOWN else ''}"
    if near:
        said += f"; {len(near):,} only for zeros or spaces, as {short(near[0])} for {short(alike[_plain(near[0])])}"
    if len(left) == len(ids):
        raise InputError(f"all of its {len(ids):,} {what} {said}", where=where)
    return [f"{len(left):,} of {len(ids):,} {what} {said}"]


def _plain(identity: str) -> str:
    """An id as it is after a spreadsheet or a careless copy: no spaces around, no leading zeros, no decimal point."""
    return identity.strip().lower().removesuffix(".0").lstrip("0")
