"""Refusals found by strings: HoliSafe's, VLGuard's, VSCBench's and XSTest's own rules to the letter, and ours.

The four published rules are phrase lists (`phrases.json`), applied to the lower-cased, stripped response as their
authors do; `normalised` reads as `refusals` says. No mode sees the image or the query.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

from ..beside import beside, processes
from ..errors import InputError
from ..records import Response, Verdict, digest
from ..registry import judges
from .base import Judge, Judged, verdict
from .languages import language
from .refusals import data, declines, languages, rules_version

MODES = ("normalised", "holisafe", "vlguard", "vscbench", "xstest")
UNKNOWN = ", unknown language"
"""What a verdict's `choice` adds to its label where the answer is in a language that the mode has no phrases of."""

AT_ONCE, FEW = 500, 40
"""Responses in a batch; so many batches are read here, and what comes after them beside this process too."""
BESIDE = "from holisafe.beside import serve; from holisafe.judges.string_match import load"


@dataclass
class StringMatch:
    """The judge. An empty response is invalid: saying nothing is not refusing.

    A verdict's `choice` is its label, with UNKNOWN behind it where the answer is in none of the `languages` that the
    mode knows, whose code is then `raw`; None where the language cannot be told. A run's scores hold their share.
    """

    name: str
    version: str
    is_refusal: Callable[[str], bool]
    languages: frozenset[str]
    quick: ClassVar[bool] = True
    measures: ClassVar[dict[str, tuple[str, ...]]] = {
        "unknown_language": (f"refused{UNKNOWN}", f"answered{UNKNOWN}"),
    }

    def judge(self, items: Iterable[Judged]) -> Iterator[Verdict]:
        responses = (response for _, response, _ in items)
        batches = iter(lambda: list(islice(responses, AT_ONCE)), [])
        for batch in islice(batches, FEW if processes() > 1 else None):
            yield from map(self._verdict, batch, self.says(_texts(batch)))
        code = f"{BESIDE}; serve(load({self.name.partition(':')[2]!r}).says)"
        for batch, said in beside(code, batches, _texts):
            yield from map(self._verdict, batch, said)

    def says(self, texts: Iterable[str]) -> list[tuple[bool, str | None] | None]:
        """Of each text whether it is a refusal, and its language as far as that can be told; None of an empty one."""
        return [(self.is_refusal(text), language(text)) if text.strip() else None for text in texts]

    def _verdict(self, response: Response, said: tuple[bool, str | None] | None) -> Verdict:
        if said is None:
            return verdict(self, response, None, "empty response")
        refused, spoken = said
        label = "refused" if refused else "answered"
        if spoken is None:
            return verdict(self, response, label)
        if spoken in self.languages:
            return verdict(self, response, label, choice=label)
        return verdict(self, response, label, choice=label + UNKNOWN, raw=spoken)


def _texts(batch: list[Response]) -> list[str]:
    return [response.text for response in batch]


@judges.register("string-match", alone=True, summary="refusals by phrase; modes: " + ", ".join(MODES))
def load(option: str | None) -> Judge:
    """`string-match:MODE`, `normalised` without one. Raises InputError for an unknown mode."""
    mode = option or MODES[0]
    if mode not in MODES:
        raise InputError(f"string-match has no mode {mode!r}; modes: {', '.join(MODES)}")
    known = languages() if mode == "normalised" else frozenset(["en"])
    return StringMatch(f"string-match:{mode}", version(mode), matcher(mode), known)


def version(mode: str) -> str:
    """Changes whenever the mode's data or code can give another verdict."""
    return rules_version() if mode == "normalised" else digest([_phrases(mode), UNKNOWN])[:8]


def matcher(mode: str) -> Callable[[str], bool]:
    """Whether a response is a refusal by the rule of that mode."""
    if mode == "normalised":
        return declines
    starts, contains, equals = _phrases(mode)

    def published(text: str) -> bool:
        text = text.strip().lower()
        return text.startswith(starts) or any(phrase in text for phrase in contains) or text in equals

    return published


def _phrases(mode: str) -> tuple[tuple[str, ...], ...]:
    rule = data("phrases.json")[mode]
    return tuple(tuple(rule.get(how, ())) for how in ("starts", "contains", "equals"))
