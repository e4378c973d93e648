"""`llama-guard/ID`: Llama Guard 3 11B Vision (Mllama) and Llama Guard 4 (Llama 4), asked about an image alone.

The policy is in the model's own chat template. Its answer is `safe`, or `unsafe` and on the next line the hazards, S1
to S14 (MLCommons; S14 in version 4 and later), separated by commas.
"""

from __future__ import annotations

import re

from ...taxonomy import SAFE
from . import Opinion
from .answers import AnsweringGuard, load_answering

QUESTION = "What is in this image?"
"""Llama Guard judges a user's turn; here the turn asks nothing that could be unsafe by itself."""

NOTE = "Llama Guard judges prompts rather than images: asked with a harmless question, only the image can be unsafe."

LABELS = {"S12": "sexual_content"}
"""Hazards that mean the same as one of our labels; the others are wider or narrower."""

ANSWER = re.compile(r"unsafe[ \t]*\n[ \t]*(S(?:1[0-4]|[1-9])(?:[ \t]*,[ \t]*S(?:1[0-4]|[1-9]))*)")


def parse(answer: str) -> Opinion:
    """The verdict in an answer. Anything but the two forms above is invalid."""
    text = answer.strip()
    if text == "safe":
        return Opinion(unsafe=False, label=SAFE)
    found = ANSWER.fullmatch(text)
    if found is None:
        return Opinion(unsafe=None, invalid="not `safe`, nor `unsafe` with its hazards")
    hazards = [hazard.strip() for hazard in found[1].split(",")]
    return Opinion(unsafe=True, category=",".join(hazards), label=LABELS.get(hazards[0]) if len(hazards) == 1 else None)


def load(name: str, device: str | None) -> AnsweringGuard:
    """Raises InputError when the folder or hub id holds no usable model and processor."""
    return load_answering("llama-guard", name, device, QUESTION, parse, 20, NOTE)
