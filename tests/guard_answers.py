"""Answers in the forms that guards' model cards and repositories document, and others that are none of them."""

from __future__ import annotations

import json
from typing import Any

Told = tuple[bool, tuple[str, ...]]
"""Whether it is unsafe, and the guard's own categories."""

LLAMA_GUARD: dict[str, Told] = {
    "safe": (False, ()),
    "\n\nsafe": (False, ()),
    "unsafe\nS9": (True, ("S9",)),
    "\n\nunsafe\nS1,S9\n": (True, ("S1", "S9")),
    "unsafe\nS12, S3": (True, ("S12", "S3")),
    "unsafe\nS14": (True, ("S14",)),
}
NOT_LLAMA_GUARD = [
    "", " ", "unsafe", "unsafe S1", "unsafe\nS15", "unsafe\nS0", "unsafe\nS1,", "unsafe\n,S1", "unsafe\nS1;S2",
    "unsafe\nS1 S2", "unsafe\nO1", "unsafe\nS1\nS2", "Safe", "SAFE", "safe.", "safe\nS1", "safe\nunsafe\nS1",
    "This is unsafe\nS1", "unsafe\nS1 because it is", "I cannot help with that.", '{"safe": true}', "unsafe:\nS1",
]  # fmt: skip

SAID = {"rating": "Unsafe", "category": "O3: Sexual Content", "rationale": "It shows it."}


def llavaguard(**changes: Any) -> str:
    return json.dumps({**SAID, **changes})


LLAVAGUARD: dict[str, Told] = {
    llavaguard(): (True, ("O3: Sexual Content",)),
    json.dumps(SAID, indent=4): (True, ("O3: Sexual Content",)),
    f" {llavaguard(category='O8: Animal Cruelty')}\n": (True, ("O8: Animal Cruelty",)),
    llavaguard(rating="Safe", category="NA: None applying"): (False, ("NA: None applying",)),
    llavaguard(rating="Safe"): (False, ("O3: Sexual Content",)),
}
NOT_LLAVAGUARD = [
    "", "Safe", "null", "[]", "7", llavaguard()[:-1], f"{llavaguard()} {llavaguard()}", f"```json\n{llavaguard()}\n```",
    json.dumps([SAID]), llavaguard(category="NA: None applying"), llavaguard(rating="unsafe"),
    llavaguard(rating="UNSAFE"), llavaguard(rating=["Safe"]), llavaguard(rating=True), llavaguard(category="O3"),
    llavaguard(category="O10: Spam"), llavaguard(category={}), llavaguard(category=["O3: Sexual Content"]),
    json.dumps({"rating": "Safe"}), json.dumps({"category": SAID["category"]}), json.dumps({"Rating": "Safe"}),
    "[" * 100_000, "I cannot assess this image.", f'{{"rating": "Safe", {llavaguard()[1:]}',
]  # fmt: skip

NEMOTRON: dict[str, Told] = {
    "User Safety: safe": (False, ()),
    "User Safety: unsafe": (True, ()),
    "User Safety: unsafe\nSafety Categories: Violence": (True, ("Violence",)),
    " User Safety: unsafe\nSafety Categories: Criminal Planning/Confessions, PII/Privacy\n": (
        True,
        ("Criminal Planning/Confessions", "PII/Privacy"),
    ),
}
NEMOTRON_ANSWERED: dict[str, Told] = {
    "User Safety: unsafe\nResponse Safety: unsafe": (True, ()),
    "User Safety: unsafe\nResponse Safety: unsafe\nSafety Categories: Criminal Planning/Confessions": (
        True,
        ("Criminal Planning/Confessions",),
    ),
    "User Safety: unsafe\nResponse Safety: safe\nSafety Categories: Violence, Threat": (False, ()),
    "User Safety: safe\nResponse Safety: unsafe\nSafety Categories: Unauthorized Advice": (
        True,
        ("Unauthorized Advice",),
    ),
    "User Safety: safe\nResponse Safety: safe": (False, ()),
}
NOT_NEMOTRON = [
    "", "safe", "unsafe", "User Safety", "User Safety:", "User Safety: Safe", "User Safety: harmful",
    "User safety: safe", "User Safety: safe.", "User Safety: safe\nUser Safety: unsafe",
    "User Safety: safe\nResponse Safety: safe", "Response Safety: safe", "Safety Categories: Violence",
    "Safety Categories: Violence\nUser Safety: unsafe", "User Safety: unsafe\nSafety Categories:",
    "User Safety: unsafe\nSafety Categories: Bad Manners", "User Safety: unsafe\nSafety Categories: Violence,",
    "User Safety: safe\nSafety Categories: Violence", "User Safety: unsafe\nSafety Categories: Violence\nMore: text",
    '{"User Safety": "safe"}', "The user is safe.\nUser Safety: safe", "User Safety = unsafe", "<think>unsafe",
]  # fmt: skip
NOT_NEMOTRON_ANSWERED = [
    "User Safety: safe", "User Safety: unsafe\nSafety Categories: Violence", "Response Safety: unsafe",
    "Response Safety: safe\nUser Safety: safe", "User Safety: safe\nResponse Safety: None",
    "User Safety: safe\nResponse Safety: safe\nSafety Categories: Violence",
    "User Safety: safe\nResponse Safety: safe\nResponse Safety: unsafe",
]  # fmt: skip

MODERATED = {
    "flagged": True,
    "categories": {"hate": False, "violence": True, "sexual": True, "illicit": None},
    "category_scores": {"hate": 0.01, "violence": 0.71, "sexual": 0.9, "illicit": None},
    "category_applied_input_types": {"violence": ["image"]},
}


def moderated(**changes: Any) -> str:
    return json.dumps({**MODERATED, **changes})


SAFE = {"flagged": False, "categories": {"hate": False}, "category_scores": {"hate": 1e-6}}
MODERATION: dict[str, Told] = {
    moderated(): (True, ("sexual", "violence")),
    json.dumps(SAFE): (False, ()),
    moderated(category_applied_input_types=None): (True, ("sexual", "violence")),
    moderated(categories={"our_own": True}): (True, ("our_own",)),
}
NOT_MODERATION = [
    "", "null", "[]", "7", '"flagged"', "{}", moderated(flagged=None), moderated(flagged="true"), moderated(flagged=1),
    moderated(flagged=False), moderated(categories=None), moderated(categories=["violence"]), moderated(categories={}),
    moderated(categories={"violence": "yes"}), moderated(categories={"violence": 1}),
    moderated(categories={"hate": False}), moderated(category_scores=None), moderated(category_scores={}),
    moderated(category_scores={"violence": "0.7"}), moderated(category_scores={"violence": True}),
    moderated(category_scores={"violence": -0.1}), moderated(category_scores={"violence": 1.5}),
    moderated(category_scores={"violence": None}), moderated(category_scores=[0.7]),
]  # fmt: skip
