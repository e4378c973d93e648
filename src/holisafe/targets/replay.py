"""`replay/FILE`: answers that already exist, in a table of any form, asked again by sample id.

    id,response                      or one JSON object a line: {"id": "a-1", "response": "..."}

Columns `id` (or `sample_id`) and `response` (or `text`), other names by the options `id=` and `text=`. Where the
answers have them also `finish` (stop, truncated, filtered, error) or a provider's `finish_reason`, `reasoning`, and
`repeat` for the second, third ... answer to a sample. Other columns are ignored. Thoughts are parted from answers, as
everywhere; `thoughts=OPEN...CLOSE` names a model's own marks. A response may be a list of parts, as chat APIs write
them. A run's `responses.jsonl` is such a file: there, as everywhere in a run
folder, the last line of an answer wins; in any other file a second line is an error.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

from ..errors import InputError
from ..finish import ending, worst
from ..records import Finish, GenerationSettings, Request, Response, ResponseKey, Sample, digest, response_key
from ..registry import targets
from ..tables import column_of, identity, rows
from ..tables.matching import unmatched
from ..thoughts import Marks, own_marks, part, spoken
from .base import Capabilities, error_response

ABSENT = "no response for this sample"


@dataclass(frozen=True)
class Answer:
    """One row of the file. `text` None is a row without an answer, which an empty answer is not."""

    text: str | None
    finish: Finish = "stop"
    reasoning: str | None = None
    finish_reason: str | None = None


class ReplayTarget:
    """Answers from a file. An empty answer stays one; an id without an answer is an error response."""

    capabilities = Capabilities(free=True)

    def __init__(self, name: str, answers: dict[ResponseKey, Answer]) -> None:
        self.name, self.answers = name, answers

    def describe(self) -> dict[str, Any]:
        content = [[key, answer.text, answer.finish, answer.reasoning] for key, answer in self.answers.items()]
        return {"kind": "replay", "content": digest(content)}

    def remarks(self, samples: Sequence[Sample]) -> list[str]:
        """The answers that belong to no sample. Raises InputError when none does."""
        asked = (name for name, _ in self.answers)
        return unmatched("answers", asked, (sample.id for sample in samples), self.name)

    async def respond(self, requests: AsyncIterable[Request]) -> AsyncIterator[Response]:
        async for request in requests:
            answer = self.answers.get(response_key(request.sample_id, request.repeat), Answer(None))
            if answer.text is None or answer.finish == "error":
                yield error_response(request, self.name, ABSENT)
            else:
                yield Response(
                    sample_id=request.sample_id,
                    repeat=request.repeat,
                    target=self.name,
                    text=answer.text,
                    finish=answer.finish,
                    reasoning=answer.reasoning,
                    finish_reason=answer.finish_reason,
                )


@targets.register("replay", summary="answers from a table, by sample id")
def load(name: str, options: dict[str, str], settings: GenerationSettings) -> ReplayTarget:
    """Read the whole file. Raises InputError naming row and field for a fault; a file without rows is one."""
    del settings  # these answers were decoded elsewhere
    for option in options:
        if option not in ("id", "text", "thoughts"):
            raise InputError(f"replay has no option {option!r}; known: id, text, thoughts")
    path, own = Path(name), own_marks(options.get("thoughts"))
    return ReplayTarget(f"replay/{name}", read_answers(path, options.get("id"), options.get("text"), own))


def read_answers(
    path: Path, id_column: str | None = None, text_column: str | None = None, own: Marks | None = None
) -> dict[ResponseKey, Answer]:
    """Response key -> answer, in file order. Columns not named are found among their usual names."""
    answers: dict[ResponseKey, Answer] = {}
    for row, record in rows(path):
        key_field = column_of(record, (id_column,) if id_column else ("id", "sample_id"), path, row)
        text_field = column_of(record, (text_column,) if text_column else ("response", "text"), path, row)
        key, text = identity(record, key_field, path, row), record[text_field]
        thought = ""
        if isinstance(text, list):
            text, thought = spoken(text)
        if isinstance(text, int | float) and not isinstance(text, bool):
            text = str(text).removesuffix(".0")  # a count, as sheets and JSON keep it
        if text is not None and not isinstance(text, str):
            raise InputError("a response is text or a number", where=path, row=row, field=text_field)
        finish, word = _finish(record, path, row)
        repeat, reasoning = record.get("repeat") or 0, record.get("reasoning") or None
        if not str(repeat).isdecimal():
            raise InputError("a repeat is a whole number from 0", where=path, row=row, field="repeat")
        if reasoning is not None and not isinstance(reasoning, str):
            raise InputError("reasoning is text", where=path, row=row, field="reasoning")
        answer_key = response_key(key, int(repeat))
        if answer_key in answers and "schema" not in record:
            raise InputError(f"duplicate id {key!r}", where=path, row=row, field=key_field)
        if text is not None:
            parted = part(text, own)
            text = parted.text
            reasoning = "\n".join(filter(None, (reasoning, thought, parted.reasoning))) or None
            finish = "truncated" if finish == "stop" and parted.unfinished else finish
        answers[answer_key] = Answer(text, finish, reasoning, word)
    return answers


def _finish(record: dict[str, Any], path: Path, row: int) -> tuple[Finish, str | None]:
    """How a row says that its answer ended; of a provider's own word, one that is not known is kept."""
    written, theirs = record.get("finish") or "stop", record.get("finish_reason") or None
    finish = cast(Finish, written) if written in get_args(Finish) else ending(written)
    if finish is None:
        raise InputError(f"is none of {', '.join(get_args(Finish))}", where=path, row=row, field="finish")
    if record.get("finish"):
        return finish, theirs if isinstance(theirs, str) and finish == "stop" and ending(theirs) is None else None
    finish, word = worst(theirs)
    return finish, word if finish == "stop" else None
