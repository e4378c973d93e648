"""A borderline pair is neither right nor wrong, in every place that knows only these two; and it is told by itself."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

import holisafe
from holisafe.benchmarks import open_benchmark
from holisafe.benchmarks.base import Benchmark
from holisafe.calibration.base import fit_data
from holisafe.cli import app
from holisafe.judges import open_judge
from holisafe.judges.base import applies
from holisafe.metrics.intervals import clopper_pearson
from holisafe.records import Request, Response, Sample
from holisafe.runs.run import read_run
from holisafe.taxonomy import VERDICT_MEANING, adheres
from holisafe.tuning.examples import Example
from toy_plugin import ANSWER, REFUSAL, ToyTarget

BORDER, FILTERED = 12, 2


def sample(number: int) -> Sample:
    expected = ("answer", "refuse", "borderline")[number % 3]
    return Sample(
        benchmark="three", id=f"s{number}", query=f"Query {number}?", expected=expected, images=(f"{number}",)
    )  # type: ignore[arg-type]


THREE = Benchmark("three", tuple(map(sample, range(3 * BORDER))), lambda name: Image.new("RGB", (4, 4), "red"))


class Mixed(ToyTarget):
    """Refuses a third of every kind, the first borderline ones are blocked."""

    async def call(self, request: Request) -> Response:
        number = int(request.sample_id[1:])
        told = await super().call(request)
        text = REFUSAL if number // 3 % 3 == 0 else ANSWER
        blocked = number % 3 == 2 and number < 3 * FILTERED
        return replace(told, text="" if blocked else text, finish="filtered" if blocked else "stop")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("borderline") / "run"
    holisafe.evaluate(THREE, Mixed("toy/a"), ["string-match", "string-match:holisafe"], out)
    return out


def test_no_verdict_on_it_is_right_or_wrong() -> None:
    assert {adheres(label, "borderline") for label in VERDICT_MEANING} == {None}
    assert adheres("refused", "refuse") is True
    assert adheres("refused", "answer") is False


def test_the_table_of_verdicts_keeps_it_and_no_rate_of_failures_counts_it(folder: Path) -> None:
    run = read_run(folder)
    rows = run.verdicts[run.verdicts["judge"] == "string-match:normalised"]
    border = rows[rows["expected"] == "borderline"]
    assert len(border) == BORDER - FILTERED
    assert border["adheres"].isna().all()
    assert border["invalid"].isna().all()
    assert border["label"].notna().all()
    scores = run.scores.judges["string-match:normalised"]
    assert (scores.n, scores.n_invalid) == (2 * BORDER, 0)  # not counted as invalid either
    assert scores.under_safety is not None
    assert scores.over_safety is not None
    assert (scores.under_safety.n, scores.under_safety.rate) == (BORDER, 8 / 12)
    assert (scores.over_safety.n, scores.over_safety.rate) == (BORDER, 4 / 12)
    assert run.scores.judges_with_filtered is not None
    assert run.scores.judges_with_filtered["string-match:normalised"].n == 2 * BORDER
    found = run.scores.safety_calibration["string-match:normalised"]
    assert set(found.composition) == {"answer", "refuse"}
    assert {run.samples[name].expected for name in run.failed} == {"answer", "refuse"}


def test_how_it_was_met_is_a_table_of_its_own(folder: Path, tmp_path: Path) -> None:
    cells = read_run(folder).scores.borderline["string-match:normalised"]
    refused = sum(number // 3 % 3 == 0 for number in range(3 * BORDER) if number % 3 == 2 and number >= 3 * FILTERED)
    n = BORDER - FILTERED
    assert (cells["refused"].rate, cells["refused"].n) == (refused / n, n)
    assert cells["answered"].rate == (n - refused) / n
    assert (cells["refused"].low, cells["refused"].high) == pytest.approx(clopper_pearson(refused, n), abs=1e-6)
    shown = str(holisafe.read_run(folder))
    assert "Borderline, refused" in shown
    with pytest.raises(SystemExit):
        app(["report", str(folder), "--out", str(tmp_path / "r.html")])
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "Neither a refusal nor an answer is wrong here" in page
    frame = holisafe.read_run(folder).rates()
    assert set(frame.loc[frame["measure"].str.startswith("borderline."), "better"]) == {"neither"}


def test_runs_are_compared_without_it_and_its_own_change_is_neither_better_nor_worse(
    folder: Path, tmp_path: Path
) -> None:
    class Answering(Mixed):
        async def call(self, request: Request) -> Response:
            return replace(await super().call(request), text=ANSWER, finish="stop")

    other = tmp_path / "other"
    holisafe.evaluate(THREE, Answering("toy/b"), ["string-match"], other)
    rows = holisafe.compare(folder, other).frame()
    assert set(rows["measure"]) == {"under_safety", "over_safety"}
    assert set(rows["n"]) == {BORDER}
    assert (rows["out_invalid"] == 0).all()
    with pytest.raises(SystemExit):
        app(["report", str(folder), str(other), "--out", str(tmp_path / "r.html")])
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    shown = re.findall(r'<tr><th scope="row">Borderline, .*?</tr>', page, re.DOTALL)
    assert any('<span class="verdict "></span>' in row for row in shown)
    assert not any(word in row for row in shown for word in (">better<", ">worse<"))
    with pytest.raises(SystemExit) as left:
        app(["leaderboard", str(folder), str(other), "--sort", "under_safety", "--json"])
    assert not left.value.code


def test_judges_agree_about_the_settled_pairs_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        app(["agreement", str(folder), "--json"])
    found = json.loads(capsys.readouterr().out)
    told = json.dumps(found)
    assert f'"n": {2 * BORDER}' in told
    assert not re.search(r'"n(_invalid|_left_out)?": (34|36|10)\b', told)


def test_it_goes_out_as_a_table_and_comes_back(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        app(["export", str(folder), "--out", str(tmp_path / "run.csv")])
    again = holisafe.score(tmp_path / "run.csv").judges["string-match:normalised"]
    assert (again.n, again.n_invalid) == (2 * BORDER, 0)
    table = pd.DataFrame(
        [("a", None, True, "borderline"), ("b", "SSS", True, "answer")],
        columns=["sample_id", "combination", "adheres", "expected"],
    )
    assert holisafe.score(table).judges["default"].n == 1
    lines = ["query,expected,image", "Why?,borderline,", "How?,unsafe,"]
    (tmp_path / "own.csv").write_text("\n".join(lines))
    assert [one.expected for one in open_benchmark("table", tmp_path / "own.csv").samples] == ["borderline", "refuse"]


def test_inspect_keeps_it_without_a_right_or_wrong(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("inspect_ai")
    from inspect_ai.log import read_eval_log

    from holisafe.interchange.inspect_logs import write_eval_log

    write_eval_log(folder, tmp_path / "run.eval", images=False)
    scored = [one for one in read_eval_log(tmp_path / "run.eval").samples or [] if one.scores]
    values = {
        (one.target, score.value) for one in scored for score in (one.scores or {}).values() if score.answer is not None
    }
    assert {value for target, value in values if target == "borderline"} == {"N"}
    assert {value for target, value in values if target == "refuse"} == {"C", "I"}


def test_who_is_asked_whether_it_adheres_is_not_asked_and_nothing_learns_from_it() -> None:
    border = THREE.samples[2]
    asks_for_it = open_judge("llm/holisafe/openai/m,base_url=http://127.0.0.1:9/v1")
    classes = open_judge("llm/vscbench/openai/m,base_url=http://127.0.0.1:9/v1")
    assert [applies(asks_for_it, one) for one in THREE.samples[:3]] == [True, True, False]
    assert [applies(classes, one) for one in THREE.samples[:3]] == [True, True, True]
    labels = [Example("a", (), "", expected=one.expected).pair_label for one in THREE.samples[:3]]
    assert labels == ["safe", "unsafe", None]
    data = fit_data(THREE, seed=0)
    assert border.id not in {one.id for one in (*data.train, *data.validation)}
    assert len(data.train) + len(data.validation) == 2 * BORDER
    assert applies(open_judge("string-match"), border)
