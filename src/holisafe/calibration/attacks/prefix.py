"""`prefix,wording=sure`: the answer is to begin as one that complies does (prefix injection)."""

from __future__ import annotations

from ...registry import attacks
from ..attack import WordingAttack, WordingOptions


class PrefixOptions(WordingOptions):
    wording: str = "sure"


@attacks.register(
    "prefix", summary="the answer is told how to begin", needs="any target", pictosafe="yes, wording=plain"
)
class Prefix(WordingAttack):
    attack, reads = "prefix", PrefixOptions
