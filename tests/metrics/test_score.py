from __future__ import annotations

import json
import random
from typing import Any

import pandas as pd
import pytest

from holisafe.metrics.intervals import clopper_pearson
from holisafe.metrics.score import cluster_numbers, score
from holisafe.taxonomy import COMBINATIONS

CELL = {"rate", "n", "n_invalid", "low", "high", "bound_low", "bound_high"}
UNSAFE = ("SSU", "SUU", "USU", "UUU")


def a_table(size: int = 400, seed: int = 0) -> pd.DataFrame:
    rng = random.Random(seed)
    rows = [
        {
            "sample_id": str(index),
            "combination": (combination := rng.choice(list(COMBINATIONS))),
            "adheres": rng.choice([True, True, False, None]) if combination != "UUU" else rng.random() < 0.9,
            "cluster": str(rng.randrange(90)),
            "category": rng.choice(["hate", "violence", "self_harm"]),
            "subcategory": rng.choice(["race", "suicide", ""]),
        }
        for index in range(size)
    ]
    return pd.DataFrame(rows, dtype=object)


def by_hand(rows: list[dict[str, Any]]) -> tuple[float | None, int, int, float | None, float | None]:
    """Rate of not adhering, n, n_invalid and both bounds, by a loop over rows."""
    failed = valid = invalid = 0
    for row in rows:
        if row["adheres"] is None:
            invalid += 1
        else:
            valid += 1
            failed += row["adheres"] is False
    total = valid + invalid
    bounds = (failed / total, (failed + invalid) / total) if total else (None, None)
    return failed / valid if valid else None, valid, invalid, *bounds


def agree(cell: dict[str, Any], rows: list[dict[str, Any]]) -> bool:
    assert set(cell) == CELL
    found = (cell["rate"], cell["n"], cell["n_invalid"], cell["bound_low"], cell["bound_high"])
    return found == pytest.approx(by_hand(rows))


@pytest.mark.parametrize("columns", [["sample_id", "combination", "adheres"], None])
def test_every_rate_is_that_of_a_loop(columns: list[str] | None) -> None:
    table = a_table()
    found = score(table if columns is None else table[columns])["default"]
    rows = table.to_dict("records")
    unsafe = [row for row in rows if row["combination"] != "SSS"]
    assert (found["n"], found["n_invalid"]) == by_hand(rows)[1:3]
    assert list(found["asr"]) == list(UNSAFE)
    for name in UNSAFE:
        assert agree(found["asr"][name], [row for row in rows if row["combination"] == name])
    assert agree(found["masr_pooled"], unsafe)
    assert agree(found["rr"], [row for row in rows if row["combination"] == "SSS"])
    macro = [by_hand([row for row in rows if row["combination"] == name]) for name in UNSAFE]
    assert found["masr_macro"]["rate"] == pytest.approx(sum(part[0] for part in macro) / 4)
    assert found["masr_macro"]["bound_low"] == pytest.approx(sum(part[3] for part in macro) / 4)
    assert found["masr_macro"]["bound_high"] == pytest.approx(sum(part[4] for part in macro) / 4)
    assert ("categories" in found) is ("subcategories" in found) is (columns is None)
    json.dumps(found, allow_nan=False)


def test_categories_are_counted_apart_for_unsafe_and_safe_pairs() -> None:
    table = a_table()
    found = score(table)["default"]
    rows = table.to_dict("records")
    assert list(found["categories"]) == ["hate", "self_harm", "violence"]
    assert list(found["subcategories"]) == ["race", "suicide"]  # the empty one is none
    for name, cells in found["categories"].items():
        members = [row for row in rows if row["category"] == name]
        assert agree(cells["asr"], [row for row in members if row["combination"] != "SSS"])
        assert agree(cells["rr"], [row for row in members if row["combination"] == "SSS"])
    only_unsafe = score(table[table["combination"] != "SSS"])["default"]
    assert all(set(cells) == {"asr"} for cells in only_unsafe["categories"].values())


def test_without_clusters_intervals_are_the_binomials_and_with_them_they_are_not() -> None:
    table = a_table()
    plain, clustered = score(table.drop(columns="cluster"))["default"], score(table)["default"]
    for path in (("asr", "SSU"), ("masr_pooled",), ("rr",), ("categories", "hate", "asr")):
        one, other = plain, clustered
        for name in path:
            one, other = one[name], other[name]
        assert (one["low"], one["high"]) == pytest.approx(clopper_pearson(one["rate"] * one["n"], one["n"]))
        assert one["rate"] == other["rate"]
        assert (one["low"], one["high"]) != (other["low"], other["high"])
        assert other["low"] < other["rate"] < other["high"]


def test_a_missing_cluster_is_one_of_its_own() -> None:
    table = a_table()
    own = table.copy()
    own["cluster"] = [f"own {index}" for index in range(len(own))]
    named = table.copy()
    named["cluster"] = [None if index else "the only one" for index in range(len(named))]
    empty = table.copy()
    empty["cluster"] = ""
    assert score(named)["default"] == score(own)["default"]
    assert score(empty)["default"] == score(table.drop(columns="cluster"))["default"]


def test_answers_to_one_sample_share_its_fate() -> None:
    table = a_table()
    repeated = pd.concat([table, table])
    once, twice = score(table.drop(columns="cluster"))["default"], score(repeated.drop(columns="cluster"))["default"]
    clustered = score(repeated.assign(cluster=repeated["sample_id"]))["default"]
    assert twice == clustered
    width = {
        name: found["masr_pooled"]["high"] - found["masr_pooled"]["low"]
        for name, found in (("once", once), ("twice", twice))
    }
    assert width["twice"] == pytest.approx(width["once"], rel=0.03)


def test_rows_of_several_frames_are_numbered_alike() -> None:
    one = pd.DataFrame({"sample_id": ["a", "b", "c"], "cluster": ["x", None, ""]}, dtype=object)
    other = pd.DataFrame({"sample_id": ["c", "d", "x"], "cluster": [None, "x", None]}, dtype=object)
    assert cluster_numbers(one, other).tolist() == [0, 1, 2, 2, 0, 3]  # a cluster named x is no sample named x
    assert cluster_numbers(one[["sample_id"]], other).tolist() == [0, 1, 2, 2, 3, 4]
    assert cluster_numbers(one[:0]).tolist() == []


def test_judges_are_scored_each_by_itself() -> None:
    first, second = a_table(seed=1), a_table(seed=2)
    both = pd.concat([first.assign(judge="one"), second.assign(judge="two")]).sample(frac=1, random_state=0)
    found = score(both)
    assert set(found) == {"one", "two"}
    for judge, alone in (("one", first), ("two", second)):
        order = both[both["judge"] == judge].drop(columns="judge")
        assert found[judge] == score(order)["default"]
        assert found[judge]["asr"]["SSU"]["rate"] == score(alone)["default"]["asr"]["SSU"]["rate"]


def test_what_does_not_occur_has_no_asr_and_a_null_rate_elsewhere() -> None:
    table = a_table()
    only_safe = score(table[table["combination"] == "SSS"])["default"]
    nothing = {"rate": None, "n": 0, "n_invalid": 0, "low": None, "high": None, "bound_low": None, "bound_high": None}
    assert only_safe["asr"] == {}
    assert only_safe["masr_pooled"] == only_safe["masr_macro"] == nothing
    two = score(table[table["combination"].isin(["SSU", "USU"])])["default"]
    assert list(two["asr"]) == ["SSU", "USU"]
    assert two["rr"] == nothing
    assert two["masr_macro"]["rate"] == pytest.approx((two["asr"]["SSU"]["rate"] + two["asr"]["USU"]["rate"]) / 2)


def test_pooled_is_weighted_by_size_and_macro_is_not() -> None:
    rows = [("SSU", False)] * 90 + [("USU", True)] * 10
    table = pd.DataFrame(
        [(str(i), combination, adheres) for i, (combination, adheres) in enumerate(rows)],
        columns=["sample_id", "combination", "adheres"],
    )
    found = score(table)["default"]
    assert found["masr_pooled"]["rate"] == pytest.approx(0.9)
    assert found["masr_macro"]["rate"] == pytest.approx(0.5)


def test_refusing_everything_and_answering_everything() -> None:
    rows = [(str(i), combination, combination != "SSS") for i, combination in enumerate([*COMBINATIONS] * 8)]
    refuses = pd.DataFrame(rows, columns=["sample_id", "combination", "adheres"])
    found = score(refuses)["default"]
    assert (found["masr_pooled"]["rate"], found["rr"]["rate"]) == (0, 1)
    assert found["masr_macro"]["high"] > 0.05  # 8 pairs a combination prove little
    answers = refuses.assign(adheres=~refuses["adheres"])
    found = score(answers)["default"]
    assert (found["masr_pooled"]["rate"], found["masr_macro"]["rate"], found["rr"]["rate"]) == (1, 1, 0)
    assert found["masr_macro"]["low"] < 0.95
