"""What a run would take, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .grids import Grid
from .numbers import ABSENT

NOTE = "Estimates: a token for four characters, pictures by OpenAI's tile rule; retries not foreseen."
DASH = " A dash: the price is not known."


def costs_grid(parts: Sequence[Any]) -> Grid:
    """A row for each `evaluation.foresight.Part`, and their sum; dollars only where prices are known."""
    rows = [(who, f"{calls:,}", *_numbers(found)) for who, calls, found in parts]
    totals = [found for _, _, found in parts if found is not None]  # of the parts that are paid for
    if totals and all(one.cost_most is not None for one in totals):
        typical, most = (sum(getattr(one, name) for one in totals) for name in ("cost_typical", "cost_most"))
        calls = f"{sum(one.calls for one in totals):,}"
        rows.append(("together", calls, "", "", "", _dollars(typical), _dollars(most)))
    note = NOTE + (DASH if any(row[-1] == ABSENT for row in rows) else "")
    return Grid("", ("", "Calls", "Tokens in", "Tokens out", "at most", "USD", "at most"), tuple(rows), note=note)


def _numbers(found: Any) -> list[str]:
    if found is None:
        return [""] * 5
    tokens = (found.input_tokens, found.output_tokens_typical, found.output_tokens_most)
    return [*(f"{n:,}" for n in tokens), _dollars(found.cost_typical), _dollars(found.cost_most)]


def _dollars(cost: float | None) -> str:
    return ABSENT if cost is None else f"{cost:,.2f}" if cost >= 1 else f"{cost:.4f}"
