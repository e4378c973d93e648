"""Guards that are models asked in words: over transformers, an OpenAI-compatible server, or a file of answers.

    llama-guard/hf/ID_OR_FOLDER    llama-guard/openai/MODEL,base_url=http://127.0.0.1:8000/v1    llama-guard/replay/FILE

What stands after the guard's name is a target, with its options; without a target's kind it is a model of transformers.
Such a guard is what it asks about an item and how it reads the answer. An answer that cannot be read is no verdict.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from ..errors import InputError
from ..records import GenerationSettings, Message, Request, Response, digest
from ..registry import targets
from ..specs import parse_spec
from ..stepping import each
from ..targets import open_target
from ..targets.base import Target
from ..targets.identity import telling, without_place, written
from .base import CALL_FAILED, Item, Kind, Reading, reading, unreadable
from .policy import Policy

QUESTION = "What is in this image?"
"""Asked about an image alone by guards that judge what a user says."""


class Said(NamedTuple):
    """What answers come to: a verdict with the guard's own categories and numbers, or None and why there is none."""

    unsafe: bool | None
    categories: tuple[str, ...] = ()
    score: float | None = None
    scores: Mapping[str, float] = {}
    invalid: str | None = None


def cannot_be_read(why: str) -> Said:
    """No verdict."""
    return Said(None, invalid=why)


class Question(NamedTuple):
    """A conversation to put to the model, and what its chat template is told besides. With `first_words` nothing but
    the probability of each as the answer's first word is wanted."""

    messages: tuple[Message, ...]
    template: Mapping[str, Any] = {}
    first_words: tuple[str, ...] = ()


@dataclass
class Asked:
    """An item, and the answers to its questions as far as they are there."""

    item: Item
    answers: dict[int, Response | None] = field(default_factory=dict)


@dataclass
class AskingGuard:
    """The guard. `questions` may raise InputError for an item that cannot be asked about."""

    name: str
    version: str
    takes: frozenset[Kind]
    taxonomy: str | None
    decides: str
    note: str
    target: Target
    settings: GenerationSettings
    questions: Callable[[Item], Sequence[Question]]
    conclude: Callable[[Item, Sequence[Response]], Said]

    def read(self, items: Iterable[Item]) -> Iterator[Reading]:
        """As answers come in. When `items` ends, what is in flight finishes. Inside an event loop use `readings`."""

        async def coming() -> AsyncIterator[Item]:
            for item in items:
                yield item

        return each(self.readings(coming()))

    async def readings(self, items: AsyncIterable[Item]) -> AsyncIterator[Reading]:
        """As `read`. Raises ValueError when two items in flight have one id."""
        asked: dict[str, Asked] = {}
        without_a_call: deque[Reading] = deque()

        async def requests() -> AsyncIterator[Request]:
            async for item in items:
                try:
                    coming = list(self.requests(item))
                except InputError as error:
                    without_a_call.append(unreadable(item, error.problem))
                    continue
                if item.id in asked:
                    raise ValueError(f"two items {item.id!r} at once")
                asked[item.id] = Asked(item, dict.fromkeys(range(len(coming))))
                for request in coming:
                    yield request

        async for response in self.target.respond(requests()):
            entry = asked[response.sample_id]
            entry.answers[response.repeat] = response
            answers = [answer for answer in entry.answers.values() if answer is not None]
            if len(answers) == len(entry.answers):
                del asked[response.sample_id]
                yield self._reading(entry.item, answers)
            while without_a_call:
                yield without_a_call.popleft()
        while without_a_call:
            yield without_a_call.popleft()
        if asked:
            raise RuntimeError(f"{self.target.name} left {len(asked)} items without an answer")

    def requests(self, item: Item) -> Iterator[Request]:
        """What the model is asked about an item: one request a question, told apart by `repeat`."""
        for number, question in enumerate(self.questions(item)):
            yield Request(
                sample_id=item.id,
                repeat=number,
                messages=question.messages,
                settings=replace(self.settings, max_new_tokens=1) if question.first_words else self.settings,
                template=question.template,
                first_words=question.first_words,
            )

    def _reading(self, item: Item, answers: Sequence[Response]) -> Reading:
        usage: Counter[str] = Counter()
        for answer in answers:
            usage.update(answer.usage)
        costs = [answer.cost for answer in answers if answer.cost is not None]
        times = [answer.latency_seconds for answer in answers if answer.latency_seconds is not None]
        raw = "\n\n".join(answer.text for answer in answers if answer.text and answer.first_words is None)
        spent: dict[str, Any] = {
            "raw": raw or None,
            "usage": dict(usage),
            "cost": math.fsum(costs) if costs else None,
            "seconds": round(math.fsum(times), 4) if times else None,
        }
        said = self._said(item, answers)
        if said.unsafe is None:
            return unreadable(item, said.invalid or "no verdict", **spent)
        return reading(self, item, said.unsafe, said.categories, score=said.score, scores=dict(said.scores), **spent)

    def _said(self, item: Item, answers: Sequence[Response]) -> Said:
        for answer in answers:
            if answer.finish == "error":
                return cannot_be_read(CALL_FAILED + (answer.error or "no reason given"))
            if answer.finish == "filtered":
                return cannot_be_read("the guard's provider blocked the call")
            if answer.finish == "truncated" and answer.first_words is None:
                return cannot_be_read("cut off at the longest answer")
        return self.conclude(item, answers)


def asking(
    kind: str,
    model: str,
    options: Mapping[str, str],
    *,
    takes: Iterable[Kind],
    note: str,
    questions: Callable[[Item], Sequence[Question]],
    conclude: Callable[[Item, Sequence[Response]], Said],
    rules: Any,
    taxonomy: str | None = None,
    own: Mapping[str, str] | None = None,
    policy: Policy | None = None,
    max_new_tokens: int = 512,
    decides: str = "its own verdict",
) -> AskingGuard:
    """A guard that asks the model of a target's spec. `options` are the target's, `own` the guard's; `rules` are what
    else its readings depend on: its wording, its version of reading. A `policy` of the user's own is told in its name.
    Raises InputError when it cannot be opened."""
    own = {**(own or {}), **({"policy": policy.name} if policy is not None else {})}
    if model.partition("/")[0] not in targets.entries():
        model = f"hf/{model}"
    settings = GenerationSettings(max_new_tokens=max_new_tokens)
    target = open_target(written(*parse_spec(model)[:2], options), settings)
    place, name, _ = parse_spec(model)
    return AskingGuard(
        name=f"{kind}/{written(place, name, telling({**options, **own}))}",
        version=digest([kind, rules, own, max_new_tokens, without_place(target.describe())])[:8],
        takes=frozenset(takes),
        taxonomy=taxonomy,
        decides=decides,
        note=note,
        target=target,
        settings=settings,
        questions=questions,
        conclude=conclude,
    )


def one_question(item: Item) -> list[Question]:
    """The conversation as it is; of an image alone what it shows is asked, so that only the image can be unsafe."""
    return [Question((replace(item, text=QUESTION) if item.kind == "image" else item).messages)]


def one_answer(parse: Callable[[str], Said]) -> Callable[[Item, Sequence[Response]], Said]:
    """The conclusion of a guard that asks one question and reads its answer."""
    return lambda item, answers: parse(answers[0].text)
