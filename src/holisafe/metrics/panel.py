"""Several judges' verdicts side by side, and the panels that they form.

A panel's verdict on a pair is what its judges' votes come to:

    majority    what more than half of the valid votes say; a tie is invalid
    unanimous   what all valid votes say; any split is invalid

An invalid verdict abstains, and so does a judge that never judged the pair. Without a quorum of valid votes the panel's
verdict is invalid. A panel's rows are rows of the same table, so that its rates come out of `score` like any judge's; a
rate's bounds then tell what the split pairs could make of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from ..runs.columns import TOKENS
from .estimates import pair_numbers
from .intervals import Floats, Ints
from .rates import Mask
from .score import not_adhering

Rule = Literal["majority", "unanimous"]
RULES: tuple[Rule, ...] = ("majority", "unanimous")

NO_QUORUM, TIE, SPLIT = "no quorum", "tie", "judges disagree"


@dataclass(frozen=True)
class Ballots:
    """A table of verdicts turned so that judges stand side by side.

    pairs: one row a pair, with the table's columns that are about the pair. adheres: (pairs, judges), 1 where the judge
    found that the response did what was expected, 0 where not, NaN where its verdict is invalid or missing. judged:
    (pairs, judges), whether there is a verdict, valid or not. clusters: (pairs,) numbers of what the bootstrap
    resamples, or None.
    """

    pairs: pd.DataFrame
    judges: tuple[str, ...]
    adheres: Floats
    judged: Mask
    clusters: Ints | None

    def by(self, judge: str) -> Floats:
        """(pairs,): one judge's votes."""
        return self.adheres[:, self.judges.index(judge)]


ABOUT_VERDICTS = ("judge", "adheres", "label", "choice", "invalid", *TOKENS, "cost")
"""The columns that are about a verdict rather than about its pair."""


def ballots(frame: pd.DataFrame, judges: Sequence[str] | None = None) -> Ballots:
    """The votes of some judges, or of all, on every pair that one of them judged.

    Args:
        frame: one row a verdict; columns judge, sample_id, adheres (True, False, or missing when invalid), and whatever
            belongs to the pair, such as repeat, combination, expected and cluster.
    """
    if judges is None:
        judges = [str(judge) for judge in pd.unique(frame["judge"])]
    frame = frame[frame["judge"].isin(judges)]
    number = pair_numbers(frame)
    first = ~pd.Series(number).duplicated().to_numpy()
    pairs = frame.loc[first, [name for name in frame.columns if name not in ABOUT_VERDICTS]].reset_index(drop=True)
    place = number, pd.Index(list(judges)).get_indexer(pd.Index(frame["judge"]))
    adheres = np.full((len(pairs), len(judges)), np.nan)
    judged = np.zeros(adheres.shape, dtype=bool)
    adheres[place] = frame["adheres"].astype("Float64").to_numpy(float, na_value=np.nan)
    judged[place] = True
    return Ballots(pairs, tuple(judges), adheres, judged, not_adhering(pairs.assign(adheres=True)).clusters)


def panel(votes: Ballots, rule: Rule, quorum: int | None = None, name: str | None = None) -> pd.DataFrame:
    """The panel's verdicts: one row a pair, the columns of `votes.pairs` with judge, adheres, label and invalid.

    `quorum` is how many votes must be valid; more than half of the judges unless given. `invalid` says why there is no
    verdict: NO_QUORUM, TIE or SPLIT. `name`, the rule unless given, becomes the judge.
    """
    valid = (~np.isnan(votes.adheres)).sum(axis=1)
    yes = np.nansum(votes.adheres, axis=1)
    no = valid - yes
    needed = len(votes.judges) // 2 + 1 if quorum is None else quorum
    if rule == "majority":
        decided, why = yes != no, TIE
    else:
        decided, why = (yes == 0) | (no == 0), SPLIT
    enough = valid >= max(needed, 1)
    outcome = np.select([~enough, ~decided, yes > no], [NO_QUORUM, why, "adheres"], "violates")
    settled = pd.Series(enough & decided)
    verdicts = votes.pairs.astype(object).assign(judge=name or rule)
    verdicts["adheres"] = pd.Series(yes > no, dtype=object).where(settled, None)
    verdicts["label"] = pd.Series(outcome, dtype=object).where(settled, None)
    verdicts["invalid"] = pd.Series(outcome, dtype=object).where(~settled, None)
    return verdicts


def undecided(verdicts: pd.DataFrame) -> dict[str, int]:
    """{REASON: how many pairs} a panel has no verdict on, for that reason."""
    return {str(reason): int(count) for reason, count in verdicts["invalid"].dropna().value_counts().items()}
