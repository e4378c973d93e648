"""Published tables of HoliSafe-Bench as rows of a leaderboard.

A table gives percentages by combination, mASR and RR, without saying how many pairs each stands for. Those of the first
version (arXiv 2506.04704v1) had SIZES; where most rows of a table are percentages that whole pairs of these sizes give,
they are taken for its n.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ..runs.scores import Cell
from ..taxonomy import UNSAFE_COMBINATIONS
from .leaderboard import Row
from .rates import rate_cell

SIZES = {"SSS": 755, "SSU": 844, "USU": 996, "UUU": 719, "SUU": 849}

MEASURES = {
    "S_IS_T→S": "helpful",
    "S_IS_T→U": "asr.SSU",
    "U_IS_T": "asr.USU",
    "U_IU_T": "asr.UUU",
    "S_IU_T": "asr.SUU",
    "SSS": "helpful",
    "SSU": "asr.SSU",
    "USU": "asr.USU",
    "UUU": "asr.UUU",
    "SUU": "asr.SUU",
    "mASR": "masr_pooled",
    "RR": "rr",
}
"""Column of a published table, without its arrow -> what it gives. "helpful" is the share of SSS answered well."""

N_OF = {
    "helpful": SIZES["SSS"],
    "rr": SIZES["SSS"],
    "masr_pooled": sum(SIZES[name] for name in UNSAFE_COMBINATIONS),
    **{f"asr.{name}": SIZES[name] for name in UNSAFE_COMBINATIONS},
}

ROUNDED = 0.00501
"""How far a percentage of two decimals can be from the one it stands for."""

TOLERANCE = 0.0201
"""How far mASR and RR, in points, may be from what follows from the other columns, which are rounded themselves."""

SHOWN = {"helpful": "SSS", **{f"asr.{name}": name for name in UNSAFE_COMBINATIONS}}


def measure_of(column: str) -> str | None:
    """What a column of a published table gives, None for an unknown one: `S_I S_T -> U ↓` -> "asr.SSU"."""
    return MEASURES.get(re.sub(r"[\s${}↑↓]", "", column.replace("->", "→").replace("\\rightarrow", "→")))


def published_rows(table: Sequence[tuple[str, Mapping[str, float]]], judge: str) -> tuple[list[Row], list[str]]:
    """The rows of a published table, and what is to be said about them.

    Args:
        table: (model, {measure as in MEASURES: percent}) for each row.
        judge: who judged, by the table's own account.
    """
    odd = {model: faults(percents) for model, percents in table}
    whole = sum(not off for off, _ in odd.values()) * 2 >= len(table)
    rows = [
        Row(model, judge, {name: _cell(value, N_OF[name] if whole else 0) for name, value in given.items()}, True)
        for model, percents in table
        for given in [{name: value for name, value in percents.items() if name != "helpful"}]
    ]
    notes = [f"published rows: judged by {judge}"]
    if whole:
        pairs = f"{sum(SIZES.values()):,} pairs of the first version"
        notes[0] += f"; their intervals are Wilson's from the {pairs}, without clusters, and so too narrow"
        notes += [f"{model}: {'; '.join(text)}" for model, (off, wrong) in odd.items() if (text := [*off, *wrong])]
    else:
        notes[0] += "; how many pairs they stand for is not known, so they have no interval"
    return rows, notes


def faults(percents: Mapping[str, float]) -> tuple[list[str], list[str]]:
    """What in a row is no share of whole pairs, and what does not follow from its own columns."""
    off, wrong = [], []
    for name, value in percents.items():
        n = N_OF[name]
        nearest = 100 * round(value / 100 * n) / n
        if name not in ("masr_pooled", "rr") and abs(nearest - value) > ROUNDED:
            off.append(f"{SHOWN.get(name, name)} {value:.2f} % is no share of {n} pairs")
    if "rr" in percents and "helpful" in percents and abs(percents["rr"] + percents["helpful"] - 100) > TOLERANCE:
        wrong.append(f"RR {percents['rr']:.2f} % is not what SSS {percents['helpful']:.2f} % leaves")
    parts = {name: percents.get(f"asr.{name}") for name in UNSAFE_COMBINATIONS}
    if "masr_pooled" in percents and None not in parts.values():
        pooled = sum(SIZES[name] * (value or 0.0) for name, value in parts.items()) / N_OF["masr_pooled"]
        if abs(pooled - percents["masr_pooled"]) > TOLERANCE:
            wrong.append(f"mASR {percents['masr_pooled']:.2f} % is not the {pooled:.2f} % of its own columns")
    return off, wrong


def _cell(percent: float, n: int) -> Cell:
    if n == 0:
        return Cell(percent / 100, 0, 0, None, None, None, None)
    counted = rate_cell(round(percent / 100 * n), n)
    return Cell(percent / 100, n, 0, counted.low, counted.high, percent / 100, percent / 100)
