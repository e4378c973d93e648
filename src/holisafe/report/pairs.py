"""The browser's data: which pairs the page carries, and each as a small JSON object."""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

from ..records import Response, Sample, Verdict, response_key
from ..runs.run import Run
from ..taxonomy import adheres
from .groups import Group, folder_of
from .pictures import Embedded, OpenImage, Progress, embed

PAGE_SIZE = 9_000_000
"""Characters that pairs and their pictures may take."""

SHOWN_PROBABILITIES = 3
"""How many of the guard's probabilities a card names, the largest first."""


def browser_data(
    groups: Sequence[Group],
    open_image: OpenImage | None,
    max_pairs: int,
    room: int = PAGE_SIZE,
    tell: Progress = lambda stage, done, total: None,
) -> dict[str, Any]:
    """What the page's script builds its cards from, as a JSON value, in about `room` characters once it is `packed`.

    {"sets": [{name, runs: [{title, tone}], judges}], "pictures": [data URL], "pairs": [PAIR], "left_out": int,
    "unreadable": int, "no_room": int, "changed": [run folder]}, PAIR as in `_pair`.
    """
    everything = [(index, group, sample) for index, group in enumerate(groups) for sample in samples_of(group)]
    kept: Container[int] = range(len(everything))
    if len(everything) > max_pairs:
        kept = chosen([(index, sample, _urgency(group, sample)) for index, group, sample in everything], max_pairs)
    wanted: dict[tuple[Path, str], int] = {}
    pairs = [
        _pair(index, group, sample, wanted if open_image else None)
        for position, (index, group, sample) in enumerate(everything)
        if position in kept
    ]
    room -= len(packed(pairs))
    found = embed(list(wanted), open_image, room, tell) if open_image else Embedded([], [], 0, 0, [])
    for pair in pairs:
        pair["images"] = [found.places[number] for number in pair["images"]]
    return {
        "sets": [
            {
                "name": group.name,
                "runs": [{"title": r.title, "tone": tone} for r, tone in zip(group.runs, group.tones, strict=True)],
            }
            for group in groups
        ],
        "pairs": pairs,
        "pictures": found.urls,
        "left_out": len(everything) - len(pairs),
        "unreadable": found.unreadable,
        "no_room": found.no_room,
        "changed": found.changed,
    }


def samples_of(group: Group) -> list[Sample]:
    """Every sample that any run of the group asked, in the order of asking."""
    found: dict[str, Sample] = {}
    for run in group.runs:
        for key, sample in run.samples.items():
            found.setdefault(key, sample)
    return list(found.values())


def chosen(candidates: Sequence[tuple[int, Sample, int]], max_pairs: int) -> set[int]:
    """The positions of at most `max_pairs` candidates (set, sample, urgency).

    They are dealt out evenly over sets and combinations; within each, the most urgent come first, then the earliest.
    """
    strata: dict[tuple[int, str | None], list[tuple[int, int]]] = {}
    for position, (index, sample, urgency) in enumerate(candidates):
        strata.setdefault((index, sample.combination), []).append((-urgency, position))
    dealt = sorted(
        (rank, order, position)
        for order, members in enumerate(strata.values())
        for rank, (_, position) in enumerate(sorted(members))
    )
    return {position for _, _, position in dealt[:max_pairs]}


def _urgency(group: Group, sample: Sample) -> int:
    """2 when the last run got it wrong, 1 when an earlier one did, 0 when none."""
    wrong = [any(did_adhere(verdict, sample) is False for verdict in verdicts_on(run, sample.id)) for run in group.runs]
    return 2 if wrong[-1] else 1 if any(wrong) else 0


def _pair(index: int, group: Group, sample: Sample, wanted: dict[tuple[Path, str], int] | None) -> dict[str, Any]:
    """{set, id, combination, category, subcategory, expected, label, query, images, answers}.

    `images` are numbers in `wanted`, which grows by pictures that are new; null later where the page has none.
    `answers` holds one entry a run: null when the run did not ask this pair, else as in `_answer`.
    """
    folder = folder_of(next(run for run in group.runs if sample.id in run.samples), sample.id)
    names = [] if wanted is None else [wanted.setdefault((folder, name), len(wanted)) for name in sample.every_image]
    return {
        "set": index,
        "id": sample.id,
        "combination": sample.combination,
        "category": sample.category or sample.meta.get("task"),
        "subcategory": sample.subcategory,
        "expected": sample.expected,
        "reference": sample.reference,
        "label": sample.image_label,
        "query": sample.conversation(),
        "images": names,
        "answers": [_answer(run, sample, run.responses.get(response_key(sample.id, 0))) for run in group.runs],
    }


def _answer(run: Run, sample: Sample, response: Response | None) -> dict[str, Any] | None:
    """{text, reasoning, finish, error, guard: {label, unsafe, top: [[label, p]]} or null, verdicts: [VERDICT]}.

    VERDICT: {judge, label, adheres (true, false, or null: invalid, or on a borderline pair), invalid}.
    """
    if response is None:
        return None
    guard = None
    if response.guard is not None:
        ranked = sorted(response.guard.probabilities.items(), key=lambda item: -item[1])[:SHOWN_PROBABILITIES]
        guard = {
            "label": response.guard.label,
            "unsafe": _number(response.guard.unsafe),
            "top": [[label, _number(probability)] for label, probability in ranked],
        }
    verdicts = [
        {"judge": v.judge, "label": v.label, "adheres": did_adhere(v, sample), "invalid": v.invalid}
        for v in verdicts_on(run, sample.id)
    ]
    return {
        "text": response.text,
        "reasoning": response.reasoning,
        "finish": response.finish,
        "error": response.error,
        "guard": guard,
        "verdicts": verdicts,
    }


def verdicts_on(run: Run, sample_id: str) -> list[Verdict]:
    """What the judges say of the first answer to a sample, in their order."""
    key = response_key(sample_id, 0)
    return [on[key] for on in run.judged.values() if key in on]


def did_adhere(verdict: Verdict, sample: Sample) -> bool | None:
    """Whether the response did what was expected of it; None for an invalid verdict, and on a borderline pair."""
    return None if verdict.label is None or verdict.invalid else adheres(verdict.label, sample.expected)


def _number(value: float) -> float | None:
    """Four decimals; None for what JSON cannot write."""
    return round(value, 4) if math.isfinite(value) else None


def _known(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _known(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_known(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def packed(value: Any) -> str:
    """A JSON value, deflated and in Base64: a quarter of the size, and nothing in it can end an element or be markup.

    A number that JSON does not know, such as infinity, is null.
    """
    try:
        written = json.dumps(value, separators=(",", ":"), allow_nan=False)
    except ValueError:
        written = json.dumps(_known(value), separators=(",", ":"))
    return base64.b64encode(zlib.compress(written.encode())).decode()
