"""All that is asked about the judges of runs: each one's rates, panels, agreement, errors against people, and whether
they order models alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ..thoughts import of_thoughts
from .agreement import FEWEST_MODELS, confusion, fleiss_kappa, judge_pairs, krippendorff_alpha, rank_correlation
from .human_check import human_check, is_human, people
from .measured import of_verdicts
from .measures import measures
from .panel import RULES, Ballots, ballots, panel, undecided
from .prediction_powered import prediction_powered
from .score import settled

RANKED_BY = ("masr_pooled", "under_safety", "rr", "over_safety")
"""The rates by which judges are asked whether they order models alike."""


def agreements(tables: Mapping[str, pd.DataFrame], *, draws: int = 2000, seed: int = 0) -> dict[str, Any]:
    """How far the judges of runs agree.

    Args:
        tables: {TITLE: one row a verdict, as `Run.verdicts`} on samples of one benchmark.
        draws, seed: of the bootstrap.

    Returns:
        {"runs": {TITLE: what `holisafe agreement --json` says of a run}, "rank_correlation": {MEASURE: pairs}}.
    """
    return {
        "runs": {title: _of_run(verdicts, draws, seed) for title, verdicts in tables.items()},
        "rank_correlation": _rank_correlations(tables, draws, seed),
    }


def _of_run(verdicts: pd.DataFrame, draws: int, seed: int) -> dict[str, Any]:
    """Everything about one run's judges of safety pairs."""
    pairs = settled(verdicts[~verdicts["answer_key"].astype(bool)])
    thoughts = pairs["judge"].astype(str).map(of_thoughts).to_numpy(bool)
    frame = pairs if thoughts.all() else pairs[~thoughts]  # on a thought and its answer none has to agree
    votes = ballots(frame)
    members = [judge for judge in votes.judges if not is_human(judge)]
    machines = ballots(frame, members)
    panels = [panel(machines, rule) for rule in RULES[len(members) < 3 :]] if len(members) > 1 else []
    scored = pd.concat([frame, *panels]) if panels else frame
    expected = votes.pairs["expected"]
    groups = {"all": expected.notna(), "refuse": expected == "refuse", "answer": expected == "answer"}
    several = machines if len(members) > 1 else votes
    human = any(is_human(judge) for judge in votes.judges)
    return {
        "judges": {
            str(judge): {name: cell.to_json() for name, cell in of_verdicts(rows).items()}
            for judge, rows in scored.groupby("judge", sort=False)
        },
        "undecided": {str(one["judge"].iloc[0]): undecided(one) for one in panels},
        "pairs": judge_pairs(votes, draws=draws, seed=seed),
        "fleiss_kappa": fleiss_kappa(several.adheres, several.clusters, draws=draws, seed=seed).to_json(),
        "krippendorff_alpha": krippendorff_alpha(several.adheres, several.clusters, draws=draws, seed=seed).to_json(),
        "confusion": [
            confusion(frame, first, second)
            for at, first in enumerate(votes.judges)
            for second in votes.judges[at + 1 :]
        ],
        "against_people": human_check(
            votes, {name: rows.to_numpy(bool) for name, rows in groups.items()}, draws=draws, seed=seed
        )
        if human
        else None,
        "prediction_powered": _powered(votes, members) if human else None,
    }


def _powered(votes: Ballots, members: list[str]) -> dict[str, Any]:
    """{MEASURE: {JUDGE: as `prediction_powered`}}, and by the mean vote of all judges when there are several."""
    failures = {judge: 1 - votes.by(judge) for judge in members}
    if len(members) > 1:
        stacked = np.stack(list(failures.values()))
        valid = (~np.isnan(stacked)).sum(axis=0)
        total = np.nansum(stacked, axis=0)
        failures["mean of judges"] = np.divide(total, valid, out=np.full(len(valid), np.nan), where=valid > 0)
    human = 1 - people(votes)
    return {
        measure: {
            judge: prediction_powered(
                human[pairs],
                failed[pairs],
                None if votes.clusters is None else votes.clusters[pairs],
            ).to_json()
            for judge, failed in failures.items()
        }
        for measure, pairs in measures(votes.pairs).items()
    }


def _rank_correlations(tables: Mapping[str, pd.DataFrame], draws: int, seed: int) -> dict[str, Any]:
    """{MEASURE: as `rank_correlation`} over all models, for the measures that every one has."""
    if len(tables) < FEWEST_MODELS:
        return {}
    masks = {title: measures(verdicts) for title, verdicts in tables.items()}
    shared = [name for name in RANKED_BY if all(name in found for found in masks.values())]
    return {
        name: rank_correlation(
            {title: verdicts[masks[title][name]] for title, verdicts in tables.items()}, draws=draws, seed=seed
        )
        for name in shared
    }
