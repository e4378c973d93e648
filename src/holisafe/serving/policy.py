"""The operator's policy, one YAML file: what is done with what guards see, with what fails, and how much is taken.

    rules:          # of all that match the strictest holds; without rules what a guard calls unsafe is blocked
      - {category: violence, above: 0.5, do: block}
      - {category: unsafe, above: 0.2, do: calibrate, of: request}
      - {category: privacy, do: note}
    refusal: "I can't help with that: it was read as {category}."
    failures: {guard_down: closed, upstream_down: error, unreadable_image: closed, image_unseen: closed}
    stream: {window: 200, stride: 80}
    limits: {turns: 20, seconds: 60}
    fetch: {hosts: [images.example.org]}

`category` is `unsafe`, one of our categories or image labels, or a guard's own word. Every setting may be left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ..errors import InputError
from ..typed_yaml import read_yaml, validated
from .findings import Finding

Action = Literal["pass", "note", "calibrate", "block"]
ORDER: tuple[Action, ...] = ("pass", "note", "calibrate", "block")
"""From the mildest to the strictest."""

Stage = Literal["request", "answer"]
Open = Literal["closed", "open"]
Positive = Annotated[int, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0, le=3600)]


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Rule(Settings):
    """Holds when a guard's number for the category is above `above`, or without one when the guard itself found it."""

    category: str = "unsafe"
    above: Annotated[float, Field(ge=0, le=1)] | None = None
    do: Action
    of: Literal["request", "answer", "both"] = "both"


class Failures(Settings):
    """What happens when a part fails. `closed` answers with an error; `open` goes on without the part, and counts it.

    unreadable_image  open: asked without that picture
    image_unseen      the upstream counts no tokens for pictures, so the model does not see them
    upstream_down     `apology`: a completion that says so, with finish reason `content_filter`, instead of an error
    """

    guard_down: Open = "closed"
    unreadable_image: Open = "closed"
    image_unseen: Open = "closed"
    upstream_down: Literal["error", "apology"] = "error"


class Stream(Settings):
    """Characters of a stream that are held back behind what was judged, and how many new ones are judged at once."""

    window: Annotated[int, Field(ge=0)] = 160
    stride: Positive = 80


class Limits(Settings):
    """The most of each. `waiting` requests may wait for one of `in_flight`; the next is told 429."""

    body_bytes: Positive = 24 << 20
    picture_bytes: Positive = 10 << 20
    pixels: Positive = 40_000_000
    pictures: Positive = 16
    turns: Positive = 64
    characters: Positive = 200_000
    tokens: Positive = 4096
    in_flight: Positive = 128
    waiting: Annotated[int, Field(ge=0)] = 64
    seconds: Seconds = 120
    guard_seconds: Seconds = 30
    body_seconds: Seconds = 20
    header_seconds: Seconds = 10


class Fetch(Settings):
    """Hosts from which a picture's address may be opened, over HTTPS; none of them may be in a private network."""

    hosts: tuple[str, ...] = ()
    seconds: Seconds = 10


class Policy(Settings):
    """The whole file."""

    rules: tuple[Rule, ...] = (Rule(do="block"),)
    refusal: str = "I can't help with this. It was stopped by a safety check: {category}."
    apology: str = "I can't answer now: the model is not available."
    failures: Failures = Failures()
    stream: Stream = Stream()
    limits: Limits = Limits()
    fetch: Fetch = Fetch()

    @field_validator("refusal")
    @classmethod
    def _named(cls, text: str) -> str:
        if "{category}" not in text:
            raise ValueError("a refusal names its reason: write {category} where it stands")
        return text

    def decide(self, stage: Stage, findings: Iterable[Finding]) -> Decision:
        """The strictest action that a rule asks for, and for which category; else pass."""
        found = list(findings)
        best = Decision("pass")
        for rule in self.rules:
            if rule.of in (stage, "both") and ORDER.index(rule.do) > ORDER.index(best.action):
                seen = max((one.strength(rule.category, rule.above) for one in found), default=0.0)
                if seen > 0:
                    best = Decision(rule.do, self._told(rule.category, found), seen)
        if best.action == "calibrate" and stage == "answer":
            return Decision("note", best.category, best.score)  # it has been asked already
        return best

    def _told(self, category: str, found: Sequence[Finding]) -> str:
        """A category in words: of `unsafe`, what a guard found more exactly."""
        named = (name for one in found for name in one.named) if category == "unsafe" else iter(())
        return next(named, category).replace("_", " ")

    def refuses_with(self, category: str) -> str:
        return self.refusal.replace("{category}", category)

    def asks_for(self, action: Action) -> bool:
        return any(rule.do == action for rule in self.rules)


class Decision(NamedTuple):
    """What is done with a request or an answer, and why."""

    action: Action
    category: str = ""
    score: float = 0.0


def read_policy(path: Path | None) -> Policy:
    """The policy in a file, or the one that holds without. Raises InputError naming the setting that is wrong."""
    if path is None:
        return Policy()
    policy = validated(Policy, read_yaml(path), path)
    for number, rule in enumerate(policy.rules):
        if rule.do == "calibrate" and rule.of == "answer":
            raise InputError("an answer cannot be calibrated any more", where=path, field=f"rules.{number}.do")
    return policy
