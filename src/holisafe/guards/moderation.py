"""`moderation/MODEL`: a hosted moderation endpoint, `POST /v1/moderations`, with the options of `openai/...`.

    moderation/omni-moderation-latest,key=OPENAI_API_KEY    moderation/MODEL,base_url=http://127.0.0.1:8000/v1

Its score is the largest of its categories' scores, or the one that our own servers give for all of them. Of an item
with an answer only the answer is read: the endpoint flags texts, and would flag a question that was well refused.
`reads=image+pair` names what the endpoint takes, where it does not take everything: a guard of ours behind vLLM.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..clients.moderation import ModerationClient
from ..clients.options import chat_options
from ..errors import InputError
from ..records import GenerationSettings, Message, digest
from ..registry import guards
from ..targets.base import Capabilities
from .asking import AskingGuard, Question, Said, cannot_be_read, one_answer
from .base import NARROWER, Item, Kind
from .policy import Policy, no_policy
from .taxonomies import OVERALL

NOTE = (
    "A moderation endpoint flags content, not what a model should refuse; of an answer it sees the text alone. "
    "Some of its categories, sexual/minors for one, are for text only."
)


class ModerationTarget(ModerationClient):
    """The endpoint as a target: a response's text is what it said of a request, as JSON."""

    capabilities = Capabilities()

    def describe(self) -> dict[str, Any]:
        encoding = self.options.encoding
        return {"kind": "moderation", "model": self.options.model, "image_format": encoding.format}


def questions(item: Item) -> list[Question]:
    if item.response is not None:
        return [Question((Message("assistant", item.response),))]
    return [Question(item.messages)]


def parse(answer: str) -> Said:
    """What the endpoint says of an item: `flagged`, and for every category whether and how likely."""
    try:
        said: Any = json.loads(answer)
    except (ValueError, RecursionError):
        return cannot_be_read("no JSON")
    flags, scores = (said.get(name) for name in ("categories", "category_scores")) if isinstance(said, dict) else (0, 0)
    if not isinstance(flags, dict) or not isinstance(scores, dict) or type(said.get("flagged")) is not bool:
        return cannot_be_read("no `flagged`, `categories` and `category_scores`")
    if not all(value is None or type(value) is bool for value in flags.values()):
        return cannot_be_read("a category is neither true nor false")
    numbers = {name: value for name, value in scores.items() if value is not None}
    if not numbers or not all(type(value) in (int, float) and 0 <= value <= 1 for value in numbers.values()):
        return cannot_be_read("a category's score is no number between 0 and 1")
    score = numbers.get(OVERALL, max(numbers.values()))
    found = sorted((name for name, value in flags.items() if value), key=lambda name: -numbers.get(name, 0.0))
    if said["flagged"] != bool(found):
        return cannot_be_read("`flagged` contradicts its categories")
    named = tuple(name for name in found if name != OVERALL) or tuple(found)
    return Said(said["flagged"], named, score, {name: number for name, number in numbers.items() if name != OVERALL})


@guards.register("moderation", summary="a hosted moderation endpoint: pictures, texts, pairs and answers")
def load(model: str, options: Mapping[str, str], policy: Policy | None) -> AskingGuard:
    """Asks nothing yet. Raises InputError for an unusable option or no key."""
    no_policy(policy, "moderation")
    others = {name: value for name, value in options.items() if name != "reads"}
    target = ModerationTarget(f"moderation/{model}", chat_options(model, others))
    return AskingGuard(
        name=f"moderation/{model}",
        version=digest([1, target.describe()])[:8],
        takes=_kinds(options.get("reads")),
        taxonomy="moderation",
        decides="its own verdict",
        note=NOTE,
        target=target,
        settings=GenerationSettings(),
        questions=questions,
        conclude=one_answer(parse),
    )


def _kinds(written: str | None) -> frozenset[Kind]:
    if written is None:
        return frozenset(NARROWER)
    if unknown := [name for name in written.split("+") if name not in NARROWER]:
        raise InputError(f"reads={written}: {unknown[0]!r} is none of {', '.join(NARROWER)}")
    return frozenset(kind for kind in NARROWER if kind in written.split("+"))
