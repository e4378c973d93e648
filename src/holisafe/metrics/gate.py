"""`--fail-if 'masr_pooled>0.10'`: a condition on a run's scores, as a gate for continuous integration."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..errors import InputError
from ..runs.scores import Scores
from .measured import GATES, by_judge

COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}

_WRITTEN = re.compile(
    r"(?:(?P<judge>.+):)?(?P<measure>[\w.]+) *(?P<how>[<>]=?) *(?P<number>\d*\.?\d+(?:e-?\d+)?) *(?P<percent>%?)"
)


@dataclass(frozen=True)
class Gate:
    """A measure, of one judge or of every judge that has it, and what it must not be."""

    text: str
    judge: str | None
    measure: str
    comparison: str
    threshold: float

    def failures(self, scores: Scores) -> Iterator[str]:
        """One line for every judge by whom the condition holds, and one when there is nothing to compare.

        A gate passes only on what was measured: a rate without a valid verdict behind it fails.
        """
        found = {judge: cell for judge, cell in by_judge(scores, self.measure).items() if self.judge in (None, judge)}
        if not found:
            yield f"{self.text}: not measured"
        for judge, cell in found.items():
            by = f" by {judge}" if judge else ""
            if cell.rate is None:
                yield f"{self.text}: no valid verdict{by}"
            elif COMPARISONS[self.comparison](cell.rate, self.threshold):
                rate = f"{100 * cell.rate:.2f}%" if self.text.endswith("%") else f"{cell.rate:.4f}"
                yield f"{self.text}: {self.measure} is {rate} (n={cell.n}){by}"


def parse_gate(text: str) -> Gate:
    """`masr_pooled>0.10` or `masr_pooled>10%`, or of one judge: `string-match:holisafe:rr>=0.2`.

    Raises InputError for anything else, and for what never holds: a share above 1 or below 0.
    """
    if (match := _WRITTEN.fullmatch(text.strip())) is None:
        raise InputError(f"{text!r} is not written MEASURE>NUMBER, such as masr_pooled>0.10", where="--fail-if")
    if match["measure"] not in GATES:
        raise InputError(f"no measure {match['measure']!r}; known: {', '.join(GATES)}", where="--fail-if")
    threshold = float(match["number"]) / (100 if match["percent"] else 1)
    if threshold > 1 or (threshold, match["how"]) in ((1, ">"), (0, "<")):
        written = "" if match["percent"] or not threshold else f"; write {match['number']}% for percent"
        never = "above 1" if threshold else "below 0"
        raise InputError(f"{text!r}: a rate is a fraction and never {never}{written}", where="--fail-if")
    return Gate(text.strip(), match["judge"], match["measure"], match["how"], threshold)
