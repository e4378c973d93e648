"""What runs measured, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from ..metrics.changes import Change
from ..metrics.measured import everything
from ..metrics.measures import Measure
from ..runs.scores import Scores
from .grids import Grid
from .numbers import cell_text, difference, fragile, lacking, points


def rates_grid(
    runs: Sequence[Scores],
    titles: Sequence[str] = ("Rate, 95 % interval",),
    changed: Mapping[Measure, Change | None] = MappingProxyType({}),
) -> Grid:
    """A row a rate, as `12.3 % [10.1, 14.9] n=480` of each run with the number of invalid verdicts, a block a judge.

    Of two runs of one benchmark the change in points stands beside, with its interval. `changed` holds what
    `metrics.changes` finds; of other measures the change comes from the two cells. A row is doubtful where the invalid
    verdicts alone could move a rate out of its interval.
    """
    rows: list[tuple[str, ...]] = []
    doubtful, judge, compared = set(), None, len(runs) == 2
    for section in zip(*map(everything, runs), strict=True):
        for measure in dict.fromkeys(measure for cells in section for measure in cells):
            if measure.judge != judge:
                judge = measure.judge
                rows.append((f"by {judge}",))
            cells = [one.get(measure) for one in section]
            if any(map(fragile, cells)):
                doubtful.add(len(rows))
            row = [measure.label, *map(cell_text, cells)]
            if compared:
                row.append(points(*(changed[measure] if measure in changed else difference(*cells)) or [None]))
            rows.append(tuple(row))
    columns = ("Measure", *titles, *(["Change, points"] if compared else []))
    return Grid("", columns, tuple(rows), doubtful=frozenset(doubtful), note=_answers(*runs))


def _answers(*runs: Scores) -> str:
    """How many answers the numbers rest on, and what went wrong with them, when anything did."""
    counts = [scores.responses for scores in runs]
    parts = [
        f"{words} {' / '.join(f'{getattr(found, name):,}' for found in counts)}"
        for name, words in (
            ("errors", "failed"),
            ("truncated", "cut"),
            ("filtered", "filtered"),
            ("empty", "empty"),
            ("unknown", "with an unknown ending"),
        )
        if any(getattr(found, name) for found in counts)
    ]
    total = " / ".join(f"{found.n:,}" for found in counts)
    told = f"Answers: {total}" + (f" ({', '.join(parts)})" if parts else "")
    lacks = [", ".join(lacking(found)) for one in runs for found in list((one.thoughts or {}).values())[:1]]
    return told + (
        f". Unsafe pairs in no joint table: {' / '.join(one or 'none' for one in lacks)}" if any(lacks) else ""
    )
