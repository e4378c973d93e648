"""Responses from the sample logs of lmms-eval (`--log_samples`): `DATE_samples_TASK.jsonl`, one document a line.

A line has `doc_id`, the document's position in the dataset from 0; `target`; `filtered_resps`, the response as it was
scored, in a list; `resps`, the raw one, left out where it is the same; `input`, the prompt; hashes; and what the task
adds. Older logs have `doc`, the dataset's row, and `arguments` instead of `input`. What `lmms_eval_log` wrote has the
whole response in `holisafe`, under its own name and with its repeat.

Source: lmms-eval, `loggers/evaluation_tracker.py` and `evaluator.py`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..records import Finish, Response, ResponseKey, Sample, from_line
from ..tables import identity as checked_identity
from ..tables import rows
from ..thoughts import Marks, part

ID_FIELDS = ("doc.id", "doc.sample_id", "doc.question_id")
"""Where the sample's own id is, where the log has it."""


def read_log(
    path: Path,
    target: str,
    samples: Sequence[Sample] | None = None,
    id_field: str | None = None,
    own: Marks | None = None,
) -> list[Response]:
    """The responses of a log, in its order.

    Args:
        path: the log.
        target: what the responses are stored under, such as the model's name.
        samples: the benchmark's, in its own order; where the log has no ids, `doc_id` is the position among them. Each
            line whose prompt is logged must then contain the sample's query.
        id_field: the field that holds the id, with dots between levels; by default the first of ID_FIELDS there is.
        own: the model's own marks of its thoughts, which are parted from its answers.

    A task with several filters logs a line for each; the raw response, which they share, is then the one.

    Raises InputError, naming row and field, for a broken line, a line without an id or a response, a document that
    occurs twice or was asked several times, and a prompt that is not the sample's.
    """
    responses: dict[ResponseKey, Response] = {}
    raw: dict[str, Any] = {}
    for row, line in rows(path):
        if (ours := line.get("holisafe")) is not None and isinstance(ours, dict) and "response" in ours:
            whole = _whole(ours["response"], line, path, row)
            if whole.key in responses:
                raise InputError(f"duplicate id {whole.sample_id!r}", where=path, row=row)
            responses[whole.key] = whole
            continue
        identity = _identity(line, id_field, samples, path, row)
        again = (identity, 0) in responses
        if again and (line.get("resps") is None or line["resps"] != raw[identity]):
            raise InputError(f"duplicate id {identity!r}", where=path, row=row)
        raw[identity] = line.get("resps")
        scored = "filtered_resps" in line and not again
        parted = part(_text(line, "filtered_resps" if scored else "resps", path, row), own)
        finish: Finish = "truncated" if parted.unfinished else "stop"
        found = Response(sample_id=identity, target=target, text=parted.text, reasoning=parted.reasoning, finish=finish)
        responses[found.key] = found
    return list(responses.values())


def _whole(stored: Any, line: dict[str, Any], path: Path, row: int) -> Response:
    """A response of ours as it was. Raises InputError when it is none, or not the one that the line shows."""
    found = from_line(Response, json.dumps(stored), path, row)
    checked_identity({"sample_id": found.sample_id}, "sample_id", path, row)
    if _text(line, "filtered_resps", path, row) != found.text:
        raise InputError("is not the response in `holisafe`", where=path, row=row, field="filtered_resps")
    return found


def _identity(
    line: dict[str, Any], id_field: str | None, samples: Sequence[Sample] | None, path: Path, row: int
) -> str:
    """The sample's id: the log's own, or by position in the benchmark."""
    for field in (id_field,) if id_field else ID_FIELDS:
        value = _at(line, field)
        if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            return checked_identity({field: value}, field, path, row)
    if id_field:
        raise InputError("no text or whole number here", where=path, row=row, field=id_field)
    position = line.get("doc_id")
    if not isinstance(position, int) or isinstance(position, bool):
        raise InputError("not a whole number", where=path, row=row, field="doc_id")
    if samples is None:
        problem = "the log has only positions, no ids: name the benchmark that it was made on with --bench and --root"
        raise InputError(problem, where=path, row=row, field="doc")
    if not 0 <= position < len(samples):
        raise InputError(
            f"{position} is no position among {len(samples):,} samples", where=path, row=row, field="doc_id"
        )
    sample = samples[position]
    prompts = [value for value in (line.get("input"), *_list(line.get("arguments"))) if isinstance(value, str)]
    if prompts and not any(sample.query.strip() in prompt for prompt in prompts):
        problem = f"the prompt is not the query of sample {sample.id!r}: another release, or another order"
        raise InputError(problem, where=path, row=row, field="input")
    return sample.id


def _text(line: dict[str, Any], field: str, path: Path, row: int) -> str:
    """The one response of a line. Raises InputError when there are several, or none."""
    found: Any = line.get(field)
    while isinstance(found, list) and len(found) == 1:
        found = found[0]
    if isinstance(found, list) and len(found) > 1:
        raise InputError(f"{len(found)} responses to one document", where=path, row=row, field=field)
    if not isinstance(found, str):
        raise InputError("not the text of a response", where=path, row=row, field=field)
    return found


def _at(line: Any, field: str) -> Any:
    for name in field.split("."):
        line = line.get(name) if isinstance(line, dict) else None
    return line


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
