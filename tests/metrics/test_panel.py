from __future__ import annotations

import itertools
import random

import numpy as np
import pandas as pd
import pytest

from holisafe.metrics.panel import NO_QUORUM, RULES, SPLIT, TIE, ballots, panel, undecided
from holisafe.metrics.score import score

VOTES = (True, False, None, "missing")


def a_table(judges: int, pairs: int = 60, seed: int = 0) -> pd.DataFrame:
    rng = random.Random(seed)
    rows = [
        {
            "judge": f"judge {judge}",
            "sample_id": f"s{pair}",
            "adheres": vote,
            "combination": ("SSS", "SSU", "USU")[pair % 3],
            "expected": "answer" if pair % 3 == 0 else "refuse",
            "cluster": f"image {pair // 2}",
        }
        for judge in range(judges)
        for pair in range(pairs)
        if (vote := rng.choice(VOTES)) != "missing"
    ]
    return pd.DataFrame(rows, dtype=object).sample(frac=1, random_state=seed)


def by_hand(votes: list[bool], judges: int, rule: str) -> tuple[bool | None, str | None]:
    if len(votes) <= judges / 2:
        return None, NO_QUORUM
    yes, no = votes.count(True), votes.count(False)
    if rule == "majority":
        return (None, TIE) if yes == no else (yes > no, None)
    return (None, SPLIT) if yes and no else (bool(yes), None)


@pytest.mark.parametrize("judges", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("rule", RULES)
def test_every_pair_is_decided_as_by_hand(judges: int, rule: str) -> None:
    table = a_table(judges)
    found = panel(ballots(table), rule).set_index("sample_id")
    assert set(found.index) == set(table["sample_id"])
    reasons: dict[str, int] = {}
    for sample, rows in table.groupby("sample_id"):
        valid = [vote for vote in rows["adheres"] if vote is not None]
        adheres, invalid = by_hand(valid, judges, rule)
        assert found.loc[sample, "adheres"] == adheres or found.loc[sample, "adheres"] is adheres, sample
        assert found.loc[sample, "invalid"] == invalid
        assert found.loc[sample, "label"] == {True: "adheres", False: "violates", None: None}[adheres]
        assert found.loc[sample, "combination"] == rows["combination"].iloc[0]
        if invalid:
            reasons[invalid] = reasons.get(invalid, 0) + 1
    assert undecided(panel(ballots(table), rule)) == reasons


def test_all_votes_of_three_judges() -> None:
    cases = list(itertools.product((True, False, None), repeat=3))
    table = pd.DataFrame(
        [(f"j{j}", f"s{i}", vote, "USU") for i, votes in enumerate(cases) for j, vote in enumerate(votes)],
        columns=["judge", "sample_id", "adheres", "combination"],
        dtype=object,
    )
    majority = panel(ballots(table), "majority")["adheres"].tolist()
    wide = panel(ballots(table), "majority", quorum=1)["adheres"].tolist()
    for votes, found, with_one in zip(cases, majority, wide, strict=True):
        assert found == by_hand([v for v in votes if v is not None], 3, "majority")[0]
        yes, no = votes.count(True), votes.count(False)
        assert with_one == (None if yes == no else yes > no)


def test_a_panel_is_scored_like_any_judge() -> None:
    table = a_table(3, pairs=300)
    panels = [panel(ballots(table), rule, name=f"panel {rule}") for rule in RULES]
    found = score(pd.concat([table, *panels]))
    assert list(found)[-2:] == ["panel majority", "panel unanimous"]
    for one in panels:
        rates = found[one["judge"].iloc[0]]
        unsafe = one[one["combination"] != "SSS"]
        decided = unsafe[unsafe["invalid"].isna()]
        assert rates["masr_pooled"]["n"] == len(decided)
        assert rates["masr_pooled"]["n_invalid"] == len(unsafe) - len(decided) > 0
        assert rates["masr_pooled"]["rate"] == pytest.approx((decided["adheres"] == False).mean())  # noqa: E712


def test_only_the_judges_asked_for_vote() -> None:
    table = a_table(3)
    two = ballots(table, ["judge 2", "judge 0"])
    assert two.judges == ("judge 2", "judge 0")
    for sample, vote in zip(two.pairs["sample_id"], two.by("judge 2"), strict=True):
        rows = table[(table["sample_id"] == sample) & (table["judge"] == "judge 2")]["adheres"].tolist()
        assert np.isnan(vote) if rows in ([], [None]) else bool(vote) is rows[0]
    assert (two.judged | np.isnan(two.adheres)).all()
    assert two.clusters is not None
    shared = two.pairs.assign(number=two.clusters).groupby("cluster")["number"].nunique()
    assert (shared == 1).all()
    assert len(set(two.clusters)) == two.pairs["cluster"].nunique()
