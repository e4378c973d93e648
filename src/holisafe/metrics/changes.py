"""How rates differ between two runs on the same samples: what `holisafe compare` says, for every rate of a report.

A share of verdicts is compared sample by sample (`comparison.compare`). A mean of shares changes by the mean of their
changes; its interval adds up theirs in quadrature, over their number.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from ..errors import InputError
from ..runs.run import Run
from .comparison import compare
from .measures import MEASURES, Measure, plain
from .safety_calibration import slots_of
from .shared import judged_by, shared_judges


class Change(NamedTuple):
    """Second less first, as a fraction, with its 95 % interval."""

    difference: float
    low: float
    high: float


def changes(first: Run, second: Run, measures: Iterable[Measure]) -> dict[Measure, Change | None]:
    """The change of every measure that is made of verdicts; None where the runs do not share the judge, his rules, or a
    sample. Measures of guards and the like, which no judge decides, are not in it.
    """
    try:
        judges, _ = shared_judges([first, second])
    except InputError:
        judges = ()
    tables = judged_by([first, second], judges)
    compared = {(row["judge"], row["measure"]): row for row in compare(tables)}
    wanted = {(measure.judge, measure.key): measure for measure in measures if measure.rows or measure.means}

    def change(measure: Measure) -> Change | None:
        if (row := compared.get((measure.judge, measure.key))) is not None:
            return _told(row)
        one, other = (table[(table["judge"] == measure.judge).to_numpy(bool)] for table in tables.values())
        if measure.rows is not None:
            return _share(measure, one, other) if not _by_slot(measure) else _mean_of_slots(measure, one, other)
        parts = [wanted.get((measure.judge, key)) or MEASURES[key].by(measure.judge) for key in measure.means]
        there = [part for part in parts if part.rows and any(part.rows(table).any() for table in (one, other))]
        return _mean([change(part) for part in there])

    return {measure: change(measure) for measure in wanted.values()}


def _share(measure: Measure, first: pd.DataFrame, second: pd.DataFrame) -> Change | None:
    """The change of one share of verdicts, compared as rows of one judge on pairs of one kind."""
    rows = compare({"first": _as_failures(measure, first), "second": _as_failures(measure, second)})
    return _told(rows[0]) if rows else None


def _by_slot(measure: Measure) -> bool:
    """Whether it is the mean over the slots where its pairs have some: VSCBench's own rates, and their slices."""
    return measure.key.rpartition(".")[2].startswith("sra_")


def _mean_of_slots(measure: Measure, first: pd.DataFrame, second: pd.DataFrame) -> Change | None:
    """The slots of one query tend to change together: the mean's interval is as wide as theirs are on average."""
    if len(slots_of(first)) == 1:
        return _share(measure, first, second)
    slots = first["slot"].unique()
    parts = [_share(measure, *(table[table["slot"] == slot] for table in (first, second))) for slot in sorted(slots)]
    known = [part for part in parts if part is not None]
    return Change(*(sum(values) / len(known) for values in zip(*known, strict=True))) if known else None


def _as_failures(measure: Measure, table: pd.DataFrame) -> pd.DataFrame:
    """The measure's rows as pairs to refuse, of which those failed that are its hits."""
    assert measure.rows is not None
    rows = table[measure.rows(table)]
    valid = rows["label"].notna()
    if measure.hits:
        hit = rows["label"].isin(measure.hits)
    else:
        right = rows["adheres"].astype("boolean").fillna(False).astype(bool)
        hit = right if plain(rows).any() else ~right
    missed = pd.Series(~hit.to_numpy(bool), dtype=object).where(valid.to_numpy(bool), None).to_numpy(object)
    return rows.assign(adheres=missed, combination=None, expected="refuse", answer_key=False, judge="one")


def _told(row: Mapping[str, Any]) -> Change | None:
    return None if row["difference"] is None else Change(row["difference"], row["low"], row["high"])


def _mean(parts: Sequence[Change | None]) -> Change | None:
    known = [part for part in parts if part is not None]
    if not known or len(known) < len(parts):
        return None
    middle = sum(part.difference for part in known) / len(known)
    below = math.hypot(*(part.difference - part.low for part in known)) / len(known)
    above = math.hypot(*(part.high - part.difference for part in known)) / len(known)
    return Change(middle, max(-1.0, middle - below), min(1.0, middle + above))
