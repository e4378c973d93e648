"""Why calls failed, in words: the commonest reasons, and whether the first calls all failed for the same one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from ..records import Response, Verdict

FIRST = 8
"""So many first calls that all fail alike show that the next would: a wrong name, key or address."""


def reason_of(record: Response | Verdict) -> str | None:
    """Why a call failed; None for one that did not."""
    if isinstance(record, Response):
        return None if record.usable else (record.error or "no reason given")
    from ..judges.base import CALL_FAILED, call_failed

    return (record.invalid or "").removeprefix(CALL_FAILED) if call_failed(record) else None


def alike(reason: str) -> str:
    """A reason without what differs from call to call: numbers, and how often it was tried."""
    return re.sub(r" \(after .*\)$", "", re.sub(r"[0-9a-f-]{16,}|\d+(?:[.,]\d+)*", "#", reason))


def commonest(records: Iterable[Response | Verdict], most: int = 3) -> list[str]:
    """`12 x 404 Not Found: ...`, one line for each of the commonest reasons, told by its first wording."""
    wordings: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for reason in filter(None, map(reason_of, records)):
        counts[alike(reason)] += 1
        wordings.setdefault(alike(reason), reason)
    return [f"{count:,} x {wordings[kind]}" for kind, count in counts.most_common(most)]


def unknown_endings(responses: Iterable[Response]) -> list[str]:
    """A line for each word for the end of answers that nobody here knows."""
    words = Counter(response.finish_reason for response in responses if response.finish_reason is not None)
    return [
        f"{count:,} answers ended in {word!r}, a word that is not known: they count as whole"
        for word, count in words.most_common(5)
    ]
