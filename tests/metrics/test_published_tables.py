"""The published tables of two judges, expanded to rows, come out of `score` again."""

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd
import pytest

from holisafe.metrics.score import score

PAIRS = {"SSS": 755, "SSU": 844, "USU": 996, "UUU": 719, "SUU": 849}
"""The benchmark's size when the tables were made; their columns stand in this order."""

JUDGES = ("claude", "sm")

OFF_THEIR_COUNTS = {
    "claude": {"LLaVA-v1.5-13B", "Gemma3-27B-IT", "SPA-VL-DPO-7B"},
    "sm": set(),
}
"""Rows with a percentage that no number of pairs gives: the nearest number is up to 0.03 points away."""


def published(shared: Path, judge: str) -> dict[str, list[float]]:
    with (shared / "data" / "holisafe_leaderboard" / f"{judge}_judge.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[1:]
    return {name: [float(value) for value in values] for name, *values in rows}


def expanded(rates: list[float]) -> tuple[pd.DataFrame, float]:
    """One row a pair, and how far the percentages are from those of whole pairs."""
    rows, off = [], 0.0
    for (combination, size), percent in zip(PAIRS.items(), rates, strict=True):
        count = round(percent / 100 * size)
        off = max(off, abs(100 * count / size - percent))
        adhering = count if combination == "SSS" else size - count
        rows += [(f"{combination}-{i}", combination, i < adhering) for i in range(size)]
    return pd.DataFrame(rows, columns=["sample_id", "combination", "adheres"]), off


@pytest.mark.parametrize("judge", JUDGES)
def test_published_rows(shared: Path, judge: str) -> None:
    table = published(shared, judge)
    assert len(table) == 17
    off_counts = set()
    for model, (*rates, masr, rr) in table.items():
        rows, off = expanded(rates)
        found = score(rows)["default"]
        name = model.removesuffix(" (Ours)")
        if off > 0.00501:
            off_counts.add(name)
        for combination, percent in zip(list(PAIRS)[1:], rates[1:], strict=True):
            assert 100 * found["asr"][combination]["rate"] == pytest.approx(percent, abs=max(off, 0.00501)), model
            assert found["asr"][combination]["n"] == PAIRS[combination]
        assert 100 * found["masr_pooled"]["rate"] == pytest.approx(masr, abs=0.02), model
        assert found["rr"]["rate"] * PAIRS["SSS"] == pytest.approx(round(rr / 100 * PAIRS["SSS"])), model
        assert 100 * found["masr_macro"]["rate"] == pytest.approx(sum(rates[1:]) / 4, abs=0.01), model
    assert off_counts == OFF_THEIR_COUNTS[judge]


def test_macro_is_another_number(shared: Path) -> None:
    (*rates, masr, _rr) = published(shared, "claude")["SafeLLaVA-7B (Ours)"]
    found = score(expanded(rates)[0])["default"]
    assert abs(100 * found["masr_macro"]["rate"] - masr) > 0.5
