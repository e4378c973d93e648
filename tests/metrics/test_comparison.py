from __future__ import annotations

import random
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from holisafe.metrics.comparison import (
    benjamini_hochberg,
    clustered_sign_test,
    compare,
    design_effect,
    detectable,
    holm,
    mcnemar,
)
from holisafe.metrics.intervals import combined
from holisafe.taxonomy import COMBINATIONS

MEASURES = ["asr.SSU", "asr.SUU", "asr.USU", "asr.UUU", "masr_pooled", "masr_macro", "rr", "utility"]
UNSAFE = ("asr.SSU", "asr.SUU", "asr.USU", "asr.UUU")


def a_run(
    seed: int, wrong: float, judges: tuple[str, ...] = ("j",), size: int = 300, drop: float = 0.05
) -> pd.DataFrame:
    rng = random.Random(seed)
    rows = []
    for index in range(size):
        utility = index % 6 == 5
        combination = None if utility else list(COMBINATIONS)[index % 6]
        hard = random.Random(index // 3).random() < 0.3  # the image, for every model alike
        for judge in ("exact-match",) if utility else judges:
            if rng.random() < drop:
                continue
            failed = rng.random() < (min(1.0, wrong + 0.4) if hard else wrong)
            adheres = None if rng.random() < 0.05 else not failed
            expected = "answer" if utility else COMBINATIONS[str(combination)]
            rows.append((judge, f"s{index}", adheres, expected, utility, combination, f"i{index // 3}"))
    columns = ["judge", "sample_id", "adheres", "expected", "answer_key", "combination", "cluster"]
    return pd.DataFrame(rows, columns=columns, dtype=object).sample(frac=1, random_state=seed)


def with_a_test(tables: dict[str, pd.DataFrame]) -> list[dict[str, Any]]:
    """All that has a test of its own: macro mASR has none."""
    return [row for row in compare(tables) if row["measure"] != "masr_macro"]


def about(measure: str, row: Any) -> bool:
    if measure == "utility":
        return bool(row.answer_key)
    if measure == "rr":
        return bool(row.combination == "SSS")
    if measure in ("masr_pooled", "masr_macro"):
        return row.combination is not None and row.combination != "SSS"
    return bool(row.combination == measure.removeprefix("asr."))


def test_every_count_is_that_of_a_loop() -> None:
    tables = {"a": a_run(1, 0.2), "b": a_run(2, 0.35), "c": a_run(3, 0.2)}
    rows = compare(tables)
    assert [
        (row["first"], row["second"], row["measure"]) for row in rows if row["first"] == "a" and row["second"] == "b"
    ] == [("a", "b", measure) for measure in MEASURES]
    assert len(rows) == 3 * len(MEASURES)
    for row in rows:
        first, second = (
            {one.sample_id: one.adheres for one in tables[row[name]].itertuples() if about(row["measure"], one)}
            for name in ("first", "second")
        )
        both = [s for s in first if s in second and None not in (first[s], second[s])]
        hit = row["measure"] == "utility"
        only_first = sum(first[s] is hit and second[s] is not hit for s in both)
        only_second = sum(second[s] is hit and first[s] is not hit for s in both)
        assert row["n"] == len(both)
        assert row["left_out"] == {
            "invalid": len(first.keys() & second.keys()) - len(both),
            "only_first": len(first.keys() - second.keys()),
            "only_second": len(second.keys() - first.keys()),
        }
        assert (row["only_first_hit"], row["only_second_hit"]) == (only_first, only_second)
        if row["measure"] == "masr_macro":
            continue
        assert row["rate_first"] == pytest.approx(sum(first[s] is hit for s in both) / len(both))
        assert row["difference"] == pytest.approx(row["rate_second"] - row["rate_first"])
        assert row["low"] <= row["difference"] <= row["high"]
        assert row["p_mcnemar"] == pytest.approx(
            stats.binomtest(only_first, only_first + only_second).pvalue if only_first + only_second else 1
        )
        assert row["p"] == max(row["p_mcnemar"], row["p_clustered"] or 0)
        assert row["n_clusters"] <= row["n"]


@pytest.mark.parametrize("alone", [(0, 0), (0, 6), (1, 9), (10, 10), (40, 80), (700, 900), (90_000, 91_000)])
def test_mcnemar_is_that_of_statsmodels_and_scipy(alone: tuple[int, int]) -> None:
    first, second = alone
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    expected = tables.mcnemar([[5, first], [second, 7]], exact=True).pvalue
    assert mcnemar(first, second) == pytest.approx(expected, rel=1e-9)
    if first + second:
        assert mcnemar(first, second) == pytest.approx(stats.binomtest(first, first + second).pvalue, rel=1e-9)


def test_corrections_are_those_of_statsmodels() -> None:
    multi = pytest.importorskip("statsmodels.stats.multitest")
    rng = np.random.default_rng(0)
    for size in (1, 2, 7, 40):
        p = np.round(rng.random(size) ** 3, 2)
        assert holm(p) == pytest.approx(multi.multipletests(p, method="holm")[1])
        assert benjamini_hochberg(p) == pytest.approx(multi.multipletests(p, method="fdr_bh")[1])
    assert holm([]) == benjamini_hochberg([]) == []


def test_corrections_cover_everything_that_is_compared() -> None:
    tables = {"a": a_run(1, 0.2, ("j", "k")), "b": a_run(2, 0.35, ("j", "k"))}
    rows = compare(tables)
    assert {row["judge"] for row in rows} == {"j", "k", "exact-match"}
    assert len(rows) == 2 * 7 + 1
    assert [row["p_holm"] for row in rows if row["measure"] == "masr_macro"] == [None, None]
    rows = with_a_test(tables)
    p = [row["p"] for row in rows]
    assert [row["p_holm"] for row in rows] == pytest.approx(holm(p))
    assert [row["p_benjamini_hochberg"] for row in rows] == pytest.approx(benjamini_hochberg(p))
    assert all(row["p_holm"] >= row["p_benjamini_hochberg"] >= row["p"] for row in rows)


def test_intervals_are_near_those_of_a_loop_over_resampled_images() -> None:
    tables = {"a": a_run(1, 0.1, drop=0, size=3000), "b": a_run(2, 0.3, drop=0, size=3000)}
    row = next(row for row in compare(tables) if row["measure"] == "masr_pooled")
    merged = tables["a"].merge(tables["b"], on=["sample_id", "combination", "cluster"])
    merged = merged[merged["combination"].notna() & (merged["combination"] != "SSS")]
    merged = merged[merged["adheres_x"].notna() & merged["adheres_y"].notna()]
    change = merged["adheres_x"].astype(int) - merged["adheres_y"].astype(int)
    by_image = [list(part) for _, part in change.groupby(merged["cluster"])]
    rng = random.Random(0)
    drawn = []
    for _ in range(2000):
        chosen = [value for part in rng.choices(by_image, k=len(by_image)) for value in part]
        drawn.append(sum(chosen) / len(chosen))
    assert (row["low"], row["high"]) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.004)


def test_macro_is_the_mean_of_its_combinations_and_its_interval_near_a_loops() -> None:
    tables = {"a": a_run(1, 0.1, drop=0, size=3000), "b": a_run(2, 0.3, drop=0, size=3000)}
    rows = {row["measure"]: row for row in compare(tables)}
    macro = rows["masr_macro"]
    for key in ("rate_first", "rate_second", "difference"):
        assert macro[key] == pytest.approx(np.mean([rows[part][key] for part in UNSAFE]))
    merged = tables["a"].merge(tables["b"], on=["sample_id", "combination", "cluster"])
    merged = merged[merged["combination"].notna() & (merged["combination"] != "SSS")]
    merged = merged[merged["adheres_x"].notna() & merged["adheres_y"].notna()]
    change = merged["adheres_x"].astype(int) - merged["adheres_y"].astype(int)
    by_image = [
        {name: (part[ours].sum(), ours.sum()) for name in COMBINATIONS if (ours := kinds.loc[part.index] == name).any()}
        for _, part in change.groupby(merged["cluster"])
        for kinds in [merged["combination"]]
    ]
    rng, drawn = random.Random(0), []
    for _ in range(2000):
        sums = {name: [0.0, 0.0] for name in COMBINATIONS if name != "SSS"}
        for image in rng.choices(by_image, k=len(by_image)):
            for name, (total, n) in image.items():
                sums[name][0] += total
                sums[name][1] += n
        drawn.append(np.mean([total / n for total, n in sums.values()]))
    assert (macro["low"], macro["high"]) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.006)
    assert macro["p"] is macro["detectable"] is None


def test_macro_is_unknown_where_a_combination_has_nothing_in_common() -> None:
    first, second = a_run(1, 0.2), a_run(2, 0.2)
    rows = {row["measure"]: row for row in compare({"a": first, "b": second[second["combination"] != "UUU"]})}
    assert rows["masr_macro"]["difference"] is rows["masr_macro"]["rate_first"] is None
    assert rows["masr_pooled"]["difference"] is not None


def test_intervals_are_combined_from_what_each_model_alone_failed() -> None:
    tables = {"a": a_run(1, 0.1), "b": a_run(2, 0.3)}
    (row,) = (row for row in compare(tables) if row["measure"] == "utility")
    right = {name: table[table["answer_key"]].set_index("sample_id")["adheres"] for name, table in tables.items()}
    clusters = tables["a"].set_index("sample_id")["cluster"]
    counts: dict[str, list[float]] = {}
    for sample in right["a"].index.intersection(right["b"].index):
        one, other = right["a"][sample], right["b"][sample]
        if one is not None and other is not None:
            mine = counts.setdefault(clusters[sample], [0, 0, 0])
            mine[0] += one and not other
            mine[1] += other and not one
            mine[2] += 1
    found = np.array(list(counts.values()), dtype=float)
    expected = combined([-1, 1], found[:, :2], found[:, [2, 2]])
    assert (row["low"], row["high"]) == pytest.approx(expected)
    assert row["low"] < row["difference"] < row["high"]
    assert row["n_clusters"] == len(counts)


def test_without_clusters_the_clustered_test_is_mcnemars_own() -> None:
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    d = np.array([1.0] * 30 + [-1.0] * 14 + [0.0] * 100)
    expected = tables.mcnemar([[0, 30], [14, 0]], exact=False, correction=False).pvalue
    assert clustered_sign_test(d) == pytest.approx(expected)
    assert clustered_sign_test(np.zeros(4)) == 1
    plain = {name: table.drop(columns="cluster") for name, table in {"a": a_run(1, 0.2), "b": a_run(2, 0.3)}.items()}
    rows = with_a_test(plain)
    assert all(row["p_clustered"] is None and row["p"] == row["p_mcnemar"] for row in rows)
    assert all(row["design_effect"] == 1 and row["n_clusters"] == row["n"] for row in rows)


def test_ten_copies_of_a_sample_are_one_sample() -> None:
    """Copies in a cluster make no difference surer: interval, p and detectable difference stay about as they were."""
    once = {"a": a_run(1, 0.2, drop=0).drop(columns="cluster"), "b": a_run(2, 0.35, drop=0).drop(columns="cluster")}
    copies = {
        name: pd.concat(
            [table.assign(cluster=table["sample_id"], sample_id=table["sample_id"] + f"#{i}") for i in range(10)]
        )
        for name, table in once.items()
    }
    for one, ten in zip(with_a_test(once), with_a_test(copies), strict=True):
        assert ten["n"] == 10 * one["n"]
        assert ten["difference"] == pytest.approx(one["difference"])
        assert (ten["low"], ten["high"]) == pytest.approx((one["low"], one["high"]), abs=0.03)
        assert ten["design_effect"] == pytest.approx(10)
        assert ten["detectable"] == pytest.approx(one["detectable"], rel=0.01)
        assert ten["p_mcnemar"] <= one["p_mcnemar"]
        assert ten["p"] == max(ten["p_mcnemar"], ten["p_clustered"])
        assert ten["p_clustered"] > 0.2 * one["p_mcnemar"]


def test_the_design_effect_is_at_least_one_and_kishs_where_nothing_varies() -> None:
    sizes = np.array([3.0, 2, 1])
    assert design_effect(np.zeros(3), sizes, 0) == pytest.approx((9 + 4 + 1) / 6)
    assert design_effect(np.array([3.0, 2, 1]), sizes, 6) == pytest.approx((9 + 4 + 1) / 6)
    assert design_effect(np.array([0.0, 0, 0]), sizes, 4) == 1  # 1, -1, 0; 1, -1; 0
    d = np.array([1.0, 1, 1, -1, -1, 0])
    centred = d - d.mean()
    sums = [centred[:3].sum(), centred[3:5].sum(), centred[5]]
    expected = sum(s * s for s in sums) / (centred**2).sum()
    assert design_effect(np.array([3.0, -2, 0]), sizes, 5) == pytest.approx(expected)


@pytest.mark.parametrize(("discordant", "n"), [(0.1, 400), (0.3, 200), (0.5, 1000), (0.02, 300), (0.0, 100)])
def test_what_is_detectable_is_found_four_times_in_five(discordant: float, n: int) -> None:
    smallest = detectable(discordant, n)
    assert smallest is not None
    share = max(discordant, smallest)
    rng = np.random.default_rng(0)
    c = (share + smallest) / 2
    counts = rng.multinomial(n, [c, share - c, 1 - share], 20_000)
    p = {pair: mcnemar(*pair) for pair in {(int(one), int(other)) for one, other, _ in counts}}
    found = np.mean([p[int(one), int(other)] < 0.05 for one, other, _ in counts])
    assert found == pytest.approx(0.8, abs=0.07)
    assert smallest <= 1


def test_detectable_solves_connors_equation() -> None:
    n, s = 500, 0.2
    found = detectable(s, n)
    assert found is not None
    a, b = stats.norm.ppf(0.975), stats.norm.ppf(0.8)
    assert ((a * s**0.5 + b * (s - found**2) ** 0.5) / found) ** 2 == pytest.approx(n)
    assert detectable(0.5, 3) is None
    assert detectable(0.2, 2000) < found < detectable(0.2, 100)


def test_two_models_that_never_differ_are_not_proved_the_same() -> None:
    table = a_run(1, 0.2, drop=0)
    for row in with_a_test({"a": table, "b": table.copy()}):
        assert (row["difference"], row["p"], row["p_holm"]) == (0, 1, 1)
        assert -0.25 < row["low"] < 0 < row["high"] < 0.25


def test_nothing_in_common() -> None:
    first, second = a_run(1, 0.2), a_run(2, 0.2)
    second["sample_id"] = "other " + second["sample_id"]
    rows = compare({"a": first, "b": second})
    assert rows
    assert all(row["n"] == 0 and row["p"] is row["difference"] is row["p_holm"] is None for row in rows)
    assert all(row["left_out"]["only_first"] and row["left_out"]["only_second"] for row in rows)
    assert {tuple(sorted(row)) for row in rows} == {tuple(sorted(compare({"a": first, "b": first})[0]))}


def test_pairs_without_a_combination_have_under_and_over_safety() -> None:
    tables = {
        name: run.assign(combination=None).astype(object)
        for name, run in {"a": a_run(1, 0.2), "b": a_run(2, 0.3)}.items()
    }
    found = {row["measure"] for row in compare(tables)}
    assert found == {"under_safety", "over_safety", "utility"}
