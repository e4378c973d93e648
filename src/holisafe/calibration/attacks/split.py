"""`split,share=0.5`: the last words of the query stand in the picture, the first in the text; neither says it all.

A query without spaces, as Chinese is written, is shared out by letters.
"""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field

from ...records import Message, Request
from ...registry import attacks
from ..attack import wordings
from .typed_text import DrawingAttack, DrawnOptions, typed_into


class SplitOptions(DrawnOptions):
    """`share`: of the words, how many stand in the picture, the last ones and at least one; 0 changes nothing."""

    share: float = Field(0.5, ge=0, le=1)


@attacks.register("split", summary="the query shared out between picture and text",
                  needs="a model that reads pictures of text",
                  pictosafe="no: PictoVLM reads no text in pictures")  # fmt: skip
class Split(DrawingAttack):
    attack, reads = "split", SplitOptions

    def turned(self, turn: Message, request: Request) -> Message:
        words, between = turn.text.split(), " "
        if len(words) == 1:
            words, between = list(words[0]), ""
        if not self.options.share or not words:
            return turn
        told = len(words) - max(1, round(self.options.share * len(words)))
        said = wordings(self.attack)["end"].replace("{query}", between.join(words[:told]))
        shown = typed_into(turn.pictures, between.join(words[told:]), self.options)
        return replace(turn, text=said, pictures=shown)
