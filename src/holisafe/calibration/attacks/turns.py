"""`turns,wording=picture`: harmless turns before the query, in which the model has been helpful."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from ...errors import InputError
from ...records import Message, Request
from ...registry import attacks
from ...targets.base import Target
from ..attack import Attack, wordings
from ..base import Options


class TurnsOptions(Options):
    """`wording`: a shipped conversation. The pictures stand in its first turn, or stay in the last."""

    wording: str = "picture"
    pictures: Literal["first", "last"] = "first"


@attacks.register("turns", summary="harmless turns before the query", needs="any target",
                  pictosafe="yes, wording=plain")  # fmt: skip
class Turns(Attack):
    attack, reads = "turns", TurnsOptions

    def __init__(self, target: Target, told: dict[str, str]) -> None:
        super().__init__(target, told)
        known: dict[str, Any] = wordings(self.attack)
        if self.options.wording not in known:
            raise InputError(f"turns has no wording {self.options.wording!r}; known: {', '.join(known)}")
        self.facts["text"] = known[self.options.wording]

    def edit(self, request: Request) -> Request:
        """The conversation before the user's first turn; pictures of that turn alone move."""
        first = next(place for place, message in enumerate(request.messages) if message.role == "user")
        turn = request.messages[first]
        said = [Message("user" if at % 2 == 0 else "assistant", text) for at, text in enumerate(self.facts["text"])]
        if self.options.pictures == "first":
            said[0], turn = replace(said[0], pictures=turn.pictures), replace(turn, pictures=())
        return replace(request, messages=(*request.messages[:first], *said, turn, *request.messages[first + 1 :]))
