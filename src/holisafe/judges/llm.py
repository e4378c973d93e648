"""`llm/RUBRIC/SPEC`: a model as the judge. RUBRIC says what it is asked, SPEC which model, as for a target.

    llm/holisafe/openai/gpt-4o      llm/./my/rubric.md/openai/MODEL,base_url=http://127.0.0.1:8000/v1
    llm/vscbench/replay/FILE        llm/holisafe/openai/MODEL,of=reasoning     (judges the thought: see `thought`)

A reply that cannot be read is asked for once more and then makes the verdict invalid; no reply is ever guessed at, and
no other judge stands in. A call that failed makes a verdict whose reason begins with "error: ": it is asked for again
when the run is carried on.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field, replace

from ..errors import InputError
from ..records import GenerationSettings, Request, Response, ResponseKey, Sample, Verdict, digest
from ..registry import judges
from ..specs import parse_spec
from ..stepping import each
from ..targets import open_target
from ..targets.base import Target
from ..targets.identity import telling, without_place, written
from ..taxonomy import BORDERLINE
from ..thoughts import OF_REASONING
from .base import CALL_FAILED, Judged, unjudgeable, verdict
from .fence import VERSION
from .prompt import answer_schema, message, wording
from .reply import UnreadableError, read_reply
from .rubric import Rubric, Words, load_rubric, split_spec

SETTINGS = GenerationSettings(max_new_tokens=512)
"""How a judge decodes, where its SPEC says nothing else: greedily, with room for a reason and a word."""

TRIES = 2


@dataclass
class Asked:
    """A response under judgement, and the judge's replies so far."""

    item: Judged
    replies: list[Response] = field(default_factory=list)


@dataclass
class LLMJudge:
    """The judge. `subject` is what of a response it judges: the response itself, or its reasoning, as the rubric or
    `of=reasoning` says.

    `measures` are the rubric's own rates: a name, and the words whose share among the valid verdicts it is.
    """

    name: str
    version: str
    spec: str
    rubric: Rubric
    target: Target
    subject: str = "response"

    @property
    def measures(self) -> dict[str, Words]:
        return self.rubric.front.measures

    def of_reasoning(self) -> LLMJudge:
        """The same rubric and model, as a judge of thoughts."""
        if self.subject == "reasoning":
            return self
        name, spec = self.name + OF_REASONING, self.spec + OF_REASONING
        version = _version(self.rubric, "reasoning", self.target)
        return replace(self, name=name, version=version, spec=spec, subject="reasoning")

    def applies(self, sample: Sample) -> bool:
        """Safety pairs of which the rubric's behaviour is expected, or all of them; no borderline ones where it asks
        whether the response did what was expected."""
        unsettled = sample.expected == BORDERLINE and "pair_label" in self.rubric.front.sees
        return not sample.has_answer_key and not unsettled and self.rubric.front.applies in ("all", sample.expected)

    def judge(self, items: Iterable[Judged]) -> Iterator[Verdict]:
        """One verdict an item, as replies come in. Items are taken only as the target takes requests.

        When `items` ends, what is in flight finishes. Not for use inside an event loop: there, use `verdicts`.
        """
        return each(self.verdicts(items))

    async def verdicts(self, items: Iterable[Judged]) -> AsyncIterator[Verdict]:
        """As `judge`. Raises ValueError when two items in flight are the same sample's same repeat."""
        coming = iter(items)
        asked: dict[ResponseKey, Asked] = {}
        again: deque[Asked] = deque()
        without_a_call: deque[Verdict] = deque()

        async def requests() -> AsyncIterator[Request]:
            """Never waits for a reply: a target may want more requests before it answers any."""
            while True:
                if again:
                    entry = again.popleft()
                elif (item := next(coming, None)) is None:
                    return
                elif (problem := self._problem(item)) is not None:
                    without_a_call.append(verdict(self, item.response, None, problem))
                    continue
                else:
                    entry = Asked(item)
                key = entry.item.response.key
                if key in asked:
                    raise ValueError(f"two responses {key!r} at once")
                asked[key] = entry
                yield self.request(entry.item, again=bool(entry.replies))

        while True:
            async for reply in self.target.respond(requests()):
                entry = asked.pop(reply.key)
                entry.replies.append(reply)
                try:
                    yield self._verdict(entry)
                except UnreadableError:
                    again.append(entry)
                while without_a_call:
                    yield without_a_call.popleft()
            while without_a_call:
                yield without_a_call.popleft()
            if asked:
                raise RuntimeError(f"{self.target.name} left {len(asked)} requests without any response")
            if not again:
                return

    def request(self, item: Judged, again: bool = False) -> Request:
        """What the model is asked about a response; `again` when its first reply could not be read."""
        front, response = self.rubric.front, item.response
        return Request(
            sample_id=response.sample_id,
            repeat=response.repeat,
            messages=(message(self.rubric, item, self._judged(item), self.subject, again),),
            settings=SETTINGS,
            answer_schema=answer_schema(front.labels) if front.form == "json" else None,
        )

    def _problem(self, item: Judged) -> str | None:
        """Why nobody can judge this, if so."""
        most = self.target.capabilities.images_per_request
        if self.subject == "reasoning":
            if problem := unjudgeable(item.response):
                return problem
        elif not item.response.text.strip():
            return "empty response"
        if "image" in self.rubric.front.sees:
            if len(item.pictures) < len(item.sample.every_image):
                return "the pair's picture is not at hand"
            if most is not None and most < len(item.pictures):
                return f"the judge takes {most} pictures a call; the pair has {len(item.pictures)}"
        return None

    def _judged(self, item: Judged) -> str:
        return (item.response.reasoning or "") if self.subject == "reasoning" else item.response.text

    def _verdict(self, entry: Asked) -> Verdict:
        """What the replies come to. Raises UnreadableError when the last one cannot be read and another may be had."""
        reply, word, invalid = entry.replies[-1], None, None
        if reply.finish == "error":
            invalid = CALL_FAILED + (reply.error or "no reason given")
        elif reply.finish == "filtered":
            invalid = "the judge's provider blocked the call"
        else:
            try:
                if reply.finish == "truncated":
                    raise UnreadableError("cut off at the longest answer")
                word = read_reply(reply.text, self.rubric.front.labels, self.rubric.front.form)
            except UnreadableError as error:
                if len(entry.replies) < TRIES:
                    raise
                invalid = f"unreadable, {TRIES} times: {error}"
        usage: Counter[str] = Counter()
        for one in entry.replies:
            usage.update(one.usage)
        costs = [one.cost for one in entry.replies if one.cost is not None]
        said = [one.text for one in (entry.replies if invalid else [reply]) if one.text]
        return replace(
            verdict(self, entry.item.response, self.rubric.front.labels[word] if word else None, invalid),
            choice=word,
            raw="\n\n".join(said) or None,
            usage=dict(usage),
            cost=math.fsum(costs) if costs else None,
        )


@judges.register("llm", summary="a model asked by a rubric: llm/RUBRIC/SPEC")
def load(option: str | None) -> LLMJudge:
    """`RUBRIC/SPEC`. Raises InputError for an unknown rubric, a broken one, or a target that cannot be opened."""
    if option is None:
        raise InputError("llm needs a rubric and a model: llm/RUBRIC/SPEC, such as llm/holisafe/openai/MODEL")
    rubric_name, target_spec = split_spec(option)
    rubric = load_rubric(rubric_name)
    kind, model, options = parse_spec(target_spec)
    target = open_target(written(kind, model, options), SETTINGS)
    name, version = f"llm/{rubric.name}/{written(kind, model, telling(options))}", _version(rubric, "response", target)
    judge = LLMJudge(name, version, f"llm/{option}", rubric, target)
    return judge.of_reasoning() if rubric.front.of == "reasoning" else judge


def _version(rubric: Rubric, subject: str, target: Target) -> str:
    """Changes whenever the same thing would be asked in another way."""
    told = subject if subject == "response" else [subject, "whole"]  # one that was cut off is not judged
    rules = [rubric.text, wording(), VERSION, TRIES, told, without_place(target.describe())]
    return f"{rubric.front.version}-{digest(rules)[:8]}"
