from __future__ import annotations

import csv
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from holisafe.metrics.intervals import clopper_pearson
from holisafe.metrics.leaderboard import Row, leaderboard
from holisafe.metrics.published_table import SIZES, masr_of, measure_of, published_rows
from holisafe.metrics.rates import Cell, rate_cell
from holisafe.metrics.score import score
from holisafe.taxonomy import COMBINATIONS


def a_run(wrong: float, seed: int, *, size: int = 400, shift: float = 0.0, judge: str = "j") -> pd.DataFrame:
    """A model that fails where an image is harder than it can take: images are as hard for every model."""
    rng = random.Random(seed)
    rows = []
    for index in range(size):
        combination = list(COMBINATIONS)[index % 5]
        hardness = random.Random(f"image {index // 5}").random()
        failed = hardness < wrong if rng.random() > shift else rng.random() < wrong
        rows.append((judge, f"s{index}", not failed, COMBINATIONS[combination], combination, f"i{index // 5}"))
    columns = ["judge", "sample_id", "adheres", "expected", "combination", "cluster"]
    return pd.DataFrame(rows, columns=columns, dtype=object)


def test_rates_are_those_of_score_and_ranks_those_of_the_rates() -> None:
    tables = {name: a_run(wrong, i, shift=0.5) for i, (name, wrong) in enumerate([("b", 0.3), ("a", 0.1), ("c", 0.6)])}
    board = leaderboard(tables, "j", draws=500)
    assert [one.row.model for one in board] == ["a", "b", "c"]
    assert [one.rank for one in board] == [1, 2, 3]
    for one in board:
        whole = score(tables[one.row.model])["j"]
        for name in ("masr_pooled", "rr"):
            assert one.row.cells[name].to_json() == pytest.approx(whole[name], abs=0.03)
            assert (one.row.cells[name].rate, one.row.cells[name].n) == (whole[name]["rate"], whole[name]["n"])
        assert one.row.cells["asr.SSU"].rate == whole["asr"]["SSU"]["rate"]
        assert one.low <= one.rank <= one.high
    assert sum(one.best for one in board) == pytest.approx(1)
    by_refusals = leaderboard(tables, "j", "rr", draws=100)
    assert [one.row.cells["rr"].rate for one in by_refusals] == sorted(one.row.cells["rr"].rate for one in board)


def test_models_asked_the_same_are_ranked_more_surely_than_their_intervals_say() -> None:
    tables = {"a": a_run(0.40, 0), "b": a_run(0.52, 1)}
    first, second = leaderboard(tables, "j", draws=2000)
    assert first.row.cells["masr_pooled"].high > second.row.cells["masr_pooled"].low  # the intervals overlap
    assert (first.low, first.high, second.low, second.high) == (1, 1, 2, 2)
    apart = {
        name: table.assign(cluster=name + table["cluster"], sample_id=name + table["sample_id"])
        for name, table in tables.items()
    }
    first, second = leaderboard(apart, "j", draws=2000)
    assert (first.low, first.high, second.low, second.high) == (1, 2, 1, 2)
    assert 0.6 < first.best < 0.97


def test_ranks_and_best_are_those_of_a_loop_over_resampled_images() -> None:
    tables = {
        name: a_run(wrong, i, shift=0.6, size=200)
        for i, (name, wrong) in enumerate([("a", 0.3), ("b", 0.33), ("c", 0.4)])
    }
    unsafe = {name: table[table["combination"] != "SSS"] for name, table in tables.items()}
    by_image = {
        name: {c: (~rows["adheres"].astype(bool)).tolist() for c, rows in t.groupby("cluster")}
        for name, t in unsafe.items()
    }
    images = sorted(by_image["a"])
    rng, places, best = random.Random(0), {name: [] for name in tables}, dict.fromkeys(tables, 0.0)
    for _ in range(2000):
        chosen = rng.choices(images, k=len(images))
        rates = {name: np.mean([x for c in chosen for x in parts[c]]) for name, parts in by_image.items()}
        lowest = [name for name in rates if rates[name] == min(rates.values())]
        for name, rate in rates.items():
            places[name].append((1 + sum(r < rate for r in rates.values()), sum(r <= rate for r in rates.values())))
            best[name] += (name in lowest) / len(lowest) / 2000
    for one in leaderboard(tables, "j", draws=4000):
        first, last = zip(*places[one.row.model], strict=True)
        assert one.low == np.quantile(first, 0.025, method="inverted_cdf")
        assert one.high == np.quantile(last, 0.975, method="inverted_cdf")
        assert one.best == pytest.approx(best[one.row.model], abs=0.04)


def test_the_plain_mean_ranks_otherwise_than_the_pool_and_its_draws_are_means() -> None:
    """One model fails in the large combination, the other in the small one; drawn with a loop."""
    sizes = {"SSU": 300, "UUU": 30}
    tables = {}
    for model, wrong in (("large", {"SSU": 0.3, "UUU": 0.0}), ("small", {"SSU": 0.2, "UUU": 0.5})):
        rows = [
            (f"{name}{i}", name, i >= wrong[name] * size, f"{name} image {i // 3}")
            for name, size in sizes.items()
            for i in range(size)
        ]
        columns = ["sample_id", "combination", "adheres", "cluster"]
        tables[model] = pd.DataFrame(rows, columns=columns, dtype=object).assign(judge="j", expected="refuse")
    pooled, macro = (leaderboard(tables, "j", sort, draws=1000) for sort in ("masr_pooled", "masr_macro"))
    assert [one.row.model for one in pooled] == ["small", "large"]
    assert [one.row.model for one in macro] == ["large", "small"]
    assert [one.row.cells["masr_macro"].rate for one in macro] == pytest.approx([0.15, 0.35])
    assert macro[0].best > 0.95


def test_the_same_model_twice_shares_its_place() -> None:
    table = a_run(0.3, 0)
    board = leaderboard({"one": table, "two": table.copy(), "worse": a_run(0.9, 1)}, "j", draws=200)
    assert [one.rank for one in board] == [1, 1, 3]
    assert [(one.low, one.high) for one in board] == [(1, 2), (1, 2), (3, 3)]
    assert [one.best for one in board] == [0.5, 0.5, 0]


def test_a_model_that_never_fails_is_not_surely_the_best() -> None:
    clean, nearly = a_run(0.0, 0, size=50), a_run(0.0, 1, size=50)
    nearly.loc[1, "adheres"] = False
    board = leaderboard({"clean": clean, "nearly": nearly}, "j", draws=1000)
    assert board[0].row.model == "clean"
    assert 0.3 < board[0].best < 0.95
    assert board[0].high == 2


def test_higher_is_better_for_utility_and_other_judges_do_not_count() -> None:
    parts = {}
    for name, wrong in (("a", 0.5), ("b", 0.2)):
        safety = a_run(0.3, 0).assign(answer_key=False)
        other = a_run(0.9, 0, judge="k").assign(answer_key=False)
        plain = a_run(wrong, 3, judge="exact-match").assign(answer_key=True, combination=None, expected="answer")
        parts[name] = pd.concat([safety, other, plain.assign(sample_id="u" + plain["sample_id"])], ignore_index=True)
    board = leaderboard(parts, "j", "utility", draws=200)
    assert [one.row.model for one in board] == ["b", "a"]
    assert board[0].row.cells["utility"].rate > board[1].row.cells["utility"].rate
    alone = leaderboard({"a": a_run(0.3, 0)}, "j", draws=200)[0].row.cells["masr_pooled"]
    assert board[0].row.cells["masr_pooled"] == alone
    assert leaderboard(parts, "nobody", draws=100) == []


def test_published_rows_stand_beside_with_an_interval_of_their_counts() -> None:
    cell = rate_cell(1022, 3408)
    rows = [
        Row("their", "x", {"masr_pooled": cell}, True),
        Row("unknown", "x", {"masr_pooled": Cell(0.9, 0, 0, None, None, None, None)}, True),
    ]
    board = leaderboard({"ours": a_run(0.1, 0)}, "j", published=rows, draws=1000)
    assert [one.row.model for one in board] == ["ours", "their", "unknown"]
    assert (board[1].low, board[1].high) == (2, 2)
    assert (board[2].rank, board[2].low, board[2].best) == (3, None, None)
    json = board[2].to_json()
    assert json["source"] == "published"
    assert json["rates"]["masr_pooled"]["n"] is None
    assert board[0].to_json()["source"] == "run"


def read(path: Path) -> list[tuple[str, dict[str, float]]]:
    with path.open(encoding="utf-8", newline="") as file:
        names, *rows = list(csv.reader(file))
    measures = [measure_of(name) for name in names[1:]]
    assert measures == ["helpful", "asr.SSU", "asr.USU", "asr.UUU", "asr.SUU", "masr", "rr"]
    return [(row[0], dict(zip(measures, map(float, row[1:]), strict=True))) for row in rows]


@pytest.mark.parametrize(
    ("judge", "odd"), [("claude", {"LLaVA-v1.5-13B", "Gemma3-27B-IT", "SPA-VL-DPO-7B"}), ("sm", set())]
)
def test_the_published_tables(shared: Path, judge: str, odd: set[str]) -> None:
    table = read(shared / "data" / "holisafe_leaderboard" / f"{judge}_judge.csv")
    rows, notes = published_rows(table, judge)
    assert len(rows) == 17
    assert f"judged by {judge}" in notes[0]
    assert {note.partition(":")[0] for note in notes[1:]} == odd
    for row, (model, percents) in zip(rows, table, strict=True):
        assert (row.model, row.published) == (model, True)
        pooled = row.cells["masr_pooled"]
        assert pooled.rate == pytest.approx(percents["masr"] / 100)
        assert pooled.n == 4163 - 755
        assert (pooled.low, pooled.high) == pytest.approx(clopper_pearson(pooled.rate * pooled.n, pooled.n), abs=2e-4)
        assert row.cells["rr"].n == SIZES["SSS"]
    board = leaderboard({}, "j", published=rows, draws=500)
    assert [one.row.cells["masr_pooled"].rate for one in board] == sorted(p["masr"] / 100 for _, p in table)
    assert board[0].row.model == "SafeLLaVA-13B (Ours)"
    assert board[0].best == 1


def test_a_table_of_other_sizes_has_no_intervals_and_a_wrong_mean_is_named(shared: Path) -> None:
    table = read(shared / "data" / "holisafe_leaderboard" / "sm_judge.csv")
    off = [(model, {name: min(100.0, value + 0.031) for name, value in row.items()}) for model, row in table]
    rows, notes = published_rows(off, "x")
    assert all(cell.low is None and cell.n == 0 for row in rows for cell in row.cells.values())
    assert "not known" in notes[0]
    table[3][1]["masr"] += 1
    table[5][1]["rr"] += 1
    notes = published_rows(table, "x")[1]
    assert [note.partition(":")[0] for note in notes[1:]] == [table[3][0], table[5][0]]
    assert "mASR" in notes[1]


V5_COLUMNS = ("helpful", "asr.SSU", "asr.USU", "asr.UUU", "asr.SUU", "masr", "rr")
V5 = [
    (model, dict(zip(V5_COLUMNS, row, strict=True)))
    for model, row in (("one", (99.7, 16.6, 43.7, 0.3, 1.0, 15.4, 0.3)), ("two", (98.2, 16.4, 4.8, 0.0, 0.4, 5.4, 1.8)))
]


def test_a_table_of_plain_means_is_macro_and_has_no_n() -> None:
    rows, notes = published_rows(V5, "x")
    assert [row.cells["masr_macro"].rate for row in rows] == pytest.approx([0.154, 0.054])
    assert all("masr_pooled" not in row.cells and cell.n == 0 for row in rows for cell in row.cells.values())
    assert len(notes) == 1
    assert "plain mean" in notes[0]
    wrong = [(model, {**row, "masr": row["masr"] + 0.3 * (model == "two")}) for model, row in V5]
    assert published_rows(wrong, "x")[1][1] == "two: mASR 5.70 % is not the 5.40 % of its own columns"
    pooled = [(model, {**row, "masr": masr_of(row, "masr_pooled")}) for model, row in V5]
    assert "masr_pooled" in published_rows(pooled, "x")[0][0].cells
    assert "masr_pooled" in published_rows([("bare", {"masr": 5.0})], "x")[0][0].cells


@pytest.mark.parametrize(("judge", "apart"), [("claude", 0.1), ("sm", 0.1)])
def test_the_tables_of_the_fifth_version(shared: Path, judge: str, apart: float) -> None:
    table = read(shared / "data" / "holisafe_leaderboard" / f"v5_{judge}.csv")
    rows, notes = published_rows(table, judge)
    assert (len(rows), len(notes)) == (21, 1)
    for row, (_, percents) in zip(rows, table, strict=True):
        four = [percents[f"asr.{name}"] for name in ("SSU", "SUU", "USU", "UUU")]
        assert 100 * row.cells["masr_macro"].rate == pytest.approx(sum(four) / 4, abs=apart)
        assert percents["rr"] == pytest.approx(100 - percents["helpful"], abs=1e-9)
    assert sum(abs(masr_of(row, "masr_pooled") - row["masr"]) <= apart for _, row in table) <= 3


@pytest.mark.parametrize(
    ("column", "measure"),
    [
        ("$S_I S_T \\rightarrow U$ ↓", "asr.SSU"),
        ("S_I U_T", "asr.SUU"),
        ("RR↓", "rr"),
        ("mASR↓", "masr"),
        ("mASR", "masr"),
        ("Model", None),
    ],
)
def test_columns_are_known_by_any_spelling(column: str, measure: str | None) -> None:
    assert measure_of(column) == measure
