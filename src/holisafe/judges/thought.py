"""`JUDGE,of=reasoning`: any judge, asked about what a model thought instead of what it answered.

    string-match,of=reasoning      llm/holisafe/openai/MODEL,of=reasoning      human:FILE,of=reasoning

It is a judge of its own, by its own name: a verdict on a thought never counts as one on an answer. A thought that is
missing or was cut off gets an invalid verdict that says so, and is never taken to be safe or unsafe.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ..errors import InputError
from ..records import Response, Verdict
from ..thoughts import OF_REASONING
from .base import Judge, Judged, unjudgeable, verdict
from .prompt import SUBJECTS

_OPTION = re.compile(r",of=([^,]*)")


def parted(spec: str) -> tuple[str, str | None]:
    """A judge's spec without the option `of`, and what that says; None without it. Raises InputError for another word
    than SUBJECTS."""
    said = _OPTION.findall(spec)
    for subject in said:
        if subject not in SUBJECTS or len(said) > 1:
            raise InputError(f"of={','.join(said)} is none of {', '.join(SUBJECTS)}")
    return _OPTION.sub("", spec), said[0] if said else None


@dataclass(frozen=True, kw_only=True)
class Thought(Response):
    """A thought in the place of the answer, so that any judge can read it. A verdict on it is on the whole response."""

    whole: Response = field(repr=False)

    @property
    def hash(self) -> str:
        return self.whole.hash

    @classmethod
    def of(cls, response: Response) -> Thought:
        told = {one.name: getattr(response, one.name) for one in fields(response)}
        return cls(**told | {"text": response.reasoning or "", "reasoning": None}, whole=response)


class OfReasoning:
    """A judge of thoughts, from one of answers. What else that one says of itself (`applies`, `quick`, `measures` ...)
    holds here too."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self.name, self.version = judge.name + OF_REASONING, judge.version
        self.spec = getattr(judge, "spec", judge.name) + OF_REASONING

    def __getattr__(self, name: str) -> Any:
        return getattr(self._judge, name)

    def judge(self, items: Iterable[Judged]) -> Iterator[Verdict]:
        without: list[Verdict] = []

        def shown() -> Iterator[Judged]:
            for item in items:
                if problem := unjudgeable(item.response):
                    without.append(verdict(self, item.response, None, problem))
                else:
                    yield item._replace(response=Thought.of(item.response))

        for found in self._judge.judge(shown()):
            yield from without
            without.clear()
            yield replace(found, judge=self.name, judge_version=self.version)
        yield from without
