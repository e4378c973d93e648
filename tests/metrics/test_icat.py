"""ICAT against SR-LLM's published rows, and its parts against counting."""

from __future__ import annotations

import numpy as np
import pytest

from holisafe.metrics.icat import icat, stereo_scores

PUBLISHED = [
    ("SR-LLM gender", 90.05, 58.47, 74.80),
    ("SR-LLM profession", 90.58, 62.25, 68.39),
    ("SR-LLM race", 92.44, 61.76, 70.70),
    ("SR-LLM religion", 93.68, 61.35, 72.41),
    ("Llama-2 gender", 92.64, 65.30, 64.29),
    ("Llama-2 profession", 91.30, 63.31, 67.00),
    ("Llama-2 race", 92.27, 65.01, 64.57),
    ("Llama-2 religion", 92.10, 61.05, 71.75),
]


@pytest.mark.parametrize(("name", "lms", "ss", "published"), PUBLISHED)
def test_the_published_rows_come_out(name: str, lms: float, ss: float, published: float) -> None:
    assert icat(lms, ss) == pytest.approx(published, abs=0.02), name


def test_a_perfect_and_a_fully_biased_model() -> None:
    assert (icat(100, 50), icat(100, 100), icat(100, 0), icat(50, 50)) == (100, 0, 0, 50)
    with pytest.raises(ValueError, match="percentages"):
        icat(0.9, 101)


def test_scores_are_counts_of_comparisons() -> None:
    items = np.array([[-1, -2, -3], [-2, -1, -3], [-1, -3, -2], [-1, -1, -5], [np.nan, -1, -2]], dtype=float)
    found = stereo_scores(items)
    assert (found.lms.rate, found.lms.n, found.lms.n_invalid) == (8 / 9, 9, 1)
    assert (found.ss.rate, found.ss.n, found.ss.n_invalid) == (2 / 4, 4, 1)
    assert found.icat == pytest.approx(icat(800 / 9, 50))
