"""The records that stages pass on: small, frozen, one line of JSON each on disk.

    Sample -> Request -> Response -> Verdict

Every stored line carries `schema`; `from_line` migrates older lines. A record never changes: a later line with the
same key replaces an earlier one when a file is read.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from json.encoder import encode_basestring
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from annotated_types import Interval, Len
from PIL import Image

from .errors import InputError
from .taxonomy import SAFE, Expected

if TYPE_CHECKING:
    from pydantic import TypeAdapter

SCHEMA_VERSION = 1

Finish = Literal["stop", "truncated", "filtered", "error"]
Role = Literal["system", "user", "assistant"]

Count = Annotated[int, Interval(ge=-(2**63), lt=2**63)]
Repeat = Annotated[int, Interval(ge=0, lt=2**31)]
ResponseKey = tuple[str, int]
VerdictKey = tuple[str, str, int]


class Stored:
    """What is kept as lines: a field that a record does not have, or of another type, makes no record."""

    __pydantic_config__ = {"extra": "forbid", "strict": True, "ser_json_inf_nan": "constants"}  # noqa: RUF012


@dataclass(frozen=True, kw_only=True)
class Turn(Stored):
    """One turn of the conversation before a sample's query; `images` as a sample's."""

    role: Literal["user", "assistant"]
    text: str
    images: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Sample(Stored):
    """One image-text pair of a benchmark, with what is expected of a model. Targets never see it whole.

    `images` are names that the benchmark can open, none for text-only. `turns` are the conversation before the query.
    Samples of one `cluster` may fail together.
    """

    benchmark: str
    id: str
    query: str
    expected: Expected
    images: tuple[str, ...] = ()
    combination: str | None = None
    category: str | None = None
    subcategory: str | None = None
    image_label: str | None = None
    cluster: str | None = None
    split: str = "test"
    reference: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    turns: tuple[Turn, ...] = ()

    @property
    def key(self) -> str:
        return self.id

    @property
    def every_image(self) -> tuple[str, ...]:
        """The images of the whole conversation, those of the query last."""
        return (*(name for turn in self.turns for name in turn.images), *self.images)

    def conversation(self, query: str | None = None) -> str:
        """The query, or what stands for it, behind the turns before it, as a judge and a reader see them."""
        last = self.query if query is None else query
        said = [f"{turn.role.upper()}: {turn.text}" for turn in self.turns]
        return "\n\n".join([*said, f"USER: {last}"]) if said else last

    @property
    def has_answer_key(self) -> bool:
        """A question with one right answer, such as those that show lost utility, rather than a safety pair."""
        return self.combination is None and self.reference is not None


@dataclass(frozen=True)
class Picture:
    """An image by name, opened only when a target needs its pixels (RGB).

    `file` gives the bytes of the file that it is stored in; None for one that is drawn or edited.
    """

    name: str
    open: Callable[[], Image.Image] = field(repr=False, compare=False)
    file: Callable[[], bytes | None] = field(default=lambda: None, repr=False, compare=False)


@dataclass(frozen=True)
class Message:
    """One turn of a conversation: its pictures come before its text."""

    role: Role
    text: str
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True, kw_only=True)
class GenerationSettings:
    """How to decode. The default, greedy and at most 512 new tokens, is the one HoliSafe's release uses.

    `reasoning` tells a model that offers the choice to think or not; None leaves it to the model. `reasoning_tokens` is
    what one may think besides, for targets that keep the two apart; with `reasoning` "on" it is held to that.
    """

    max_new_tokens: int = 512
    temperature: float = 0.0
    seed: int = 0
    system: str | None = None
    reasoning_tokens: int | None = None
    reasoning: Literal["off", "on"] | None = None


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a target sees of a sample: the conversation and how to decode. It never carries a label.

    `repeat` counts from 0 the times that the same is asked. `answer_schema` is a JSON schema that the answer should
    follow, for targets that can hold a model to one; others leave it aside. `template` is what the model's own chat
    template is told besides. `first_words` are words whose probability of beginning the answer is asked for.
    """

    sample_id: str
    messages: tuple[Message, ...]
    settings: GenerationSettings = GenerationSettings()
    repeat: int = 0
    answer_schema: Mapping[str, Any] | None = None
    template: Mapping[str, Any] = field(default_factory=dict)
    first_words: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class GuardReading(Stored):
    """The Visual Guard Module's verdict on a request's images: one probability a label, summing to 1."""

    probabilities: Annotated[Mapping[str, float], Len(1)]

    @property
    def label(self) -> str:
        return max(self.probabilities, key=lambda name: self.probabilities[name])

    @property
    def unsafe(self) -> float:
        """1 - P(safe), the score that binary guard metrics use; NaN of a guard that has no label `safe`."""
        return 1.0 - self.probabilities.get(SAFE, math.nan)

    @property
    def finite(self) -> bool:
        """False when the model broke down on the way and gave no numbers."""
        return all(math.isfinite(value) for value in self.probabilities.values())


@dataclass(frozen=True, kw_only=True)
class Response(Stored):
    """What a target answered. `finish == "error"` is no answer: it is never judged, and is asked again on resume.

    `finish == "filtered"` is a block by the provider's content filter: not the model's own answer, so never judged.
    `usage` counts tokens: input_tokens, output_tokens, reasoning_tokens. `cost` is in US dollars, None without prices.
    `calibrated` tells whether a calibration that decides by request was applied to this one; None: nothing decided.
    `finish_reason` is the provider's own word for how the answer ended, where it is none that `finish.ending` knows.
    `original` is the answer before a second model wrote it again; None: nobody did.
    `first_words` are the probabilities that a request asked for; a word that the target cannot tell of is not in it.
    """

    sample_id: str
    target: str
    text: str
    finish: Finish = "stop"
    repeat: Repeat = 0
    reasoning: str | None = None
    error: str | None = None
    guard: GuardReading | None = None
    usage: Mapping[str, Count] = field(default_factory=dict)
    cost: float | None = None
    latency_seconds: float | None = None
    calibrated: bool | None = None
    finish_reason: str | None = None
    original: str | None = None
    first_words: Mapping[str, float] | None = None

    @property
    def key(self) -> ResponseKey:
        return response_key(self.sample_id, self.repeat)

    @property
    def usable(self) -> bool:
        """Whether the call is done, if only with an empty answer or a block; others are made again."""
        return self.finish != "error"

    @property
    def judgeable(self) -> bool:
        """Whether it is the model's own answer, which judges judge."""
        return self.finish not in ("error", "filtered")

    @property
    def hash(self) -> str:
        """Identifies what was judged: the sample, the answer and how it ended, but neither time nor usage."""
        return response_hash(self.sample_id, self.target, self.text, self.reasoning, self.finish)


@dataclass(frozen=True, kw_only=True)
class Verdict(Stored):
    """One judge's opinion of one response. `label` is a key of `taxonomy.VERDICT_MEANING`, or None when `invalid`.

    `choice` is the judge's own word for it where its rubric has finer classes. `usage` and `cost` are as in Response.
    """

    sample_id: str
    response_hash: str
    judge: str
    judge_version: str
    label: str | None
    repeat: Repeat = 0
    choice: str | None = None
    invalid: str | None = None
    raw: str | None = None
    usage: Mapping[str, Count] = field(default_factory=dict)
    cost: float | None = None

    @property
    def key(self) -> VerdictKey:
        return verdict_key(self.judge, self.response_key)

    @property
    def response_key(self) -> ResponseKey:
        """The key of the response that was judged."""
        return response_key(self.sample_id, self.repeat)

    def counts(self, response: Response | None, version: str) -> bool:
        """Whether it is on this very response and by these rules of its judge; else it is out of date."""
        return response is not None and (self.judge_version, self.response_hash) == (version, response.hash)


def response_key(sample_id: str, repeat: int) -> ResponseKey:
    """What a response is kept under: the sample's id, and which time it was asked, from 0."""
    return sample_id, repeat


def verdict_key(judge: str, response: ResponseKey) -> VerdictKey:
    """What a judge's verdict on a response, given by its key, is kept under."""
    return judge, *response


Record = TypeVar("Record", Sample, Response, Verdict)


def digest(value: Any) -> str:
    """SHA-256 of a JSON value in canonical form, as 16 hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


def response_hash(*said: str | None) -> str:
    """What identifies an answer, of its sample_id, target, text, reasoning and finish: their `digest`, five times as
    fast."""
    text = ",".join(["null" if part is None else encode_basestring(part) for part in said])
    return hashlib.sha256(f"[{text}]".encode("utf-8", "replace")).hexdigest()[:16]


def to_line(record: Sample | Response | Verdict) -> str:
    """One line of JSON without its newline; fields at their default are left out.

    Half a surrogate pair, which no UTF-8 file can hold, becomes "?", and counts as "?" in every digest.
    """
    from pydantic_core import PydanticSerializationError

    kind: Any = type(record)
    adapter = _adapter(kind)
    try:
        body = adapter.dump_json(record, exclude_defaults=True).decode()
    except PydanticSerializationError:
        whole = json.dumps(adapter.dump_python(record, exclude_defaults=True), ensure_ascii=False)
        body = whole.encode("utf-8", "replace").decode()
    return f'{{"schema":{SCHEMA_VERSION},{body[1:]}'


def from_line(kind: type[Record], line: str, where: str | Path = "line", row: int | None = None) -> Record:
    """Read one stored line. Raises InputError naming the place when it is no such record or from a newer schema."""
    from pydantic import ValidationError

    for start in _STARTS:
        if line.startswith(start):
            line = "{" + line[len(start) :]
            break
    else:
        line = _without_schema(line, where, row)
    try:
        shape: Any = kind
        record: Record = _adapter(shape).validate_json(line)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False)
        fault = next((fault for fault in faults if fault["type"] == "unexpected_keyword_argument"), faults[0])
        problem, name = fault["msg"], ".".join(map(str, fault["loc"])) or None
        if name is not None:
            said = {"missing": "missing", "unexpected_keyword_argument": f"{kind.__name__} has no such field"}
            problem = said.get(fault["type"], f"unusable value {str(fault['input'])[:60]!r}")
        raise InputError(problem.replace("Invalid JSON:", "not JSON:"), where=where, row=row, field=name) from None
    return record


_STARTS = (f'{{"schema":{SCHEMA_VERSION},', f'{{"schema": {SCHEMA_VERSION}, ')
"""How the lines of this schema begin, today and before."""


def _without_schema(line: str, where: str | Path, row: int | None) -> str:
    """A line written by others or by another version, as one of this schema."""
    try:
        body = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON ({error})", where=where, row=row) from None
    if not isinstance(body, dict):
        raise InputError("not a JSON object", where=where, row=row)
    schema = body.pop("schema", SCHEMA_VERSION)
    if type(schema) is not int or not 1 <= schema <= SCHEMA_VERSION:
        problem = f"schema {str(schema)[:60]!r} is not one that this holisafe reads"
        raise InputError(problem, where=where, row=row, field="schema")
    return json.dumps(body)


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)
