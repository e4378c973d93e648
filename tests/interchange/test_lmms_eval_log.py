"""A run goes out as lmms-eval's sample log and comes back as it was, under attack and with every kind of answer."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("inspect_ai")

from holisafe.benchmarks import open_benchmark
from holisafe.calibration import attacked
from holisafe.cli import app
from holisafe.errors import InputError
from holisafe.evaluation import evaluate
from holisafe.interchange.lmms_eval import read_log
from holisafe.interchange.lmms_eval_log import write_log
from holisafe.journal import read_json
from holisafe.judges import open_judge
from holisafe.records import Response, Sample
from holisafe.runs.folder import read_manifest, read_records
from interchange.inspect_answers import SameAnswers

PAIRS, REPEATS = 24, 2
ATTACKS = ["turns,wording=plain", "prefix"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lmms") / "run"
    benchmark = open_benchmark("pictosafe", split="test")
    broken = frozenset(sample.id for sample in benchmark.samples[::9])
    target: Any = attacked(SameAnswers("toy/every-kind", broken=broken), ATTACKS)
    evaluate(benchmark, target, [open_judge("string-match")], folder, limit=PAIRS, repeats=REPEATS)
    return folder


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def leave(*words: object) -> int:
    with pytest.raises(SystemExit) as left:
        app([str(word) for word in words])
    return int(left.value.code or 0)


def test_every_response_comes_back_as_it_was(run: Path, tmp_path: Path) -> None:
    stored = read_records(run, Response)
    assert {one.finish for one in stored.values()} == {"stop", "truncated", "filtered", "error"}
    assert write_log(run, tmp_path / "log.jsonl") == len(stored) == PAIRS * REPEATS
    back = read_log(tmp_path / "log.jsonl", "another-name")
    assert {one.key: one for one in back} == stored
    assert {one.target for one in back} == {"toy/every-kind!turns,wording=plain!prefix"}


def test_the_lines_are_those_of_lmms_eval(run: Path, tmp_path: Path) -> None:
    write_log(run, tmp_path / "log.jsonl")
    samples = list(read_records(run, Sample).values())
    for line in lines(tmp_path / "log.jsonl"):
        sample = samples[line["doc_id"]]
        assert line["doc"]["id"] == sample.id
        assert line["input"] == sample.query, "what the benchmark asks, not the attack"
        assert line["resps"] == [line["filtered_resps"]]
        assert line["prompt_hash"] == hashlib.sha256(sample.query.encode()).hexdigest()
    theirs = lines(tmp_path / "log.jsonl")[:PAIRS]
    for line in theirs:
        del line["holisafe"]
    (tmp_path / "theirs.jsonl").write_text("\n".join(map(json.dumps, theirs)))
    stored = read_records(run, Response)
    for one in read_log(tmp_path / "theirs.jsonl", "theirs"):  # as a reader does that knows nothing of us
        assert stored[one.sample_id, 0].text.endswith(one.text), "but for thoughts that it parts"


def test_out_and_in_again_it_is_the_same_run(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log, answers, again = tmp_path / "log.jsonl", tmp_path / "answers.jsonl", tmp_path / "again"
    assert leave("export", run, "--out", log) == 0
    assert leave("import", "lmms-eval", log, "--out", answers) == 0
    assert f"{PAIRS * REPEATS} responses, " in capsys.readouterr().out
    words = ["run", "pictosafe", "--split", "test", "--target", f"replay/{answers}", "--judge", "string-match"]
    leave(*words, "--limit", PAIRS, "--repeats", REPEATS, "--out", again)
    judged, before = (read_json(folder / "scores.json")["judges"] for folder in (again, run))
    assert judged == before
    assert [one["attack"] for one in read_manifest(run)["target"]["attacks"]] == ["turns", "prefix"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"filtered_resps": ["Sure!"]}, "row 1, field 'filtered_resps': is not the response in `holisafe`"),
        ({"holisafe": {"response": {"schema": 5, "sample_id": "a"}}}, "row 1"),
        ({"holisafe": {"response": 7}}, "row 1"),
        ({"again": True}, "row 2: duplicate id"),
    ],
)
def test_what_was_changed_is_named(run: Path, tmp_path: Path, change: dict[str, Any], told: str) -> None:
    write_log(run, tmp_path / "log.jsonl")
    first = lines(tmp_path / "log.jsonl")[0]
    rows = [first, first] if change == {"again": True} else [{**first, **change}]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(InputError, match=told):
        read_log(tmp_path / "log.jsonl", "x")


def test_nothing_is_written_where_there_is_no_run_or_no_folder(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run folder"):
        write_log(tmp_path, tmp_path / "log.jsonl")
    with pytest.raises(InputError, match="no such folder"):
        write_log(run, tmp_path / "none" / "log.jsonl")
    assert not list(tmp_path.iterdir())
