"""Results files of lmms-eval in the form that its evaluator writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from holisafe.errors import InputError
from holisafe.interchange.lmms_eval_results import read_result

BODY: dict[str, Any] = {
    "results": {
        "mmbench_en_dev": {"alias": "mmbench", "gpt_eval_score,none": 71.2, "gpt_eval_score_stderr,none": "N/A"},
        "mmmu_val": {"mmmu_acc,none": 0.25, "mmmu_acc_stderr,none": "N/A"},
        "gqa": {
            "exact_match,none": 0.6, "exact_match_stderr,none": 0.02,
            "f1,strict": 0.5, "f1_stderr,strict": 0.01, "f1,loose": 0.7, "f1_stderr,loose": 0.6,
        },
    },
    "n-samples": {"gqa": {"original": 600, "effective": 500}, "mmmu_val": {"original": 900}, "mmbench_en_dev": {}},
}  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "20261121_results.json"
    path.write_text(json.dumps(BODY))
    return path


def test_a_rate_has_its_n_and_the_interval_of_its_standard_error(path: Path) -> None:
    for metric in ("exact_match", "exact_match,none"):
        found = read_result(path, "gqa", metric)
        assert (found["rate"], found["n"], found["n_invalid"]) == (0.6, 500, 0)
        assert (found["low"], found["high"]) == pytest.approx((0.6 - 1.96 * 0.02, 0.6 + 1.96 * 0.02), abs=1e-5)
    assert read_result(path, "gqa", "f1,loose")["high"] == 1.0


def test_no_standard_error_is_no_interval(path: Path) -> None:
    found = read_result(path, "mmmu_val", "mmmu_acc")
    assert (found["rate"], found["n"], found["low"], found["high"]) == (0.25, 900, None, None)


@pytest.mark.parametrize(
    ("task", "metric", "said"),
    [
        ("gpqa", "x", "no results of task 'gpqa'; it has: mmbench_en_dev, mmmu_val, gqa"),
        ("gqa", "accuracy", "no such metric; it has: exact_match,none, f1,strict, f1,loose"),
        ("gqa", "f1", "several filters have it"),
        ("mmbench_en_dev", "gpt_eval_score", "not a share between 0 and 1"),
    ],
)
def test_what_cannot_be_used_is_named(path: Path, task: str, metric: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as raised:
        read_result(path, task, metric)
    assert raised.value.where == path
    assert raised.value.field


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"results": []}', '{"results": {"gqa": 3}}'])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(InputError):
        read_result(path, "gqa", "f1")


def test_a_result_without_its_n_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps({"results": BODY["results"]}))
    with pytest.raises(InputError, match="number of samples"):
        read_result(path, "gqa", "exact_match")
