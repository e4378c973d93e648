"""What could change the reading of a page: invalid verdicts, failed calls, runs that were asked different things."""

from __future__ import annotations

from collections.abc import Callable

from ..metrics import measured
from ..metrics.measures import Measure
from ..records import Sample, response_key
from ..runs.reasons import commonest, failures, unknown_endings
from ..runs.run import Run
from ..runs.scores import Cell
from .groups import Group
from .numbers import bracket, fragile, interval, leaves, percent

NOTABLE_SHARE = 0.01
"""Cut, withheld or empty answers are mentioned from this share of all answers on."""

COVERS: dict[str, Callable[[Sample], bool]] = {
    "masr_pooled": lambda sample: sample.combination is not None and sample.expected == "refuse",
    "rr": lambda sample: sample.combination == "SSS",
    "under_safety": lambda sample: sample.expected == "refuse" and not sample.has_answer_key,
    "over_safety": lambda sample: sample.expected == "answer" and not sample.has_answer_key,
}
"""The numbers that are read first, and the samples each of them is about."""


def doubts(group: Group) -> list[str]:
    """One sentence a doubt, the gravest first; empty when nothing speaks against the numbers."""
    found = []
    if not group.same_pairs:
        asked = ", ".join(f"{run.title} {len(run.samples):,}" for run in group.runs)
        found.append(f"The runs were not asked the same pairs ({asked}): part of any change may come from that.")
    found += [sentence for run in group.runs[1:] for sentence in _undone(group.runs[0], run)]
    several = len(group.runs) > 1
    for run in group.runs:
        sentences = [*_unsettled(run), *_failures(run), *run.scores.remarks]
        found += [f"{run.title}: {sentence}" if several else sentence for sentence in sentences]
    return found


def reach(run: Run, measure: Measure, cell: Cell) -> tuple[float, float] | None:
    """Lowest and highest the rate could be had every invalid verdict and every failed call gone one way."""
    if not cell.n or cell.rate is None:
        return None
    missing = _missing(run, measure) + cell.n_invalid
    wrong, total = cell.rate * cell.n, cell.n + missing
    return wrong / total, (wrong + missing) / total


def _missing(run: Run, measure: Measure) -> int:
    """Samples of this rate that have no answer to judge."""
    return sum(
        COVERS[measure.key](sample) and (answer is None or answer.finish == "error")
        for key, sample in run.samples.items()
        for answer in [run.responses.get(response_key(key, 0))]
    )


def _undone(first: Run, later: Run) -> list[str]:
    """Differences between two runs that missing verdicts alone could undo."""
    found = []
    for judge in first.scores.judges:
        before, after = measured.safety(first.scores, judge), measured.safety(later.scores, judge)
        for measure in before:
            if measure.key not in COVERS or measure not in after:
                continue
            one, other = before[measure], after[measure]
            reach_1, reach_2 = reach(first, measure, one), reach(later, measure, other)
            clear = _apart((one.low, one.high), (other.low, other.high))
            if clear and reach_1 and reach_2 and not _apart(reach_1, reach_2):
                found.append(
                    f"{measure.label} by {judge}: the intervals of {first.title} and {later.title} lie apart, but "
                    "invalid verdicts and failed calls could close the gap: "
                    f"{bracket(*reach_1)} and {bracket(*reach_2)} %."
                )
    return found


def _unsettled(run: Run) -> list[str]:
    """Rates that invalid verdicts and failed calls could move out of their interval."""
    found = []
    others = 0
    for judge in run.scores.judges:
        for measure, cell in measured.safety(run.scores, judge).items():
            if measure.key not in COVERS:
                others += fragile(cell)
                continue
            span = reach(run, measure, cell)
            if span is None or not leaves(*span, cell):
                continue
            found.append(
                f"{measure.label} by {judge} is {percent(cell.rate)} {interval(cell)}; counted one way or the "
                f"other, its {cell.n_invalid:,} invalid verdicts and {_missing(run, measure):,} failed calls "
                f"would put it anywhere in {bracket(*span)} %."
            )
    others += sum(fragile(cell) for cell in measured.utility(run.scores).values())
    if others:
        found.append(
            f"{others:,} more rates could leave their intervals by invalid verdicts; the tables give their bounds."
        )
    return found


def _failures(run: Run) -> list[str]:
    """Answers that never came, were cut, withheld or empty."""
    counts = run.scores.responses
    total = counts.n or len(run.responses)
    found = []
    if counts.errors:
        share = percent(counts.errors / total)
        why = "; ".join(commonest(failures(run.responses.values()))) or "their records are gone"
        found.append(f"{counts.errors:,} of {total:,} calls failed ({share}); they are in no rate. Why: {why}.")
    unanswered = len(run.samples.keys() - {response.sample_id for response in run.responses.values()})
    if unanswered:
        found.append(f"{unanswered:,} of {len(run.samples):,} pairs have no answer yet.")
    for name, words in (
        ("truncated", "answers were cut at the token limit"),
        ("filtered", "answers were withheld by a filter"),
        ("empty", "answers were empty"),
    ):
        count = getattr(counts, name)
        if count and count >= NOTABLE_SHARE * total:
            found.append(f"{count:,} of {total:,} {words} ({percent(count / total)}).")
    found += [f"{line}." for line in unknown_endings(run.responses.values())]
    unread = run.scores.guard.n_without_reading if run.scores.guard else 0
    if unread:
        found.append(f"{unread:,} answers came without a usable reading of the guard; they are in none of its figures.")
    return found


def _apart(one: tuple[float | None, float | None], other: tuple[float | None, float | None]) -> bool:
    """Whether two ranges share no value; a range with an unknown edge is apart from nothing."""
    (low_1, high_1), (low_2, high_2) = one, other
    if low_1 is None or high_1 is None or low_2 is None or high_2 is None:
        return False
    return high_1 < low_2 or high_2 < low_1
