"""`role-play,wording=actor`: the user's words inside a story, or a part that the model is to play."""

from __future__ import annotations

from ...registry import attacks
from ..attack import WordingAttack, WordingOptions


class RolePlayOptions(WordingOptions):
    wording: str = "actor"


@attacks.register(
    "role-play", summary="the query inside a story or a role", needs="any target", pictosafe="yes, wording=plain"
)
class RolePlay(WordingAttack):
    attack, reads = "role-play", RolePlayOptions
