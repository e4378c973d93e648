"""Leaderboards of stored runs, one a judge, with what keeps their rows from being wholly comparable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from ..errors import InputError
from ..runs.run import Run
from .leaderboard import Ranked, leaderboard
from .measures import COMPARED
from .published_table import published_rows, read_published
from .shared import judged_by, shared_judges

PUBLISHED_ON = "holisafe-bench"


class Boards(NamedTuple):
    """{JUDGE: models, best first}, the measure that ranked them, and notes, a line each."""

    judges: dict[str, list[Ranked]]
    sort: str
    notes: list[str]


def boards(
    runs: Sequence[Run],
    judge: str | None = None,
    published: str | None = None,
    sort: str | None = None,
    *,
    draws: int = 2000,
    seed: int = 0,
) -> Boards:
    """The models of runs of one benchmark, ranked by every judge that all runs share, or by the one asked for.

    Args:
        runs: as `side_by_side` reads them.
        judge: one judge, or the panel `majority` or `unanimous`.
        published: `[JUDGE=]FILE.csv`, a published table whose rows stand beside the runs; it needs one judge.
        sort: one of `measures.COMPARED`; None: mASR, pooled or macro as the published table has it, else pooled.
        draws, seed: of the bootstrap.

    Raises InputError for an unknown measure, judge or table, and where no run has a valid verdict.
    """
    if sort is not None and sort not in COMPARED:
        raise InputError(f"--sort {sort!r} is none of {', '.join(COMPARED)}")
    judges, left_out = shared_judges(runs, judge)
    if published is not None and len(judges) != 1:
        raise InputError(f"--published needs one judge to stand beside: --judge with one of {', '.join(judges)}")
    rows, notes = published_rows(*read_published(published)) if published else ([], [])
    if sort is None:  # like with like: HoliSafe's tables pool, or take the plain mean
        sort = "masr_macro" if any("masr_macro" in row.cells for row in rows) else "masr_pooled"
    frames = judged_by(runs, judges)
    ranked = {
        name: leaderboard(frames, name, sort, rows, draws=draws, seed=seed)
        for name in judges or map(str, runs[0].verdicts["judge"].unique())
    }
    if not any(ranked.values()):
        raise InputError(f"no run has a valid verdict for {sort}")
    notes = [*left_out, *_differences(frames, ranked), *notes]
    if rows and (asked := runs[0].benchmark["name"]) != PUBLISHED_ON:
        notes.insert(0, f"the runs are on {asked}, the published rows on {PUBLISHED_ON}: no ranking across them holds")
    return Boards(ranked, sort, notes)


def _differences(tables: Mapping[str, pd.DataFrame], boards: Mapping[str, Sequence[Ranked]]) -> list[str]:
    """What keeps the rows of a table from being wholly comparable."""
    notes = []
    asked = {title: frozenset(frame["sample_id"].unique()) for title, frame in tables.items()}
    if len(set(asked.values())) > 1:
        sizes = ", ".join(f"{title} {len(ids):,}" for title, ids in asked.items())
        notes.append(f"the runs were not judged on the same samples ({sizes})")
    for name, board in boards.items():
        others = {one.row.judge for one in board if one.row.published}
        if others:
            notes.append(f"the runs were judged by {name}, the published rows by {', '.join(others)}")
    return notes
