from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from holisafe.benchmarks import open_benchmark
from holisafe.benchmarks.pictosafe import in_style
from holisafe.benchmarks.pictosafe.pairs import QUADRUPLES
from holisafe.benchmarks.quadruples import quadruples
from holisafe.cli import app
from holisafe.errors import InputError
from holisafe.records import GenerationSettings
from holisafe.targets import open_target
from holisafe.targets.huggingface import HuggingFaceTarget

COMMAND = ("safeground", "pictosafe", "--target", "hf/pictovlm,batch_size=16", "--split", "validation")


def holisafe(*words: object) -> int:
    with pytest.raises(SystemExit) as left:
        app([str(word) for word in words])
    return int(left.value.code or 0)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One quadruple a label, so that few images are drawn."""
    in_style.cache_clear()
    for split in QUADRUPLES:
        monkeypatch.setitem(QUADRUPLES, split, (1, 1))
    yield
    in_style.cache_clear()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of every request whose likelihood is computed."""
    ids: list[str] = []
    stock = HuggingFaceTarget.log_likelihoods

    def count(self: Any, requests: Sequence[Any], texts: Sequence[str]) -> Any:
        ids.extend(request.sample_id for request in requests)
        return stock(self, requests, texts)

    monkeypatch.setattr(HuggingFaceTarget, "log_likelihoods", count)
    return ids


def test_scores_metrics_and_table(tmp_path: Path, capsys: pytest.CaptureFixture[str], counted: list[str]) -> None:
    out = tmp_path / "sg.json"
    assert holisafe(*COMMAND, "--limit", 5, "--out", out) == 0
    shown, found = capsys.readouterr().out, json.loads(out.read_text())
    assert (found["benchmark"], found["split"], found["quadruples"], found["errors"]) == (
        "pictosafe",
        "validation",
        5,
        {},
    )
    assert len(counted) == len(set(counted)) == 20

    benchmark = open_benchmark("pictosafe", split="validation")
    target: Any = open_target("hf/pictovlm,batch_size=1", GenerationSettings())
    ahead = 0
    for members in quadruples(benchmark):
        if members[0].id in counted:
            requests = [benchmark.request(sample, GenerationSettings()) for sample in members]
            ss, us, su, uu = target.log_likelihoods(requests, [sample.query for sample in members])
            ahead += ss > us and su > uu
    cell = found["metrics"]["text"]
    assert (cell["rate"], cell["n"], cell["n_invalid"]) == (ahead / 5, 5, 0)
    assert f"{100 * ahead / 5:.1f}" in shown
    assert "preference of unsafe images" in shown
    assert not any(sample.query in shown for sample in benchmark.samples), "no text of the benchmark is printed"


def test_killed_torn_grown_and_the_same_again(tmp_path: Path, counted: list[str]) -> None:
    out, scores = tmp_path / "sg.json", tmp_path / "sg.json.scores.jsonl"
    assert holisafe(*COMMAND, "--limit", 3, "--out", out) == 0
    whole, first = out.read_text(), list(counted)
    assert holisafe(*COMMAND, "--limit", 3, "--out", out) == 0
    assert counted == first, "nothing is computed twice"
    assert out.read_text() == whole
    lines = scores.read_bytes().splitlines(keepends=True)
    scores.write_bytes(b"".join(lines[:7]) + lines[7][:20])  # killed while it wrote the eighth
    assert holisafe(*COMMAND, "--limit", 3, "--out", out) == 0
    assert len(counted) == 12 + 5
    assert json.loads(out.read_text())["metrics"] == json.loads(whole)["metrics"]
    assert holisafe(*COMMAND, "--limit", 4, "--out", out) == 0
    assert len(counted) == 12 + 5 + 4, "a larger limit only adds"


def test_an_error_is_no_score_and_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "sg.json"
    with monkeypatch.context() as broken:
        stock = HuggingFaceTarget.log_likelihoods

        def fail(self: Any, requests: Sequence[Any], texts: Sequence[str]) -> Any:
            return [InputError("broken image"), *stock(self, requests, texts)[1:]]

        broken.setattr(HuggingFaceTarget, "log_likelihoods", fail)
        assert holisafe(*COMMAND, "--limit", 3, "--out", out) == 3
    found = json.loads(out.read_text())
    assert list(found["errors"].values()) == ["broken image"]
    assert {(cell["n"], cell["n_invalid"]) for cell in found["metrics"].values()} == {(2, 1)}
    assert holisafe(*COMMAND, "--limit", 3, "--out", out) == 0
    assert {cell["n"] for cell in json.loads(out.read_text())["metrics"].values()} == {3}


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    return said


def test_what_cannot_be_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sg.json"
    assert holisafe(*COMMAND, "--limit", 1, "--out", out) == 0
    capsys.readouterr()
    again = [*COMMAND, "--limit", 1, "--out", out]
    assert holisafe(*again, "--calibrate", "reminder") == 2
    assert "scores of another benchmark, model or calibration" in complaint(capsys)
    assert holisafe("safeground", "pictosafe-utility", "--target", "hf/pictovlm", "--out", out) == 2
    assert "no quadruples" in complaint(capsys)
    assert holisafe(*COMMAND, "--out", tmp_path / "sg.csv") == 2
    assert "ends in .json" in complaint(capsys)
    (tmp_path / "r.csv").write_text("id,response\n1,no\n")
    assert holisafe("safeground", "pictosafe", "--target", f"replay/{tmp_path / 'r.csv'}", "--out", out) == 2
    assert "tells no likelihoods" in complaint(capsys)
    scores = tmp_path / "sg.json.scores.jsonl"
    scores.write_text("{}\n")
    assert holisafe(*again) == 2
    assert "row 1: no line of holisafe safeground" in complaint(capsys)


def test_one_process_at_a_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import fcntl

    out = tmp_path / "sg.json"
    with (tmp_path / "sg.json.scores.jsonl").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert holisafe(*COMMAND, "--limit", 1, "--out", out) == 2
    assert "another process is writing it" in complaint(capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["sg.json.scores.jsonl"]


def test_a_calibration_is_in_force(tmp_path: Path) -> None:
    plain, reminded = tmp_path / "plain.json", tmp_path / "reminded.json"
    assert holisafe(*COMMAND, "--limit", 2, "--out", plain) == 0
    assert holisafe(*COMMAND, "--limit", 2, "--out", reminded, "--calibrate", "reminder,placement=before") == 0
    first, second = json.loads(plain.read_text()), json.loads(reminded.read_text())
    assert second["name"] == "hf/pictovlm+reminder,placement=before"
    assert first["mean_log_likelihood"] != second["mean_log_likelihood"]
