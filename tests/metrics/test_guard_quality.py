from __future__ import annotations

import json
import random
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearns

from holisafe.metrics import guard as guards
from holisafe.metrics.guard import BINS, auprc, auroc, binary_f1, guard_quality, macro_f1
from holisafe.metrics.intervals import clopper_pearson
from holisafe.metrics.slopes import auprc_slopes, auroc_slopes, binary_f1_slopes, macro_f1_slopes
from holisafe.taxonomy import IMAGE_LABELS

FIGURES = ("accuracy", "binary_accuracy", "macro_f1", "binary_f1", "auroc", "auprc", "calibration_error")


def readings(n: int, seed: int, labels: int = 20) -> tuple[list[str], np.ndarray]:
    """A guard that is right three times in four, on labels of which half are safe; many scores tie."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(1, labels, n) * (rng.random(n) < 0.5)
    probabilities = rng.dirichlet(np.full(labels, 0.3), n).round(2)
    for row, label in zip(probabilities, truth, strict=True):
        if rng.random() < 0.7:
            at = row.argmax()
            row[label], row[at] = row[at], row[label]
    return [IMAGE_LABELS[label] for label in truth], probabilities / probabilities.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("n", "seed"), [(1000, 0), (300, 1), (40, 2), (7, 3)])
def test_figures_are_sklearns(n: int, seed: int) -> None:
    truth, probabilities = readings(n, seed)
    true, named = np.array([IMAGE_LABELS.index(label) for label in truth]), probabilities.argmax(axis=1)
    found = guard_quality(truth, probabilities, draws=50)
    unsafe, score = true > 0, 1 - probabilities[:, 0]
    expected = {
        "accuracy": sklearns.accuracy_score(true, named),
        "binary_accuracy": sklearns.accuracy_score(unsafe, named > 0),
        "macro_f1": sklearns.f1_score(true, named, average="macro"),
        "binary_f1": sklearns.f1_score(unsafe, named > 0),
        "auroc": sklearns.roc_auc_score(unsafe, score),
        "auprc": sklearns.average_precision_score(unsafe, score),
    }
    assert {name: found[name]["rate"] for name in expected} == pytest.approx(expected)
    assert found["confusion"] == sklearns.confusion_matrix(true, named, labels=range(20)).tolist()
    assert (found["n"], found["undefined"], found["labels"]) == (n, {}, list(IMAGE_LABELS))
    accuracy = found["accuracy"]
    assert (accuracy["low"], accuracy["high"]) == pytest.approx(clopper_pearson((true == named).sum(), n))
    json.dumps(found, allow_nan=False)


TIED = st.lists(
    st.tuples(st.booleans(), st.sampled_from([0.0, 0.2, 0.2 + 1e-9, 0.5, 1.0]), st.integers(0, 3)), min_size=2
)


@settings(max_examples=80, deadline=None)
@given(TIED)
def test_weights_count_as_repetitions(rows: list[tuple[bool, float, int]]) -> None:
    """Ties and weights, against sklearn on the repeated rows."""
    unsafe, score, times = (np.array(column) for column in zip(*rows, strict=True))
    again = np.repeat(np.arange(len(rows)), times)
    weights = times[None, :].astype(float)
    both = len(set(unsafe[again])) == 2
    found = [float(figure(weights, unsafe, score)[0]) for figure in (auroc, auprc)]
    if not both:
        assert np.isnan(found).all()
        return
    sklearn_found = [f(unsafe[again], score[again]) for f in (sklearns.roc_auc_score, sklearns.average_precision_score)]
    assert found == pytest.approx(sklearn_found)
    called = score > 0.3
    assert binary_f1(weights, unsafe, called)[0] == pytest.approx(sklearns.f1_score(unsafe[again], called[again]))
    true, named = unsafe.astype(int), (score * 2).astype(int)
    expected = sklearns.f1_score(true[again], named[again], average="macro")
    assert macro_f1(weights, true, named, 3)[0] == pytest.approx(expected)


def test_calibration_error_and_bins_are_those_of_a_loop() -> None:
    truth, probabilities = readings(500, 4)
    probabilities[0] = np.eye(20)[3]  # certainty falls into the last bin
    found = guard_quality(truth, probabilities, draws=20)
    bins: dict[int, list[tuple[float, bool]]] = {}
    for label, row in zip(truth, probabilities, strict=True):
        confidence = max(row)
        right = IMAGE_LABELS[list(row).index(confidence)] == label
        bins.setdefault(min(int(confidence * BINS), BINS - 1), []).append((confidence, right))
    error = 0.0
    for number, part in enumerate(found["reliability"]):
        members = bins.get(number, [])
        assert (part["n"], part["start"], part["stop"]) == (len(members), number / BINS, (number + 1) / BINS)
        if not members:
            assert (part["confidence"], part["accuracy"]) == (None, None)
            continue
        confidence, right = (sum(column) / len(members) for column in zip(*members, strict=True))
        assert (part["confidence"], part["accuracy"]) == pytest.approx((confidence, right))
        error += len(members) / len(truth) * abs(confidence - right)
    assert found["calibration_error"]["rate"] == pytest.approx(error)
    assert found["calibration_error"]["low"] is None


def test_intervals_are_those_of_a_loop() -> None:
    truth, probabilities = readings(150, 5)
    images = [f"image {index // 3}" for index in range(150)]
    found = guard_quality(truth, probabilities, clusters=images, draws=1000)
    true, named = np.array([IMAGE_LABELS.index(label) for label in truth]), probabilities.argmax(axis=1)
    rng = random.Random(0)
    looped: dict[str, list[float]] = {"accuracy": [], "auroc": [], "binary_f1": []}
    for _ in range(200):
        rows = [3 * image + part for image in rng.choices(range(50), k=50) for part in range(3)]
        looped["accuracy"].append(float((true == named)[rows].mean()))
        looped["auroc"].append(sklearns.roc_auc_score(true[rows] > 0, 1 - probabilities[rows, 0]))
        looped["binary_f1"].append(sklearns.f1_score(true[rows] > 0, named[rows] > 0))
    for name, values in looped.items():
        expected = np.quantile(values, [0.025, 0.975])
        assert (found[name]["low"], found[name]["high"]) == pytest.approx(tuple(expected), abs=0.04), name


def test_readings_of_one_image_are_one_piece_of_evidence() -> None:
    truth, probabilities = readings(80, 8)
    once = guard_quality(truth, probabilities, draws=1000)
    again = np.repeat(np.arange(80), 9)
    copies = [truth[index] for index in again], probabilities[again]
    images = [str(index) for index in again]
    often, naive = guard_quality(*copies, clusters=images, draws=1000), guard_quality(*copies, draws=1000)
    for name in ("accuracy", "binary_accuracy", "macro_f1", "binary_f1", "auroc", "auprc"):
        width = {
            key: found[name]["high"] - found[name]["low"] for key, found in (("1", once), ("9", often), ("n", naive))
        }
        assert width["9"] == pytest.approx(width["1"], rel=0.2), name
        assert width["n"] < 0.6 * width["9"], name


@pytest.mark.parametrize(
    ("truth", "undefined"),
    [
        ([], set(FIGURES)),
        (["safe"] * 5, {"binary_f1", "auroc", "auprc"}),
        (["race", "race", "suicide", "race", "race"], {"auroc", "auprc"}),
    ],
)
def test_what_has_no_value_says_why_and_warns_of_nothing(truth: list[str], undefined: set[str]) -> None:
    probabilities = readings(5, 6)[1][: len(truth)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = guard_quality(truth, probabilities, draws=20)
    assert {name for name in FIGURES if found[name]["rate"] is None} == undefined == set(found["undefined"])
    assert all(
        reason in {"no readings", "no image is unsafe", "every image is unsafe"}
        for reason in found["undefined"].values()
    )


def test_a_perfect_guard_is_not_certain_to_be_one() -> None:
    truth = ["safe", "race", "suicide", "safe"] * 5
    found = guard_quality(truth, np.eye(20)[[IMAGE_LABELS.index(label) for label in truth]], draws=50)
    assert {found[name]["rate"] for name in FIGURES} == {0.0, 1.0}
    assert found["accuracy"]["low"] == pytest.approx(clopper_pearson(20, 20)[0])
    assert (found["auroc"]["low"], found["auroc"]["high"]) == (None, None)


def test_image_safety_may_be_told_apart_from_the_label() -> None:
    truth, probabilities = readings(200, 7)
    told = [index % 2 == 0 for index in range(200)]
    found = guard_quality(truth, probabilities, image_safe=told, draws=20)
    unsafe = ~np.array(told)
    assert found["auroc"]["rate"] == pytest.approx(sklearns.roc_auc_score(unsafe, 1 - probabilities[:, 0]))
    assert found["binary_f1"]["rate"] == pytest.approx(sklearns.f1_score(unsafe, probabilities.argmax(axis=1) > 0))
    assert found["macro_f1"] == guard_quality(truth, probabilities, draws=20)["macro_f1"]


def test_other_labels_in_another_order() -> None:
    found = guard_quality(["b", "safe"], [[0.1, 0.9], [0.8, 0.2]], labels=("safe", "b"), draws=20)
    other = guard_quality(["b", "safe"], [[0.9, 0.1], [0.2, 0.8]], labels=("b", "safe"), draws=20)
    assert found["auroc"]["rate"] == other["auroc"]["rate"] == 1
    assert found["accuracy"]["rate"] == other["accuracy"]["rate"] == 1


@pytest.mark.parametrize(
    ("truth", "probabilities"),
    [(["safe", "race"], [[0.05] * 20]), (["cat"], [[0.05] * 20]), (["safe"], [[float("nan")] + [0.05] * 19])],
)
def test_what_does_not_fit_is_an_error(truth: list[str], probabilities: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="one true label"):
        guard_quality(truth, probabilities)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.sampled_from([0.1, 0.2, 0.5, 0.7])), min_size=3))
def test_slopes_are_what_a_little_more_weight_changes(rows: list[tuple[int, int, float]]) -> None:
    true, named, score = (np.array(column) for column in zip(*rows, strict=True))
    unsafe, called = true > 1, named > 1
    figures = {
        macro_f1_slopes: ((true, named, 5), lambda weights: macro_f1(weights, true, named, 5)),
        binary_f1_slopes: ((unsafe, called), lambda weights: binary_f1(weights, unsafe, called)),
        auroc_slopes: ((unsafe, score), lambda weights: auroc(weights, unsafe, score)),
        auprc_slopes: ((unsafe, score), lambda weights: auprc(weights, unsafe, score)),
    }
    step = 1e-5 * np.eye(len(rows))
    for slopes, (given_, figure) in figures.items():
        if not np.isnan(figure(np.ones((1, len(rows))))[0]):
            expected = (figure(1 + step) - figure(1 - step)) / 2e-5
            assert slopes(*given_) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("together", [1, 2])
def test_intervals_of_many_clusters_are_those_of_draws(monkeypatch: pytest.MonkeyPatch, together: int) -> None:
    truth, probabilities = readings(2000, 8)
    truth, probabilities = truth * together, np.tile(probabilities, (together, 1))
    images = [f"image {index % 2000}" for index in range(2000 * together)]
    found = []
    for many in (100_000, 10):
        monkeypatch.setattr(guards, "MANY", many)
        found.append(guard_quality(truth, probabilities, clusters=images if together > 1 else None))
    for name in ("macro_f1", "binary_f1", "auroc", "auprc"):
        drawn, told = (cells[name] for cells in found)
        assert drawn["rate"] == told["rate"]
        wide = drawn["high"] - drawn["low"]
        assert (told["low"], told["high"]) == pytest.approx((drawn["low"], drawn["high"]), abs=0.12 * wide), name
