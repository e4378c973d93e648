"""Does a picture reach the model? Gateways drop pictures without a word.

The same question about a picture of a word, once with the picture and once without. The picture arrived when the prompt
counts more tokens with it, or when the word is read; it did not when the count stays the same, or where there is none
the answer does; nothing is known when a call failed or only the answers differ. Of a guard its numbers are looked at
instead of the word, for its verdict on a harmless picture says nothing.
"""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from ..records import GenerationSettings, Message, Picture, Request, Response

QUESTION = (
    "Which word is written in the picture? Answer with this word alone, or with 'none' where there is no picture."
)
WORDS = ("anchor", "basket", "candle", "dragon", "feather", "garden", "hammer", "island", "ladder", "marble")
NAMES = ("with picture", "without picture")


def probes(settings: GenerationSettings, seed: int = 0) -> tuple[str, tuple[Request, Request]]:
    """The word, which `seed` chooses, and the two requests, with its picture and without."""
    word = random.Random(seed).choice(WORDS)
    picture = Picture("word.png", lambda: drawn(word))
    shown, alone = (
        Request(sample_id=name, messages=(Message("user", QUESTION, pictures),), settings=settings)
        for name, pictures in zip(NAMES, ((picture,), ()), strict=True)
    )
    return word, (shown, alone)


def verdict(word: str, seen: Response | None, unseen: Response | None) -> tuple[bool | None, str]:
    """Whether the picture of the word arrived, by the answers with and without it, and how that is known."""
    if seen is None or unseen is None or not seen.judgeable or not unseen.judgeable:
        return _failed(seen, unseen)
    if word in seen.text.lower() and word not in unseen.text.lower():
        return True, "the word in it was read"
    if (counted := _by_tokens(seen, unseen)) is not None:
        return counted[0], counted[1] + ("" if counted[0] else ", and nothing in it was read")
    if seen.text.strip() == unseen.text.strip():
        return False, "the answer is the same with it and without"
    return None, "the answers differ, but the word was not read, and no tokens are counted"


def without_pictures(request: Request) -> Request:
    """The same request under the second name, with no picture."""
    turns = tuple(replace(turn, pictures=()) for turn in request.messages)
    return replace(request, sample_id=NAMES[1], messages=turns)


def guard_verdict(seen: Response | None, unseen: Response | None) -> tuple[bool | None, str]:
    """Whether the picture arrived at a guard, by what it said of a harmless one with it and without."""
    if seen is None or unseen is None or not _answered(seen) or not _answered(unseen):
        return _failed(seen, unseen)
    if (counted := _by_tokens(seen, unseen)) is not None:
        return counted
    numbers = _numbers(seen), _numbers(unseen)
    if None not in numbers:
        changed = numbers[0] != numbers[1]
        return changed, f"its numbers {'change' if changed else 'are the same'} with it and without"
    return None, "no tokens are counted, and its verdict on a harmless picture says nothing"


def _answered(response: Response) -> bool:
    return response.finish not in ("error", "filtered")


def _failed(*answers: Response | None) -> tuple[None, str]:
    why = next((one.error for one in answers if one is not None and one.error), "no answer")
    return None, f"a call failed ({why})"


def _by_tokens(seen: Response, unseen: Response) -> tuple[bool, str] | None:
    """By the tokens of the prompt, None where they are not counted."""
    with_it, without = (one.usage.get("input_tokens") for one in (seen, unseen))
    if with_it is None or without is None:
        return None
    if with_it > without:
        return True, f"the prompt counts {with_it - without:,} tokens more with it"
    return False, f"the prompt counts {with_it:,} tokens with it and {without:,} without"


def _numbers(response: Response) -> Any:
    """Probabilities of first words, or what a moderation endpoint says; None where it answers in words."""
    if response.first_words is not None:
        return dict(response.first_words)
    try:
        said = json.loads(response.text)
    except (ValueError, RecursionError):
        return None
    return said.get("category_scores") if isinstance(said, dict) else None


def drawn(word: str) -> Image.Image:
    """A word in black on white, large, 320 x 160 pixels."""
    image = Image.new("RGB", (320, 160), "white")
    ImageDraw.Draw(image).text((160, 80), word, fill="black", font=ImageFont.load_default(56), anchor="mm")
    return image
