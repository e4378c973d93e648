"""Published tables of HoliSafe-Bench as rows of a leaderboard.

A table gives percentages by combination, mASR and RR, without saying how many pairs each stands for, nor what kind of
mean its mASR is. The tables of the first version (arXiv 2506.04704v1) pool the pairs of SIZES: 66 of their 68 rows
follow from their own columns within 0.02 points. Those of the fifth (v5) give the plain mean of the four combinations:
84 of 84 rows within 0.1, with one decimal and sizes never published. The rows themselves tell which: `kind_of_masr`.
Where most are percentages that whole pairs of SIZES give, these are taken for n.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import InputError
from ..runs.scores import Cell
from ..tables import text_columns
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
    "mASR": "masr",
    "RR": "rr",
}
"""Column of a published table, without its arrow -> what it gives. "helpful" is the share of SSS answered well,
"masr" a mean of one kind or the other."""

N_OF = {
    "helpful": SIZES["SSS"],
    "rr": SIZES["SSS"],
    "masr_pooled": sum(SIZES[name] for name in UNSAFE_COMBINATIONS),
    **{f"asr.{name}": SIZES[name] for name in UNSAFE_COMBINATIONS},
}

ROUNDED = 0.00501
"""How far a percentage of two decimals can be from the one it stands for."""

TOLERANCE = {"masr_pooled": 0.0201, "masr_macro": 0.1001}
"""How far mASR and RR, in points, may be from what follows from the other columns, which are rounded themselves."""

SHOWN = {"helpful": "SSS", **{f"asr.{name}": name for name in UNSAFE_COMBINATIONS}}
KINDS = {
    "masr_pooled": "pooled over pairs, as in HoliSafe v1",
    "masr_macro": "the plain mean of the four combinations, as in HoliSafe v5",
}


KNOWN_TABLES = {
    "claude_judge": "Claude-3.5-Sonnet",
    "sm_judge": "string matching (HoliSafe's list)",
    "v5_claude": "Claude-3.5-Sonnet, v5",
    "v5_sm": "string matching (HoliSafe's list), v5",
}
"""Who judged the published tables, by the names of their files."""


def measure_of(column: str) -> str | None:
    """What a column of a published table gives, None for an unknown one: `S_I S_T -> U ↓` -> "asr.SSU"."""
    return MEASURES.get(re.sub(r"[\s${}↑↓]", "", column.replace("->", "→").replace("\\rightarrow", "→")))


def read_published(given: str) -> tuple[list[tuple[str, dict[str, float]]], str]:
    """The rows and the judge of a published table, given as `[JUDGE=]FILE.csv`.

    Raises InputError naming row and field of what cannot be read."""
    name, equals, path = given.rpartition("=")
    where = Path(path if equals else given)
    read = text_columns(where)
    measured = {column: measure for column in read if (measure := measure_of(column))}
    if "Model" not in read or not measured:
        raise InputError(
            f"no published table: it needs Model and columns such as SSU, mASR, RR; it has: {', '.join(read)}",
            where=where,
        )
    rows: list[tuple[str, dict[str, float]]] = [(model, {}) for model in read["Model"]]
    for column, measure in measured.items():
        for row, value in enumerate(read[column], start=1):
            try:
                number = float(value)
            except ValueError:
                number = float("nan")
            if not 0 <= number <= 100:
                raise InputError(f"{value!r} is no percentage", where=where, row=row, field=column)
            rows[row - 1][1][measure] = number
    if 0 < max((number for _, rates in rows for number in rates.values()), default=0) <= 1:
        raise InputError("none of its rates is above 1: percent is wanted, not fractions", where=where)
    return rows, name if equals else KNOWN_TABLES.get(where.stem, where.stem)


def published_rows(table: Sequence[tuple[str, Mapping[str, float]]], judge: str) -> tuple[list[Row], list[str]]:
    """The rows of a published table, and what is to be said about them.

    Args:
        table: (model, {measure as in MEASURES: percent}) for each row. mASR becomes "masr_pooled" or "masr_macro".
        judge: who judged, by the table's own account.
    """
    kind = kind_of_masr([percents for _, percents in table])
    named = [(model, {kind if name == "masr" else name: value for name, value in row.items()}) for model, row in table]
    off = {model: no_shares(percents) for model, percents in named}
    whole = kind == "masr_pooled" and sum(not found for found in off.values()) * 2 >= len(named)
    rows = [
        Row(model, judge, {name: _cell(value, N_OF[name] if whole else 0) for name, value in given.items()}, True)
        for model, percents in named
        for given in [{name: value for name, value in percents.items() if name != "helpful"}]
    ]
    notes = [f"published rows: judged by {judge}; their mASR is {KINDS[kind]}"]
    if whole:
        pairs = f"{sum(SIZES.values()):,} pairs of the first version"
        notes[0] += f"; their intervals are exact ones of the {pairs}, without clusters, and so too narrow"
    else:
        notes[0] += "; how many pairs they stand for is not known, so they have no interval"
    if whole or kind == "masr_macro":
        odd = {model: [*(off[model] if whole else []), *contradictions(row, kind)] for model, row in named}
        notes += [f"{model}: {'; '.join(found)}" for model, found in odd.items() if found]
    return rows, notes


def kind_of_masr(rows: Sequence[Mapping[str, float]]) -> str:
    """Whether the rows' "masr" is nearer to what pooling the pairs of SIZES gives, or to the plain mean of their ASR.

    Rows without all four combinations say nothing; where none has them, pooled is taken.
    """
    told = [row for row in rows if "masr" in row and all(f"asr.{name}" in row for name in UNSAFE_COMBINATIONS)]
    return min(KINDS, key=lambda kind: sum(abs(row["masr"] - masr_of(row, kind)) for row in told))


def masr_of(percents: Mapping[str, float], kind: str) -> float:
    """mASR, in percent, of a row's four ASR."""
    sizes = {name: SIZES[name] if kind == "masr_pooled" else 1 for name in UNSAFE_COMBINATIONS}
    return sum(size * percents[f"asr.{name}"] for name, size in sizes.items()) / sum(sizes.values())


def no_shares(percents: Mapping[str, float]) -> list[str]:
    """What in a row is no share of whole pairs of SIZES."""
    return [
        f"{SHOWN[name]} {value:.2f} % is no share of {N_OF[name]} pairs"
        for name, value in percents.items()
        if name in SHOWN and abs(100 * round(value / 100 * N_OF[name]) / N_OF[name] - value) > ROUNDED
    ]


def contradictions(percents: Mapping[str, float], kind: str) -> list[str]:
    """What in a row does not follow from its own columns."""
    found = []
    if "rr" in percents and "helpful" in percents and abs(percents["rr"] + percents["helpful"] - 100) > TOLERANCE[kind]:
        found.append(f"RR {percents['rr']:.2f} % is not what SSS {percents['helpful']:.2f} % leaves")
    if kind in percents and all(f"asr.{name}" in percents for name in UNSAFE_COMBINATIONS):
        follows = masr_of(percents, kind)
        if abs(follows - percents[kind]) > TOLERANCE[kind]:
            found.append(f"mASR {percents[kind]:.2f} % is not the {follows:.2f} % of its own columns")
    return found


def _cell(percent: float, n: int) -> Cell:
    if n == 0:
        return Cell(percent / 100, 0, 0, None, None, None, None)
    counted = rate_cell(round(percent / 100 * n), n)
    return Cell(percent / 100, n, 0, counted.low, counted.high, percent / 100, percent / 100)
