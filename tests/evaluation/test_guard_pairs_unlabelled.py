"""A threshold for pairs like unlabelled ones: against a count by hand, labels and measured pairs unread."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from holisafe.benchmarks import open_benchmark
from holisafe.benchmarks.base import Benchmark
from holisafe.cli import app
from holisafe.errors import InputError
from holisafe.evaluation.guard_pairs import evaluate_pairs
from holisafe.guards.base import Item, Kind, Reading, reading
from holisafe.records import digest


@dataclass
class Drawn:
    """A guard of texts whose score is drawn from the question."""

    name: str = "drawn"
    version: str = "1"
    takes: frozenset[Kind] = frozenset(("text",))
    taxonomy: str | None = None
    decides: str = ""
    note: str = ""
    asked: list[str] = field(default_factory=list)

    def read(self, items: Iterable[Item]) -> Iterator[Reading]:
        for item in items:
            self.asked.append(item.id)
            yield reading(self, item, False, score=score(item.id, item.text))


def score(name: str, text: str) -> float:
    return int(digest([name, text])[:8], 16) / 16**8


@pytest.fixture(scope="module")
def whole() -> Benchmark:
    return open_benchmark("pictosafe")


def least(traffic: list[float], unsafe: list[float], share: float, rate: float) -> float:
    """By trying each score, from the highest down, as long as there are no more above it than there may be."""
    found = float("inf")
    for limit in sorted(traffic, reverse=True):
        above = sum(one > limit for one in traffic)
        recall = sum(one > limit for one in unsafe) / len(unsafe)
        if (above + 1) / (len(traffic) + 1) > share * recall + (1 - share) * rate + 1e-9:
            break
        found = limit
    return found


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_the_threshold_is_that_of_a_count_by_hand(whole: Benchmark, share: float) -> None:
    guard = Drawn()
    measured = [one for one in whole.samples if one.split == "test"]
    clusters = {one.cluster for one in measured}
    others = [one for one in whole.samples if one.split != "test" and one.cluster not in clusters and one.images]
    unsafe = [one for one in whole.samples if one.split == "validation" and one.combination not in (None, "SSS")]
    blind = replace(whole, samples=tuple(replace(one, combination=None, expected="answer") for one in whole.samples))
    found = evaluate_pairs(
        whole, guard, split="test", choose_on="validation", unlabelled=blind, unsafe_share=share, draws=100
    )
    wanted = least(
        [score(one.id, one.query) for one in others], [score(one.id, one.query) for one in unsafe], share, 0.05
    )
    assert found["threshold"] == wanted
    assert (
        f"{len(others):,} unlabelled pairs of pictosafe, {share:.1%} of them taken for unsafe" in found["threshold_is"]
    )
    assert found["chosen_on"]["n_invalid"] == 0


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"unlabelled": "pictosafe"}, "go together"),
        ({"unsafe_share": 0.1}, "go together"),
        ({"unlabelled": "pictosafe", "unsafe_share": 1.0}, "an unsafe share of 1"),
        ({"unlabelled": "pictosafe", "unsafe_share": 0.1, "threshold": 0.5}, "give none"),
        ({"unlabelled": "pictosafe", "unsafe_share": 0.1}, "labelled ones"),
        ({"unlabelled": "pictosafe", "unsafe_share": 0.0, "false_alarms": 1e-6}, "they are too few"),
    ],
)
def test_what_cannot_be_chosen_is_told(whole: Benchmark, more: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        evaluate_pairs(whole, Drawn(), split="test", **more)


def test_pairs_that_are_all_measured_leave_none(whole: Benchmark) -> None:
    pairs = replace(whole, samples=tuple(one for one in whole.samples if one.combination))
    with pytest.raises(InputError, match="no pairs but those that are measured"):
        evaluate_pairs(pairs, Drawn(), unlabelled=pairs, unsafe_share=0.0)


def test_the_command_line_takes_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = open_benchmark("pictosafe", split="validation").samples
    said = [{"id": one.id, "response": "safe"} for one in rows]
    (tmp_path / "said.jsonl").write_text("\n".join(map(json.dumps, said)))
    words = ["guard", "pairs", "--data", "pictosafe", "--split", "validation", "--unlabelled", "pictosafe"]
    for more, told in (
        (["--unsafe-share", "0"], "gives verdicts and no scores"),
        ([], "go together"),
        (["--unsafe-share", "0", "--out", str(tmp_path / "out")], "--unlabelled and --threshold are for one guard"),
    ):
        with pytest.raises(SystemExit) as left:
            app([*words, "--model", f"llama-guard/replay/{tmp_path / 'said.jsonl'}", *more])
        assert left.value.code == 2
        assert told in capsys.readouterr().err
