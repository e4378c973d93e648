"""`prefix,wording=sure`: the answer is to begin as one that complies does (prefix injection)."""

from __future__ import annotations

from dataclasses import replace

from ...records import Message, Request
from ...registry import attacks
from ...targets.base import Target
from ..attack import Attack, wording
from ..base import Options


class PrefixOptions(Options):
    """`wording`: a shipped name, or a .txt file with {query} in it."""

    wording: str = "sure"


@attacks.register(
    "prefix", summary="the answer is told how to begin", needs="any target", pictosafe="yes, wording=plain"
)
class Prefix(Attack):
    attack, reads = "prefix", PrefixOptions

    def __init__(self, target: Target, told: dict[str, str]) -> None:
        super().__init__(target, told)
        self.facts["text"] = wording(self.attack, self.options.wording)

    def turned(self, turn: Message, request: Request) -> Message:
        return replace(turn, text=self.facts["text"].replace("{query}", turn.text))
