"""Why calls failed, in words: the commonest reasons, and answers that ended in a word that nobody here knows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from ..records import Response


def alike(reason: str) -> str:
    """A reason without what differs from call to call: numbers, and how often it was tried."""
    return re.sub(r" \(after [^()]*\)\Z", "", re.sub(r"[0-9a-f-]{16,}|\d+(?:[.,]\d+)*", "#", reason))


def failures(responses: Iterable[Response]) -> list[str]:
    """Why each of the failed calls failed."""
    return [response.error or "no reason given" for response in responses if not response.usable]


def commonest(reasons: Iterable[str], most: int = 3) -> list[str]:
    """`12 x 404 Not Found: ...`, one line for each of the commonest reasons, told in its first wording."""
    wordings: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for reason in reasons:
        counts[alike(reason)] += 1
        wordings.setdefault(alike(reason), reason)
    return [f"{count:,} x {wordings[kind]}" for kind, count in counts.most_common(most)]


def unknown_endings(responses: Iterable[Response], most: int = 5) -> list[str]:
    """One line for each word for the end of answers that `finish.ending` does not know."""
    words = Counter(response.finish_reason for response in responses if response.finish_reason is not None)
    return [
        f"{count:,} answers ended in {word!r}, a word that is not known: they count as whole"
        for word, count in words.most_common(most)
    ]
