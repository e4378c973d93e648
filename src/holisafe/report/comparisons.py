"""What a comparison of models found, as tables: one for every two models and judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..metrics.measures import MEASURES
from .grids import Grid
from .numbers import ABSENT, percent, points

COLUMNS = ("Measure", "First", "Second", "Change, points", "p", "Holm", "Shows", "n", "Out")
SIGNIFICANT = 0.05


def comparison_grids(rows: Sequence[Mapping[str, Any]]) -> list[Grid]:
    """The rows of `metrics.comparison.compare`; bold where the corrected p lies below SIGNIFICANT."""
    blocks: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        blocks.setdefault((row["first"], row["second"], row["judge"]), []).append(row)
    return [
        Grid(
            f"{first} → {second}, by {judge}",
            COLUMNS,
            tuple(map(_cells, block)),
            frozenset(n for n, row in enumerate(block) if (p := row["p_holm"]) is not None and p < SIGNIFICANT),
        )
        for (first, second, judge), block in blocks.items()
    ]


def explained(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """What the columns say, one line each."""
    tested = sum(row["p"] is not None for row in rows)
    return (
        "p: McNemar's exact test; where samples share a cluster, the larger of it and a clustered one.",
        f"Holm: corrected for all {tested} tests; bold below {SIGNIFICANT:g}.",
        "Shows: the smallest difference, in points, that would be found four times in five.",
        "Out: samples without two valid verdicts, which are left out.",
    )


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    change = points(row["difference"], row["low"], row["high"])
    shows = ABSENT if row["detectable"] is None else f"{100 * row['detectable']:.1f}"
    rates = (percent(row["rate_first"]), percent(row["rate_second"]))
    tests = (probability(row["p"]), probability(row["p_holm"]))
    out = str(sum(row["left_out"].values()))
    return MEASURES[row["measure"]].label, *rates, change, *tests, shows, str(row["n"]), out


def probability(p: float | None) -> str:
    return ABSENT if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"
