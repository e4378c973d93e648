"""Thoughts beside answers, counted by hand, as published, and sample by sample between two runs."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from scipy.stats import binomtest

import holisafe
from holisafe.cli import app
from holisafe.metrics.measured import thoughts
from holisafe.metrics.run_scores import run_scores
from holisafe.metrics.thought_and_answer import beside, thought_and_answer
from holisafe.records import Finish, Response, Sample, Verdict
from holisafe.runs.frame import of_records
from holisafe.runs.scores import ThoughtAndAnswer

ANSWERS = "string-match:normalised"
THOUGHTS = f"{ANSWERS},of=reasoning"
BOTH = f"{ANSWERS} on thought and answer"
SAFE, UNSAFE = "I can't help with that.", "Sure, here is how it is done."

Said = tuple[str | None, str, Finish]


def verdicts_of(said: list[Said], expected: str = "refuse", cluster_of: int = 1) -> tuple[ThoughtAndAnswer, list[str]]:
    """The joint table of made-up answers, through the judges themselves."""
    from holisafe.judges import open_judge
    from holisafe.judges.base import Judged

    items = []
    for number, (reasoning, text, finish) in enumerate(said):
        sample = Sample(
            benchmark="b", id=f"{number}", query="q", expected=expected, cluster=f"{number // cluster_of}"  # type: ignore[arg-type]
        )  # fmt: skip
        response = Response(sample_id=sample.id, target="t", text=text, reasoning=reasoning, finish=finish)
        items.append(Judged(sample, response))
    found: list[Verdict] = [one for name in (ANSWERS, THOUGHTS) for one in open_judge(name).judge(items)]
    scores = run_scores(*of_records([one.sample for one in items], [one.response for one in items], found))
    return (scores.thoughts or {}).get(BOTH, ThoughtAndAnswer()), [m.label for m in thoughts(scores)]


def test_every_pair_is_in_one_cell_or_left_out_for_one_reason() -> None:
    said: list[Said] = [
        *[(SAFE, SAFE, "stop")] * 5, *[(SAFE, UNSAFE, "stop")] * 2, *[(UNSAFE, SAFE, "stop")] * 3,
        *[(UNSAFE, UNSAFE, "stop")] * 9, (None, SAFE, "stop"), (None, "", "stop"), *[(UNSAFE, "", "truncated")] * 2,
        (UNSAFE, "", "stop"), (SAFE, UNSAFE, "truncated"),
    ]  # fmt: skip
    found, labels = verdicts_of(said)
    assert found.counts == {"safe_safe": 5, "safe_unsafe": 3, "unsafe_safe": 3, "unsafe_unsafe": 9}
    assert found.left_out == {"no_thought": 2, "cut_off": 2, "thought_invalid": 0, "answer_invalid": 1}
    assert found.n + sum(found.left_out.values()) == len(said)
    rates = {name: (cell.rate, cell.n, cell.n_invalid) for name, cell in found.rates.items()}
    assert rates["unsafe_safe"] == (3 / 20, 20, 5)
    assert rates["self_correction"] == (3 / 12, 12, 1)  # an unsafe thought whose answer is empty
    assert rates["broken"] == (3 / 8, 8, 0)
    exact = binomtest(3, 12).proportion_ci(method="exact")
    cell = found.rates["self_correction"]
    assert (cell.low, cell.high) == pytest.approx((exact.low, exact.high))
    assert labels[2] == "Unsafe thought, safe answer"


def test_pairs_of_one_picture_tell_less() -> None:
    said: list[Said] = [(UNSAFE, SAFE if number % 20 < 10 else UNSAFE, "stop") for number in range(100)]
    alone, together = (verdicts_of(said, cluster_of=size)[0].rates["self_correction"] for size in (1, 10))
    assert alone.rate == together.rate == 0.5
    assert alone.low
    assert alone.high
    assert together.low
    assert together.high
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_the_published_self_correction_rate() -> None:
    """SafeMLRM (arXiv 2504.08813): 16.9 % of unsafe thoughts are followed by a safe answer."""
    said: list[Said] = [(UNSAFE, SAFE if number < 169 else UNSAFE, "stop") for number in range(1000)]
    found, _ = verdicts_of([*said, *[(SAFE, UNSAFE, "stop")] * 500, *[(SAFE, SAFE, "stop")] * 700])  # type: ignore[list-item]
    assert round(100 * (found.rates["self_correction"].rate or 0), 1) == 16.9
    assert found.rates["unsafe_safe"].rate == pytest.approx(169 / 2200)


def test_pairs_that_should_be_answered_are_in_no_joint_table() -> None:
    assert verdicts_of([(SAFE, SAFE, "stop")] * 3, expected="answer")[0] == ThoughtAndAnswer()


def test_which_judges_stand_side_by_side() -> None:
    assert list(beside([ANSWERS, "llm/x/m", THOUGHTS])) == [(THOUGHTS, ANSWERS)]
    own = "llm/safekey/m,of=reasoning"
    assert list(beside([own, ANSWERS, "human:f.csv"])) == [(own, ANSWERS), (own, "human:f.csv")]
    assert list(beside([ANSWERS])) == []


def test_without_thoughts_there_is_nothing() -> None:
    sample = Sample(benchmark="b", id="a", query="q", expected="refuse")
    response = Response(sample_id="a", target="t", text=SAFE)
    verdict = Verdict(sample_id="a", response_hash=response.hash, judge=ANSWERS, judge_version="1", label="refused")
    assert thought_and_answer(of_records([sample], [response], [verdict])[1]) == {}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One model without and with thoughts, on the same pairs of PictoSafe."""
    root, rng = tmp_path_factory.mktemp("runs"), random.Random(3)
    samples = holisafe.open_benchmark("pictosafe", split="validation").samples[:200]
    for name, unsafe in (("base", 0.2), ("thinks", 0.5)):
        lines = [
            {"id": one.id, "text": UNSAFE if rng.random() < unsafe else SAFE}
            | ({"reasoning": UNSAFE if rng.random() < 0.6 else SAFE} if name == "thinks" else {})
            for one in samples
        ]
        (root / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
        judges = ["string-match", "string-match,of=reasoning"][: 1 + (name == "thinks")]
        holisafe.evaluate("pictosafe", f"replay/{root}/{name}.jsonl", judges, root / name, split="validation")
    return [root / "base", root / "thinks"]


@pytest.mark.parametrize("turned", [False, True])
def test_the_reasoning_tax_is_the_safety_that_thoughts_cost(
    folders: list[Path], turned: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    given = folders[::-1] if turned else folders
    (tax,) = holisafe.compare(*given).reasoning_taxes
    assert (tax.without, tax.thinking) == ("base.jsonl", "thinks.jsonl")
    base, thinks = (
        {row.sample_id: row.adheres for row in holisafe.read_run(folder).verdicts.itertuples()
         if row.judge == ANSWERS and row.expected == "refuse"}
        for folder in folders
    )  # fmt: skip
    shared = [name for name in base if name in thinks]
    safe = [sum(bool(found[name]) for name in shared) / len(shared) for found in (base, thinks)]
    assert (tax.n, tax.safe_without, tax.safe_thinking) == pytest.approx((len(shared), *safe))
    assert tax.tax == pytest.approx(safe[0] - safe[1])
    assert 0 < tax.low < tax.tax < tax.high
    with pytest.raises(SystemExit):
        app(["compare", *map(str, given)])
    assert "Reasoning tax, base.jsonl to thinks.jsonl" in " ".join(capsys.readouterr().out.split())


def test_thoughts_are_compared_sample_by_sample_and_shown(folders: list[Path], tmp_path: Path) -> None:
    from holisafe.report.page import write_page

    again = tmp_path / "again"
    lines = [json.loads(line) for line in (folders[1].parent / "thinks.jsonl").read_text().splitlines()]
    kept = [line | {"reasoning": SAFE if at % 2 else line["reasoning"]} for at, line in enumerate(lines)]
    (tmp_path / "again.jsonl").write_text("\n".join(map(json.dumps, kept)))
    holisafe.evaluate(
        "pictosafe",
        f"replay/{tmp_path}/again.jsonl",
        ["string-match", "string-match,of=reasoning"],
        again,
        split="validation",
    )
    first, second = (holisafe.read_run(folder) for folder in (folders[1], again))
    assert first.scores.thoughts
    assert second.scores.thoughts
    rows = {(row["judge"], row["measure"]): row for row in holisafe.compare(folders[1], again).rows}
    for kind in ("unsafe_safe", "safe_unsafe"):
        row = rows[BOTH, f"thoughts.{kind}"]
        one, other = (run.scores.thoughts[BOTH].counts[kind] for run in (first, second))  # type: ignore[index]
        assert row["difference"] == pytest.approx((other - one) / row["n"])
        assert row["p"] is not None
    assert holisafe.compare(folders[1], again).reasoning_taxes == []
    page = tmp_path / "page.html"
    write_page(folders, page)
    assert "Reasoning tax" in page.read_text()
    write_page([folders[1], again], page)
    text = page.read_text()
    assert f"Thoughts and answers, {BOTH}" in text
    assert "Self-correction" in text
