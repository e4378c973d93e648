"""What of a run is done, without its texts: what going on with a run of a million answers needs to know.

Of a response is kept how it ended, what identifies it and where its line
begins; of a verdict, by which rules it was given, on which answer, and why it is invalid. A million responses with the
verdicts of two judges take about a gigabyte.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..records import Response, ResponseKey, Sample, Verdict, from_line


class Answer(NamedTuple):
    """A response: whether the call is done, whether it is the model's own answer, its hash, where its line begins."""

    usable: bool
    judgeable: bool
    hash: str
    at: int


class Opinion(NamedTuple):
    """A verdict: the version of its judge, the hash of the answer that was judged, and why it is invalid."""

    version: str
    hash: str
    invalid: str | None


class Index:
    """What a run holds; of several lines of a key the last.

    samples     the ids of those that the run asks about
    spent       what everything stored so far has cost, in US dollars; what costs nothing known counts as 0
    """

    def __init__(self, responses: Path) -> None:
        self.path = responses
        self.samples: set[str] = set()
        self.spent = 0.0
        self._answers: dict[ResponseKey, Answer] = {}
        self._opinions: dict[str, dict[ResponseKey, Opinion]] = {}

    def take(self, record: Sample | Response | Verdict, at: int) -> None:
        """Take in a record, whose line begins at byte `at` of its file."""
        if isinstance(record, Sample):
            self.samples.add(record.id)
            return
        if isinstance(record, Response):
            hashed = record.hash if record.judgeable else ""
            self._answers[record.key] = Answer(record.usable, record.judgeable, hashed, at)
        else:
            opinion = Opinion(record.judge_version, record.response_hash, record.invalid)
            self._opinions.setdefault(record.judge, {})[record.response_key] = opinion
        if record.cost is not None and record.cost > 0:
            self.spent += record.cost

    def done(self, key: ResponseKey) -> bool:
        """Whether a call has its answer; an error is none."""
        return key in self._answers and self._answers[key].usable

    def judgeable(self, key: ResponseKey) -> bool:
        """Whether there is an answer of the model's own, which judges judge."""
        return key in self._answers and self._answers[key].judgeable

    def opinion(self, judge: str, version: str, key: ResponseKey) -> Opinion | None:
        """What a judge says of the present answer by its present rules; None when it has not said anything yet."""
        opinion, answer = self._opinions.get(judge, {}).get(key), self._answers.get(key)
        current = opinion is not None and answer is not None and opinion[:2] == (version, answer.hash)
        return opinion if current else None

    def calls(self) -> Iterator[ResponseKey]:
        """Every call that was made, in the order of its first answer."""
        return iter(self._answers)

    def responses(self, keys: list[ResponseKey]) -> Iterator[Response]:
        """These responses whole, read again from their lines."""
        with self.path.open("rb") as file:
            for key in keys:
                file.seek(self._answers[key].at)
                yield from_line(Response, file.readline().decode(), where=self.path)
