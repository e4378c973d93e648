"""Does a picture reach the model? Gateways drop pictures without a word.

The same question about a picture of a word, once with the picture and once without. The picture arrived when the prompt
counts more tokens with it, or when the word is read; it did not when the count stays the same, or where there is none
the answer does; nothing is known when a call failed or only the answers differ.
"""

from __future__ import annotations

import random

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


def drawn(word: str) -> Image.Image:
    """A word in black on white, large, 320 x 160 pixels."""
    image = Image.new("RGB", (320, 160), "white")
    ImageDraw.Draw(image).text((160, 80), word, fill="black", font=ImageFont.load_default(56), anchor="mm")
    return image
