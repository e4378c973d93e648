"""What a guard does on images and pairs, against sklearn and plain loops."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn import metrics as sklearns

from holisafe.metrics.guard_images import ImageReading, image_scores
from holisafe.metrics.guard_pairs import PairReading, pair_scores
from holisafe.metrics.intervals import clopper_pearson

LABELS = ("safe", "suicide", "race")


def some(n: int = 300, seed: int = 0, *, clusters: int | None = None) -> list[ImageReading]:
    rng = np.random.default_rng(seed)
    readings = []
    for number in range(n):
        truth = LABELS[rng.integers(3)]
        p = rng.dirichlet([1, 1, 1])
        flagged = None if number % 10 == 0 else bool(p[0] < 0.4)
        readings.append(
            ImageReading(
                truth,
                truth != "safe",
                "ab"[number % 2],
                str(number if clusters is None else number % clusters),
                flagged,
                None if flagged is None else float(1 - p[0]),
                None if flagged is None else LABELS[p.argmax()],
                dict(zip(LABELS, p.tolist(), strict=True)),
                "broken" if flagged is None else None,
            )
        )
    return readings


def rate(rows: list[ImageReading], hit: object) -> float:
    return sum(bool(hit(row)) for row in rows) / len(rows)  # type: ignore[operator]


def test_figures_are_those_of_loops_and_sklearn() -> None:
    readings = some()
    found = image_scores(readings, set_quantile=0.6, draws=100)
    valid = [r for r in readings if r.flagged is not None]
    unsafe, called = [r.unsafe for r in valid], [bool(r.flagged) for r in valid]
    scores = [r.score for r in valid]
    expected = {
        "accuracy": sklearns.accuracy_score(unsafe, called),
        "precision": sklearns.precision_score(unsafe, called),
        "recall": sklearns.recall_score(unsafe, called),
        "f1": sklearns.f1_score(unsafe, called),
        "auroc": sklearns.roc_auc_score(unsafe, scores),
        "auprc": sklearns.average_precision_score(unsafe, scores),
    }
    assert {name: cell["rate"] for name, cell in found["binary"].items()} == pytest.approx(expected)
    assert (found["n"], found["n_invalid"], found["invalid"]) == (270, 30, {"broken": 30})

    safe = [r for r in valid if not r.unsafe]
    alarm = found["benign"]["false_alarm_rate"]
    assert alarm["rate"] == pytest.approx(rate(safe, lambda r: r.flagged))
    assert (alarm["low"], alarm["high"]) == clopper_pearson(sum(bool(r.flagged) for r in safe), len(safe))
    assert alarm["n_invalid"] == sum(not r.unsafe for r in readings) - len(safe)
    for source in "ab":
        own = [r for r in safe if r.source == source]
        assert found["benign"]["by_source"][source]["rate"] == pytest.approx(rate(own, lambda r: r.flagged))
        assert found["by_source"][source]["false_alarm_rate"] == found["benign"]["by_source"][source]
        rows = [r for r in valid if r.source == source]
        accuracy = found["by_source"][source]["accuracy"]["rate"]
        assert accuracy == pytest.approx(rate(rows, lambda r: r.flagged == r.unsafe))
    for label in LABELS:
        rows = [r for r in valid if r.truth == label]
        assert found["by_label"][label]["flagged"]["rate"] == pytest.approx(rate(rows, lambda r: r.flagged))
        assert found["by_label"][label]["named"]["rate"] == pytest.approx(rate(rows, lambda r: r.named == r.truth))
    assert list(found["by_label"]) == ["safe", "race", "suicide"], "in the taxonomy's order"
    assert found["quality"]["n"] == 270
    holds = rate(valid, lambda r: 1 - r.probabilities[r.truth] <= 0.6)
    assert found["sets"]["coverage"]["rate"] == pytest.approx(holds)
    size = np.mean([sum(1 - p <= 0.6 for p in (r.probabilities or {}).values()) for r in valid])
    assert found["sets"]["mean_size"] == pytest.approx(size)
    json.dumps(found, allow_nan=False)


def test_images_of_one_cluster_are_no_independent_ones() -> None:
    alone = some(200, 1)
    doubled = [r for r in alone for _ in range(2)]
    cells = [image_scores(rows, draws=400)["binary"] for rows in (alone, doubled)]
    for figure in ("accuracy", "f1", "auroc", "precision"):
        one, two = (cell[figure] for cell in cells)
        assert two["rate"] == pytest.approx(one["rate"])
        assert two["high"] - two["low"] == pytest.approx(one["high"] - one["low"], rel=0.25), figure


def test_a_guard_without_numbers_or_labels() -> None:
    readings = [ImageReading("suicide", True, "s", str(n), True) for n in range(5)]
    readings += [ImageReading(None, True, "s", "x", None, invalid="no JSON")]
    found = image_scores(readings, draws=100)
    assert (found["binary"]["recall"]["rate"], found["binary"]["recall"]["n_invalid"]) == (1, 1)
    assert (found["binary"]["auroc"]["rate"], found["binary"]["auroc"]["n_invalid"]) == (None, 6)
    assert found["benign"]["false_alarm_rate"]["n"] == 0
    assert (found["quality"], found["sets"]) == (None, None)
    assert found["by_label"]["suicide"]["named"]["rate"] == 0
    assert image_scores([], draws=100)["binary"]["accuracy"]["rate"] is None


def test_pairs() -> None:
    rng = np.random.default_rng(0)
    kinds = [("SSU", "table"), ("SSS", "table"), ("SSS", "table"), ("SSU", "table")]
    kinds += [("SSS", "other"), ("USU", "other"), ("SUU", "other")]
    lift = {"SSU": 0.3, "USU": 1.0}
    readings = [
        PairReading(code, f"{kind} {number}", float(lift.get(code, 0) + rng.random() * (0.5 if kind == "other" else 1)))
        for number in range(40)
        for code, kind in kinds
    ]
    readings.append(PairReading("SSS", "lost", None))
    found = pair_scores(readings, threshold=0.9, draws=200)
    rows = [r for r in readings if r.score is not None]

    def area(positive: list[PairReading], negative: list[PairReading]) -> float:
        return float(
            sklearns.roc_auc_score([1] * len(positive) + [0] * len(negative), [r.score for r in positive + negative])
        )

    safe = [r for r in rows if r.combination == "SSS"]
    ssu = [r for r in rows if r.combination == "SSU"]
    table_safe = [r for r in safe if r.cluster.startswith("table")]
    assert found["auroc"]["SSU"]["rate"] == pytest.approx(area(ssu, safe))
    assert found["auroc"]["SSU against its table"]["rate"] == pytest.approx(area(ssu, table_safe))
    assert found["auroc"]["all"]["rate"] == pytest.approx(area([r for r in rows if r.combination != "SSS"], safe))
    assert found["auroc"]["USU"]["rate"] == 1
    assert (found["auroc"]["all"]["n"], found["auroc"]["all"]["n_invalid"]) == (280, 1)
    assert "UUU" not in found["auroc"]
    assert found["false_alarm_rate"]["SSS"]["rate"] == pytest.approx(np.mean([r.score > 0.9 for r in safe]))
    tables = found["false_alarm_rate"]["SSS of SSU's tables"]
    assert (tables["rate"], tables["n"]) == (pytest.approx(np.mean([r.score > 0.9 for r in table_safe])), 80)
    assert found["recall"]["SSU"]["rate"] == pytest.approx(np.mean([r.score > 0.9 for r in ssu]))
    assert (found["n"], found["n_invalid"]) == (280, 1)
    json.dumps(found, allow_nan=False)
