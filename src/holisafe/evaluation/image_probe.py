"""Does the picture reach the model? Gateways drop pictures without a word, and every rate then is of the text alone.

Two calls before a run: the same question about a picture of a word, once with the picture and once without. The
picture arrived when the prompt counts more tokens with it, or when the word is read; it did not when the count stays
the same, or where there is none the answer does; nothing is known when a call failed or only the answers differ.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import AsyncIterator
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from ..errors import Notice
from ..records import GenerationSettings, Message, Picture, Request, Response
from ..stepping import event_loop
from ..targets.base import Target, innermost

QUESTION = (
    "Which word is written in the picture? Answer with this word alone, or with 'none' where there is no picture."
)
WORDS = ("anchor", "basket", "candle", "dragon", "feather", "garden", "hammer", "island", "ladder", "marble")
NAMES = ("with picture", "without picture")


def needs_probe(target: Target, images: bool, earlier: Any) -> bool:
    """Whether to ask: of a model behind an API, about pictures, unless it has answered before."""
    told = earlier.get("arrived") if isinstance(earlier, dict) else None
    return images and told is None and hasattr(innermost(target), "options")


def probe(target: Target, settings: GenerationSettings, seed: int = 0) -> dict[str, Any]:
    """Ask, and tell what came of it: {"arrived": true, false or null, "told": in words, "input_tokens": [with,
    without], "usage": tokens of both calls, "usd": their cost or null}.

    The model is asked itself, without attack or calibration. One that cannot be asked shows in the run that follows.
    """
    model: Target = innermost(target)
    word = random.Random(seed).choice(WORDS)
    asked = [
        Request(sample_id=name, messages=(Message("user", QUESTION, pictures),), settings=settings)
        for name, pictures in zip(NAMES, ((Picture("word.png", lambda: drawn(word)),), ()), strict=True)
    ]
    answers = {one.sample_id: one for one in _answers(model, asked)}
    seen, unseen = (answers.get(name) for name in NAMES)
    arrived, told = _verdict(word, seen, unseen)
    if arrived is False:
        warnings.warn(f"THE PICTURE MADE NO DIFFERENCE to {model.name}: {told}", Notice, stacklevel=2)
    both = [one for one in (seen, unseen) if one is not None]
    kinds = dict.fromkeys(kind for one in both for kind in one.usage)
    costs = [one.cost for one in both if one.cost is not None]
    return {
        "arrived": arrived,
        "told": told,
        "input_tokens": [None if one is None else one.usage.get("input_tokens") for one in (seen, unseen)],
        "usage": {kind: sum(one.usage.get(kind, 0) for one in both) for kind in kinds},
        "usd": sum(costs) if costs else None,
    }


def remark(found: Any, name: str) -> list[str]:
    """What the scores of a run say of its probe; nothing where the picture arrived."""
    if not isinstance(found, dict) or found.get("arrived") is True:
        return []
    if found.get("arrived") is False:
        return [f"the picture made no difference to {name}: {found.get('told')}; its answers are to the text alone"]
    return [f"whether pictures reach {name} could not be told: {found.get('told')}"]


def cost(found: Any) -> dict[str, Any]:
    """The probe's part of what a run cost, as `scores.json` has it."""
    if not isinstance(found, dict):
        return {}
    usage = found.get("usage") if isinstance(found.get("usage"), dict) else {}
    return {"image probe": {**(usage or {}), "usd": found.get("usd")}} if usage or found.get("usd") else {}


def drawn(word: str) -> Image.Image:
    """A word in black on white, large, 320 x 160 pixels."""
    image = Image.new("RGB", (320, 160), "white")
    ImageDraw.Draw(image).text((160, 80), word, fill="black", font=ImageFont.load_default(56), anchor="mm")
    return image


def _verdict(word: str, seen: Response | None, unseen: Response | None) -> tuple[bool | None, str]:
    """Whether it arrived, and how that is known."""
    if seen is None or unseen is None or not seen.judgeable or not unseen.judgeable:
        why = next((one.error for one in (seen, unseen) if one is not None and one.error), "no answer")
        return None, f"a call failed ({why})"
    if word in seen.text.lower() and word not in unseen.text.lower():
        return True, "the word in it was read"
    tokens = seen.usage.get("input_tokens"), unseen.usage.get("input_tokens")
    if tokens[0] is not None and tokens[1] is not None:
        more = tokens[0] - tokens[1]
        if more > 0:
            return True, f"the prompt counts {more:,} tokens more with it"
        return (
            False,
            f"the prompt counts {tokens[0]:,} tokens with it and {tokens[1]:,} without, and nothing in it was read",
        )
    if seen.text.strip() == unseen.text.strip():
        return False, "the answer is the same with it and without"
    return None, "the answers differ, but the word was not read, and no tokens are counted"


def _answers(model: Target, asked: list[Request]) -> list[Response]:
    found: list[Response] = []

    async def requests() -> AsyncIterator[Request]:
        for request in asked:
            yield request

    async def ask() -> None:
        found.extend([response async for response in model.respond(requests())])

    with event_loop() as finished:
        finished(ask())
    return found
