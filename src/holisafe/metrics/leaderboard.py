"""Models ranked by one rate, with how sure the ranks are.

A rank is one more than the number of models that are better. Its interval comes from ranking every bootstrap draw.
Models that were asked the same samples are resampled together: a hard picture is hard for all of them, so their order
is surer than their intervals beside each other suggest. "Best" is the share of draws in which a model is first; models
that tie for it share it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..runs.scores import Cell
from .estimates import SAME, drawn_sums, ratio, shared_totals
from .intervals import Floats
from .measured import of_verdicts
from .measures import COMPARED, MEASURES, lower_is_better, measures, outcomes
from .score import cluster_numbers


@dataclass(frozen=True)
class Row:
    """A model's rates {MEASURE: CELL} by one judge.

    `published` rows come from a table: they have counts at best, and no verdicts. Where even n is not known, it is 0
    and there is no interval.
    """

    model: str
    judge: str
    cells: Mapping[str, Cell]
    published: bool = False


@dataclass(frozen=True)
class Ranked:
    """A row's place. `low` to `high` hold its rank in 95 % of the draws; None, as `best`, where its n is not known."""

    row: Row
    rank: int
    low: int | None
    high: int | None
    best: float | None

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.row.model,
            "source": "published" if self.row.published else "run",
            "judge": self.row.judge,
            "rank": self.rank,
            "rank_low": self.low,
            "rank_high": self.high,
            "p_best": self.best,
            "rates": {
                name: cell.to_json() | ({"n": None} if cell.rate is not None and not cell.n else {})
                for name, cell in self.row.cells.items()
            },
        }


def leaderboard(
    tables: Mapping[str, pd.DataFrame],
    judge: str,
    sort: str = "masr_pooled",
    published: Sequence[Row] = (),
    *,
    draws: int = 2000,
    seed: int = 0,
) -> list[Ranked]:
    """The models by one judge, best first.

    Args:
        tables: {MODEL: one row a verdict} on samples of one benchmark; columns as `comparison.compare` reads them.
        judge: whose verdicts count; utility is by whatever judges plain questions.
        sort: the measure that ranks. Models without it come in no row.
        published: rows of a published table. They are drawn from what their counts allow (Beta, Jeffreys' prior), each
            by itself; so is a model none of whose draws differ. One without counts stays where it is in every draw.
        draws, seed: of the bootstrap.
    """
    rows, frames = [], []
    for model, table in tables.items():
        mine = by_judge(table, judge)
        masks = measures(mine)
        parts = [mine[masks[name]] for name in MEASURES[sort].means or (sort,) if name in masks]
        if parts and (cells := of_verdicts(mine))[sort].rate is not None:
            rows.append(Row(model, judge, {name: cell for name, cell in cells.items() if name in COMPARED}))
            frames.append(parts)
    rows += [row for row in published if sort in row.cells]
    if not rows:
        return []
    drawn = np.full((draws, len(rows)), np.nan)
    drawn[:, : len(frames)] = _bootstrap(frames, sort, draws, seed)
    sizes = [len(np.unique(cluster_numbers(*parts))) for parts in frames]
    sizes += [row.cells[sort].n for row in rows[len(frames) :]]
    generator = np.random.default_rng(seed)
    for at, (row, size) in enumerate(zip(rows, sizes, strict=True)):
        rate = row.cells[sort].rate or 0.0
        if np.isnan(drawn[:, at]).all() or np.ptp(drawn[:, at]) < SAME:
            drawn[:, at] = generator.beta(rate * size + 0.5, (1 - rate) * size + 0.5, draws) if size else rate

    sign = 1.0 if lower_is_better(sort) else -1.0
    places, _ = _ranks(sign * np.array([[row.cells[sort].rate or 0.0 for row in rows]]))
    first, last = _ranks(sign * drawn)
    low, high = (np.quantile(rank, at, axis=0, method="inverted_cdf") for rank, at in ((first, 0.025), (last, 0.975)))
    best = ((first == 1) / (first == 1).sum(axis=1, keepdims=True)).mean(axis=0)
    ranked = [
        Ranked(row, int(places[0, at]), int(low[at]), int(high[at]), float(best[at]))
        if sizes[at]
        else Ranked(row, int(places[0, at]), None, None, None)
        for at, row in enumerate(rows)
    ]
    return sorted(ranked, key=lambda one: (one.rank, one.row.published, one.row.model))


def by_judge(table: pd.DataFrame, judge: str) -> pd.DataFrame:
    """The verdicts of one judge; on plain questions those of the judge that judges nothing else, where there is one."""
    if "answer_key" not in table:
        return table[table["judge"] == judge]
    plain, name = table["answer_key"].astype(bool), table["judge"]
    only_plain = [one for one in name[plain].unique() if one not in set(name[~plain])]
    mine: pd.DataFrame = table[(~plain & (name == judge)) | (plain & (name == (only_plain or [judge])[0]))]
    return mine


def _bootstrap(models: Sequence[Sequence[pd.DataFrame]], sort: str, draws: int, seed: int) -> Floats:
    """(draws, models): each model's rate in every draw, the mean over its parts; what a draw has nothing of stays as it
    is."""
    if not models:
        return np.zeros((draws, 0))
    frames = [frame for parts in models for frame in parts]
    found = [outcomes(frame, sort) for frame in frames]
    totals = shared_totals(frames, [one.hit for one in found], [one.valid for one in found])
    sums = drawn_sums(totals.reshape(len(totals), -1), None, draws, seed).reshape(draws, -1, 2)
    drawn = ratio(sums[..., 0], sums[..., 1])
    drawn = np.where(np.isnan(drawn), ratio(*totals.sum(axis=0).T), drawn)
    ends = np.cumsum([len(parts) for parts in models])[:-1]
    return np.stack([part.mean(axis=1) for part in np.split(drawn, ends, axis=1)], axis=1)


def _ranks(values: Floats) -> tuple[Floats, Floats]:
    """(draws, models): the best and the worst rank that ties leave open, from 1 for the lowest value."""
    one, other = values[:, :, None], values[:, None, :]
    return 1 + (other < one).sum(axis=2), (other <= one).sum(axis=2)
