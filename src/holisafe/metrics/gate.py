"""`--fail-if 'masr_pooled>0.10'`: a condition on a run's scores, as a gate for continuous integration."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from ..taxonomy import UNSAFE_COMBINATIONS

COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
BY_JUDGE = (
    "masr_pooled",
    "masr_macro",
    "rr",
    "under_safety",
    "over_safety",
    *(f"asr.{c}" for c in UNSAFE_COMBINATIONS),
)
MEASURES = (*BY_JUDGE, "utility", "guard.accuracy", "errors", "invalid")
"""What a condition may be about; "errors" and "invalid" are shares of the calls and of the verdicts."""

_WRITTEN = re.compile(r"(?:(?P<judge>.+):)?(?P<measure>[\w.]+) *(?P<how>[<>]=?) *(?P<number>\d*\.?\d+(?:e-?\d+)?)")


@dataclass(frozen=True)
class Gate:
    """A measure, of one judge or of every judge that has it, and what it must not be."""

    text: str
    judge: str | None
    measure: str
    comparison: str
    threshold: float

    def failures(self, scores: Mapping[str, Any]) -> Iterator[str]:
        """One line for every judge by whom the condition holds, and one when there is nothing to compare.

        A gate passes only on what was measured: a rate without a valid verdict behind it fails.
        """
        found = {judge: rate for judge, rate in self._rates(scores).items() if self.judge in (None, judge)}
        if not found:
            yield f"{self.text}: not measured"
        for judge, rate in found.items():
            by = f" by {judge}" if judge else ""
            if rate is None:
                yield f"{self.text}: no valid verdict{by}"
            elif COMPARISONS[self.comparison](rate, self.threshold):
                yield f"{self.text}: {self.measure} is {rate:.4f}{by}"

    def _rates(self, scores: Mapping[str, Any]) -> dict[str, float | None]:
        """{judge, or "" for what no judge decides: rate}, only where the run has the measure."""
        judges = scores["judges"]
        if self.measure == "errors":
            return {"": scores["responses"]["errors"] / scores["responses"]["n"]}
        if self.measure == "invalid":
            verdicts = {judge: of["n"] + of["n_invalid"] for judge, of in judges.items()}
            return {judge: judges[judge]["n_invalid"] / n for judge, n in verdicts.items() if n}
        if self.measure == "utility":
            return {judge: cell["rate"] for judge, cell in scores["utility"].items()}
        if self.measure == "guard.accuracy":
            return {"": scores["guard"]["accuracy"]["rate"]} if scores["guard"] else {}
        group, _, combination = self.measure.partition(".")
        cells = {judge: of[group].get(combination) if combination else of[group] for judge, of in judges.items()}
        return {judge: cell["rate"] for judge, cell in cells.items() if cell and cell["n"] + cell["n_invalid"]}


def parse_gate(text: str) -> Gate:
    """`masr_pooled>0.10`, or of one judge: `string-match:holisafe:rr>=0.2`. Raises InputError for anything else."""
    if (match := _WRITTEN.fullmatch(text.strip())) is None:
        raise InputError(f"{text!r} is not written MEASURE>NUMBER, such as masr_pooled>0.10", where="--fail-if")
    if match["measure"] not in MEASURES:
        raise InputError(f"no measure {match['measure']!r}; known: {', '.join(MEASURES)}", where="--fail-if")
    return Gate(text.strip(), match["judge"], match["measure"], match["how"], float(match["number"]))
