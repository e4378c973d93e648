"""A run as a table: every record in its cells, and the run's own scores out of them again."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pyarrow import parquet

from holisafe.benchmarks import open_benchmark
from holisafe.cli import app
from holisafe.errors import InputError
from holisafe.evaluation import evaluate
from holisafe.interchange.run_table import as_text, run_columns, write_run_table
from holisafe.judges import open_judge
from holisafe.records import GenerationSettings, GuardReading, Response, Sample, Verdict
from holisafe.runs.folder import RunFolder, read_records
from holisafe.targets import open_target

REFUSAL, ANSWER = "I'm sorry, but I can't help with that.", '=HYPERLINK("http://evil","It is a boat")'
COMBINATIONS = ("SSS", "SSU", "SUU", "USU", "UUU", None)
N = 90


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rounds over pairs of every kind, one kind without combination, and questions with an answer key."""
    folder = tmp_path_factory.mktemp("run")
    rows, answers = [], []
    for n in range(N):
        combination = COMBINATIONS[n % 6]
        row = {
            "id": f"{'=' * (n % 5 == 0)}{n}",
            "query": f"-{n}?",
            "category": ("'hate", "+violence", "privacy")[n % 3],
            "subcategory": f"s{n % 7}",
            "cluster": f"c{n // 4}" if n % 2 else "",
            "combination": combination,
            "expected": None if combination else ("answer", "refuse")[n % 2],
            "answer": "red" if n >= 84 and not combination else None,
            "task": "colour",
        }
        rows.append(row)
        finish = {7: "error", 8: "filtered", 9: "truncated"}.get(n, "stop")
        text = " " if n % 17 == 5 else ("red", REFUSAL, ANSWER)[0 if row["answer"] else 1 + n * n % 2]
        answers.append({"id": row["id"], "response": text, "finish": finish})
    for name, lines in (("pairs", rows), ("answers", answers)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    evaluate(
        open_benchmark("table", folder / "pairs.jsonl"),
        open_target(f"replay/{folder / 'answers.jsonl'}", GenerationSettings()),
        [open_judge(spec) for spec in ("string-match:normalised", "string-match:holisafe", "exact-match")],
        folder / "run",
        repeats=2,
    )
    return folder / "run"


def holisafe(*args: str | Path) -> int:
    with pytest.raises(SystemExit) as left:
        app([str(arg) for arg in args])
    return int(left.value.code or 0)


def test_score_reads_the_same_numbers_back(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rates, n, invalid verdicts and the bootstrap's intervals, to the last digit."""
    assert holisafe("export", run, "--out", tmp_path / "run.csv") == 0
    assert f"{2 * N} responses" in capsys.readouterr().out
    assert holisafe("score", tmp_path / "run.csv", "--json") == 0
    found, scores = json.loads(capsys.readouterr().out), json.loads((run / "scores.json").read_text())["judges"]
    assert list(found) == list(scores) == ["string-match:normalised", "string-match:holisafe"]
    for judge, numbers in scores.items():
        assert found[judge] == numbers
    some = scores["string-match:normalised"]
    assert some["n_invalid"] > 0
    assert 0 < some["masr_pooled"]["rate"] < 1
    assert 0 < some["under_safety"]["rate"] < 1


def test_a_single_round_is_read_back_too(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run.parent
    scores = evaluate(
        open_benchmark("table", folder / "pairs.jsonl"),
        open_target(f"replay/{folder / 'answers.jsonl'}", GenerationSettings()),
        [open_judge("string-match")],
        tmp_path / "once",
    ).judges["string-match:normalised"]
    assert holisafe("export", tmp_path / "once", "--out", tmp_path / "once.csv") == 0
    capsys.readouterr()
    assert holisafe("score", tmp_path / "once.csv", "--json") == 0
    found = json.loads(capsys.readouterr().out)["string-match:normalised"]
    assert found == json.loads(json.dumps(scores.to_json()))


def test_no_cell_is_a_formula(run: Path, tmp_path: Path) -> None:
    write_run_table(run, tmp_path / "run.csv")
    text = (tmp_path / "run.csv").read_bytes()
    assert text.startswith(b"\xef\xbb\xbf")  # by which spreadsheets know that it is UTF-8
    with (tmp_path / "run.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert not [
        cell for row in rows for cell in row.values() if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    ]
    responses = {response.key: response for response in read_records(run, Response).values()}
    samples = read_records(run, Sample)
    for row in rows:
        sample = samples[as_text(row["sample_id"])]
        key = sample.id, int(row["repeat"])
        assert as_text(row["response"]) == responses[key].text
        assert (as_text(row["query"]), as_text(row["category"])) == (sample.query, sample.category)
    assert {row["category"] for row in rows} == {"''hate", "'+violence", "privacy"}


def test_parquet_and_csv_hold_the_same(run: Path, tmp_path: Path) -> None:
    write_run_table(run, tmp_path / "run.csv")
    assert write_run_table(run, tmp_path / "run.parquet") == 2 * N
    csv_frame = pd.read_csv(tmp_path / "run.csv", dtype=str, keep_default_na=False)
    frame = pd.read_parquet(tmp_path / "run.parquet")
    assert list(frame) == list(csv_frame)
    for name in frame:
        cells = ["" if pd.isna(v) else str(v).lower() if isinstance(v, bool) else str(v) for v in frame[name]]
        assert [as_text(cell) for cell in csv_frame[name]] == cells, name
    types = {field.name: str(field.type) for field in parquet.read_schema(tmp_path / "run.parquet")}
    assert (types["response"], types["cost"], types["input_tokens"]) == ("string", "double", "int64")
    assert types["string-match:holisafe.adheres"] == "bool"


def test_verdicts_stand_where_there_are_any(run: Path) -> None:
    frame = pd.DataFrame(run_columns(run))
    judged = frame["string-match:normalised.label"].notna() | frame["string-match:normalised.invalid"].notna()
    keyed = frame["combination"].isna() & frame["reference"].notna()
    assert (judged == (~frame["finish"].isin(["error", "filtered"]) & ~keyed)).all()
    assert (frame["exact-match.label"].notna() == (keyed & (frame["response"] == "red"))).all()
    blank = judged & (frame["response"].str.strip() == "")
    assert frame.loc[blank, "string-match:normalised.invalid"].eq("empty response").all()
    assert frame.loc[blank, "string-match:normalised.adheres"].isna().all()
    assert blank.sum() > 0
    refused = frame[frame["string-match:normalised.label"] == "refused"]
    assert (refused["string-match:normalised.adheres"].astype(bool) == (refused["expected"] == "refuse")).all()


def test_everything_a_model_tells_has_a_column(tmp_path: Path) -> None:
    """What replayed answers lack: a guard, tokens, cost, reasoning; and a verdict on an answer since replaced."""
    sample = Sample(benchmark="b", id="a", query="?", expected="refuse", images=("x.png", "y.png"), meta={"slot": 1})
    first = Response(sample_id="a", target="t", text="old")
    response = Response(
        sample_id="a",
        target="t",
        text="No.",
        reasoning="Hm.",
        guard=GuardReading(probabilities={"safe": 0.25, "suicide": 0.75}),
        usage={"input_tokens": 7, "output_tokens": 3},
        cost=0.002,
        latency_seconds=1.5,
    )
    lost = GuardReading(probabilities={"safe": float("nan")})
    broken = Response(sample_id="a", repeat=1, target="t", text="", finish="error", error="503", guard=lost)
    verdict = {"sample_id": "a", "judge_version": "2", "choice": "1"}
    manifest = {
        "benchmark": {"name": "b"},
        "target": {"name": "t"},
        "judges": {"now": "2", "before": "3", "stale": "2"},
    }
    with RunFolder(tmp_path / "run", manifest) as run:
        run.append(sample, first, response, broken)
        run.append(Verdict(judge="now", response_hash=response.hash, label="refused", **verdict))  # type: ignore[arg-type]
        run.append(Verdict(judge="before", response_hash=response.hash, label="refused", **verdict))  # type: ignore[arg-type]
        run.append(Verdict(judge="stale", response_hash=first.hash, label="refused", **verdict))  # type: ignore[arg-type]
    columns = run_columns(tmp_path / "run")
    assert len(columns["sample_id"]) == 2
    found: dict[str, Any] = {name: values[0] for name, values in columns.items() if values[0] is not None}
    assert found == {
        "sample_id": "a",
        "repeat": 0,
        "benchmark": "b",
        "split": "test",
        "expected": "refuse",
        "images": '["x.png", "y.png"]',
        "query": "?",
        "meta": '{"slot": 1}',
        "target": "t",
        "response": "No.",
        "reasoning": "Hm.",
        "finish": "stop",
        "guard_label": "suicide",
        "guard_unsafe": 0.75,
        "input_tokens": 7,
        "output_tokens": 3,
        "cost": 0.002,
        "latency_seconds": 1.5,
        "now.label": "refused",
        "now.choice": "1",
        "now.adheres": True,
    }
    assert (columns["finish"][1], columns["error"][1], columns["guard_label"][1]) == ("error", "503", None)


def test_a_table_of_others_is_scored_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.csv").write_text("sample_id,combination,adheres,x.adheres,category\n'1,SSU,false,maybe,'hate\n")
    assert holisafe("score", tmp_path / "t.csv", "--json") == 0
    assert list(json.loads(capsys.readouterr().out)["default"]["categories"]) == ["'hate"]


def test_bad_input_writes_nothing(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, problem in (
        ((run, "--out", tmp_path / "run.txt"), "ends in none of .csv, .parquet"),
        ((tmp_path, "--out", tmp_path / "run.csv"), "no run folder"),
        ((run, "--out", tmp_path / "none/run.csv"), "no such folder"),
    ):
        assert holisafe("export", *arguments) == 2
        assert problem in capsys.readouterr().err
    with RunFolder(tmp_path / "empty", {"benchmark": {"name": "b"}, "target": {"name": "t"}, "judges": {}}):
        pass
    with pytest.raises(InputError, match="holds no responses"):
        write_run_table(tmp_path / "empty", tmp_path / "run.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]
