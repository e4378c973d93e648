"""Readings as OpenAI's moderations: its 13 categories where they mean the same, ours and the guard's besides.

A category that no guard here has a word for is there, as clients expect it, but applied to nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from ..guards.taxonomies import OVERALL, PREFIX
from ..journal import read_json
from ..taxonomy import CATEGORIES, CATEGORY_OF
from .chat import Body, ImagePart, TextPart
from .findings import UNSAFE, Finding
from .panel import Seen
from .policy import Policy, Stage

SDK: dict[str, list[str]] = read_json(Path(__file__).with_name("moderation_categories.json"))
"""OpenAI's category -> our labels and categories that mean the same; none for no equivalent."""

HOSTED = "moderation"
"""The taxonomy of guards whose categories are OpenAI's."""


class ModerationBody(Body):
    """A text, several texts, or the parts of one message."""

    input: str | Annotated[list[str], Field(min_length=1)] | Annotated[list[TextPart | ImagePart], Field(min_length=1)]
    model: str | None = None


def result(seen: Seen, policy: Policy, stage: Stage) -> dict[str, Any]:
    """One entry of `results`. Flagged is what a guard calls unsafe, and whatever a rule does not let pass."""
    told = {name: _told(seen.findings, labels, name) for name, labels in SDK.items()}
    told |= {f"{PREFIX}{name}": _told(seen.findings, [name]) for name in (*CATEGORIES, *CATEGORY_OF)}
    own = dict.fromkeys(name for one in seen.findings for name in one.own if name not in told)
    told |= {name: _told(seen.findings, [name]) for name in own}
    flagged = policy.decide(stage, seen.findings).action != "pass" or any(one.unsafe for one in seen.findings)
    told[OVERALL] = (flagged, *_told(seen.findings, [UNSAFE])[1:])
    return {
        "flagged": flagged,
        "categories": {name: found for name, (found, _, _) in told.items()},
        "category_scores": {name: score for name, (_, score, _) in told.items()},
        "category_applied_input_types": {name: applied for name, (_, _, applied) in told.items()},
    }


def _told(
    findings: Sequence[Finding], words: Sequence[str], theirs: str | None = None
) -> tuple[bool, float, list[str]]:
    """Whether any of the words is there, how sure that is, and what was looked at for it; `theirs` is OpenAI's own
    word, which a guard with OpenAI's categories means by it."""
    found, score, applied = False, 0.0, set[str]()
    for one in findings:
        known = [*words, *([theirs] if theirs and one.taxonomy == HOSTED else [])]
        numbers = [one.scores[word] for word in known if word in one.scores]
        there = any(word in one.found for word in known)
        if numbers or there:
            found |= there
            score = max(score, min(1.0, sum(numbers)) if numbers else 1.0)
            applied |= {*one.modalities}
    return found, score, sorted(applied, reverse=True)


def slot(seen: Seen | None, policy: Policy, stage: Stage, model: str) -> dict[str, Any]:
    """`moderation.input` or `moderation.output` of a completion."""
    if seen is None or not seen.findings:
        why = "; ".join(seen.faults) if seen and seen.faults else "no guard reads this"
        code = "guard_unavailable" if seen and seen.faults else "not_read"
        return {"type": "error", "code": code, "message": "the guard gave no reading" if seen and seen.faults else why}
    entry = {"type": "moderation_result", "model": model, **result(seen, policy, stage)}
    return {"type": "moderation_results", "model": model, "results": [entry]}


def inputs(body: ModerationBody) -> Iterable[tuple[str, list[str]]]:
    """Each thing to read: its text, and its pictures' addresses."""
    given: list[Any] = [body.input] if isinstance(body.input, str) else list(body.input)
    parts: list[TextPart | ImagePart] = [one for one in given if not isinstance(one, str)]
    yield from ((one, []) for one in given if isinstance(one, str))
    if parts:
        text = "\n".join(part.text for part in parts if isinstance(part, TextPart))
        yield text, [part.image_url.url for part in parts if isinstance(part, ImagePart)]
