"""What requests will take, before anything is paid: an estimate, made without asking the server anything.

Text is counted as a token for every four characters. Pictures follow the rule OpenAI publishes for GPT-4o: 85 tokens,
and unless detail is low 170 more for every tile of 512 pixels, once the picture is shrunk to fit 2,048 x 2,048 and its
shorter side to 768. Other models count otherwise, some by a factor of two.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from typing import NamedTuple

from ..records import Request
from .options import ChatOptions
from .pictures import origin

CHARACTERS_PER_TOKEN = 4
TOKENS_PER_MESSAGE = 4
TYPICAL_ANSWER, TYPICAL_VERDICT = 200, 60
"""Tokens of an answer in free text, and of one that follows a schema."""

BASE, TILE_TOKENS, TILE, LONGEST, SHORTEST = 85, 170, 512, 2048, 768


class Estimate(NamedTuple):
    """Totals over all requests. `most` is every answer at its longest; costs are US dollars, None without prices."""

    calls: int
    input_tokens: int
    output_tokens_typical: int
    output_tokens_most: int
    cost_typical: float | None
    cost_most: float | None


def estimate(requests: Iterable[Request], options: ChatOptions) -> Estimate:
    """Estimate the calls that these options make of the requests. Looks at every picture once, for its size.

    A reasoning budget counts as half used in the typical case. Retries are not foreseen. Raises whatever opening a
    picture raises.
    """
    calls = given = typical = most = 0
    sizes: dict[Hashable, tuple[int, int]] = {}
    for request in requests:
        calls += 1
        for message in request.messages:
            given += TOKENS_PER_MESSAGE + math.ceil(len(message.text) / CHARACTERS_PER_TOKEN)
            for picture in message.pictures:
                key = (picture.name, origin(picture))
                if key not in sizes:
                    sizes[key] = options.encoding.sent_size(picture)
                given += picture_tokens(*sizes[key], options.detail)
        generation = options.generation(request.settings)
        longest, thought = generation["max_new_tokens"], generation["reasoning_tokens"] or 0
        usual = TYPICAL_ANSWER if request.answer_schema is None else TYPICAL_VERDICT
        typical += min(longest, usual) + thought // 2
        most += longest + thought
    costs = [options.cost({"input_tokens": given, "output_tokens": output}) for output in (typical, most)]
    return Estimate(calls, given, typical, most, *costs)


def picture_tokens(width: int, height: int, detail: str | None = None) -> int:
    """Tokens of a picture by OpenAI's rule for GPT-4o.

    >>> picture_tokens(1024, 1024), picture_tokens(2048, 4096), picture_tokens(4096, 8192, "low")
    (765, 1105, 85)
    """
    if detail == "low":
        return BASE
    scale = min(1.0, LONGEST / max(width, height))
    scale = min(scale, SHORTEST / min(width, height))
    across, down = (max(1, math.ceil(round(side * scale) / TILE)) for side in (width, height))
    return BASE + TILE_TOKENS * across * down
