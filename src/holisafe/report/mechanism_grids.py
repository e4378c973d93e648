"""What a study of two models came to (`mechanism.study`), as tables for the terminal and for notebooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .grids import Grid
from .numbers import ABSENT, as_cell, cell_text


def mechanism_grids(summary: Mapping[str, Any]) -> list[Grid]:
    """Where combinations lie before and after, how many pairs lie nearer to their own kind, what the update acts on."""
    return [_separation(summary["separation"]), _nearest(summary["nearest_mean"]), _gains(summary["gain_ratio"])]


def _separation(rows: Sequence[Mapping[str, Any]]) -> Grid:
    last = max(row["block"] for row in rows)
    here = {(row["model"], row["group"]): row for row in rows if row["block"] == last}
    lines = []
    for group in dict.fromkeys(group for _, group in here):
        places = [here.get((model, group)) for model in ("base", "tuned")]
        told = [ABSENT if place is None else f"{place['mean']:+.2f}" for place in places]
        lines.append((group, *told, str(next(place["n"] for place in places if place))))
    note = "1: where the mean of the safe lies, -1: where that of the unsafe does"
    return Grid(f"Where pairs lie, block {last}", ("Pairs", "Before tuning", "After", "n"), tuple(lines), note=note)


def _nearest(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> Grid:
    blocks = zip(found["base"], found["tuned"], strict=True)
    rows = [(str(at), *(cell_text(as_cell(one)) for one in pair)) for at, pair in enumerate(blocks)]
    return Grid("Nearer to the mean of their own kind", ("Block", "Before tuning", "After"), tuple(rows))


def _gains(rows: Sequence[Mapping[str, Any]]) -> Grid:
    lines = [(str(row["block"]), str(row["matrix"]), f"{row['unsafe_over_safe']:.2f}×") for row in rows]
    return Grid(
        "How strongly the update acts on the unsafe, of the safe", ("Block", "Matrix", "|dW a| / |a|"), tuple(lines)
    )
