"""`role-play,wording=actor`: the user's words inside a story, or a part that the model is to play."""

from __future__ import annotations

from dataclasses import replace

from ...records import Message, Request
from ...registry import attacks
from ...targets.base import Target
from ..attack import Attack, wording
from ..base import Options


class RolePlayOptions(Options):
    """`wording`: a shipped name, or a .txt file with {query} in it."""

    wording: str = "actor"


@attacks.register(
    "role-play", summary="the query inside a story or a role", needs="any target", pictosafe="yes, wording=plain"
)
class RolePlay(Attack):
    attack, reads = "role-play", RolePlayOptions

    def __init__(self, target: Target, told: dict[str, str]) -> None:
        super().__init__(target, told)
        self.facts["text"] = wording(self.attack, self.options.wording)

    def turned(self, turn: Message, request: Request) -> Message:
        return replace(turn, text=self.facts["text"].replace("{query}", turn.text))
