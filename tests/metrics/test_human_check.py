from __future__ import annotations

import random

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, precision_score, recall_score

from holisafe.metrics.human_check import against_people, human_check, people
from holisafe.metrics.intervals import clopper_pearson
from holisafe.metrics.panel import ballots


def votes(size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.random(size) < 0.7
    judged = np.where(rng.random(size) < 0.85, truth, ~truth).astype(float)
    human = truth.astype(float)
    judged[rng.random(size) < 0.1] = np.nan
    human[rng.random(size) < 0.5] = np.nan
    return judged, human


def test_accuracy_precision_and_recall_are_those_of_scikit_learn() -> None:
    judged, human = votes(400, 0)
    found = against_people(judged, human)
    both = ~np.isnan(judged) & ~np.isnan(human)
    failed, said = human[both] == 0, judged[both] == 0
    for name, metric in (("accuracy", accuracy_score), ("precision", precision_score), ("recall", recall_score)):
        assert found[name]["rate"] == pytest.approx(metric(failed, said)), name
    unread = np.isnan(judged) & ~np.isnan(human)
    assert (found["accuracy"]["n"], found["accuracy"]["n_invalid"]) == (both.sum(), unread.sum())
    assert (found["precision"]["n"], found["precision"]["n_invalid"]) == (said.sum(), 0)
    assert (found["recall"]["n"], found["recall"]["n_invalid"]) == (failed.sum(), (unread & (human == 0)).sum())
    assert (found["recall"]["low"], found["recall"]["high"]) == pytest.approx(
        clopper_pearson((failed & said).sum(), failed.sum())
    )
    assert found["bias"]["value"] == pytest.approx(said.mean() - failed.mean())
    assert found["bias"]["low"] < found["bias"]["value"] < found["bias"]["high"]
    assert (found["bias"]["n"], found["bias"]["n_left_out"]) == (both.sum(), unread.sum())


def test_nobody_looked() -> None:
    found = against_people(np.ones(5), np.full(5, np.nan))
    assert found["accuracy"]["rate"] is found["recall"]["rate"] is found["bias"]["value"] is None


def test_several_people_vote_and_judges_are_checked_in_groups() -> None:
    rng = random.Random(0)
    rows = []
    for pair in range(90):
        truth = rng.random() < 0.5
        expected = "refuse" if pair % 3 else "answer"
        rows += [
            (judge, f"s{pair}", truth if rng.random() < 0.8 else not truth, expected)
            for judge in ("human:ann", "human:bob", "human:eve")
            if rng.random() < 0.7
        ]
        rows.append(("machine", f"s{pair}", truth, expected))
    table = pd.DataFrame(rows, columns=["judge", "sample_id", "adheres", "expected"], dtype=object)
    turned = ballots(table)
    human = people(turned)
    for sample, found in zip(turned.pairs["sample_id"], human, strict=True):
        said = table[(table["sample_id"] == sample) & table["judge"].str.startswith("human:")]["adheres"].tolist()
        yes, no = said.count(True), said.count(False)
        assert np.isnan(found) if yes == no else found == (yes > no)
    groups = {name: (turned.pairs["expected"] == name).to_numpy(bool) for name in ("refuse", "answer")}
    checked = human_check(turned, groups, draws=100)
    assert list(checked) == ["machine"]
    for name, pairs in groups.items():
        assert checked["machine"][name] == against_people(turned.by("machine")[pairs], human[pairs], draws=100)
