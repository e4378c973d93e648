"""`llama-guard/SPEC`: Llama Guard 3 11B Vision (Mllama) and Llama Guard 4 12B (Llama 4).

The policy is in the model's own chat template, which judges the last turn of the conversation: the user's, or the
model's where there is an answer. It says `safe`, or `unsafe` and on the next line the hazards, S1 to S14 (MLCommons;
S14 in version 4), separated by commas.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..registry import guards
from .asking import AskingGuard, Said, asking, cannot_be_read, one_answer, one_question
from .policy import Policy, no_policy

NOTE = "Llama Guard judges turns rather than images: an image alone is read with a harmless question."

ANSWER = re.compile(r"unsafe[ \t]*\n[ \t]*(S(?:1[0-4]|[1-9])(?:[ \t]*,[ \t]*S(?:1[0-4]|[1-9]))*)")


def parse(answer: str) -> Said:
    """The verdict in an answer. Anything but the two forms above is invalid."""
    text = answer.strip()
    if text == "safe":
        return Said(False)
    found = ANSWER.fullmatch(text)
    if found is None:
        return cannot_be_read("not `safe`, nor `unsafe` with its hazards")
    return Said(True, tuple(dict.fromkeys(hazard.strip() for hazard in found[1].split(","))))


@guards.register("llama-guard", summary="Llama Guard 3 Vision and 4: pictures, pairs and answers")
def load(model: str, options: Mapping[str, str], policy: Policy | None) -> AskingGuard:
    """Raises InputError when the target cannot be opened."""
    no_policy(policy, "llama-guard")
    return asking(
        "llama-guard", model, options, takes=("image", "text", "pair", "response"), note=NOTE, questions=one_question,
        conclude=one_answer(parse), rules=1, taxonomy="llama-guard", max_new_tokens=64,
    )  # fmt: skip
