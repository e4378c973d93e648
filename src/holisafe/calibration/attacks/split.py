"""`split,share=0.5`: the last words of the query stand in the picture, the first in the text; neither says it all."""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field

from ...records import Message, Request
from ...registry import attacks
from ..attack import wordings
from .typed_text import DrawingAttack, DrawnOptions, typed_into


class SplitOptions(DrawnOptions):
    """`share`: of the words, how many stand in the picture, counted from the end; 0 changes nothing."""

    share: float = Field(0.5, ge=0, le=1)


@attacks.register("split", summary="the query shared out between picture and text",
                  needs="a model that reads pictures of text",
                  pictosafe="no: PictoVLM reads no text in pictures")  # fmt: skip
class Split(DrawingAttack):
    attack, reads = "split", SplitOptions

    def turned(self, turn: Message, request: Request) -> Message:
        words = turn.text.split()
        shown = round(self.options.share * len(words))
        if not shown:
            return turn
        said = wordings(self.attack)["end"].replace("{query}", " ".join(words[: len(words) - shown]))
        return replace(
            turn, text=said, pictures=typed_into(turn.pictures, " ".join(words[len(words) - shown :]), self.options)
        )
