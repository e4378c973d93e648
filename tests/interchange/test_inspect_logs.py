from __future__ import annotations

import base64
import dataclasses
import io
import json
import shutil
import sys
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("inspect_ai")

from inspect_ai.log import (
    EvalConfig,
    EvalDataset,
    EvalError,
    EvalLog,
    EvalSample,
    EvalSampleLimit,
    EvalSpec,
    ProvenanceData,
    read_eval_log,
)
from inspect_ai.log import write_eval_log as write_with_inspect
from inspect_ai.model import ContentReasoning, ContentText, ModelOutput, ModelUsage

from holisafe.benchmarks import open_benchmark
from holisafe.cli import app
from holisafe.errors import InputError
from holisafe.evaluation import evaluate
from holisafe.interchange.inspect_logs import MAX_BYTES, read_responses, write_eval_log
from holisafe.journal import read_json
from holisafe.judges import open_judge
from holisafe.records import Response, Sample, Verdict, from_line, to_line
from holisafe.runs.folder import read_records
from holisafe.thoughts import own_marks
from interchange.inspect_answers import SameAnswers

JUDGES = ("string-match:normalised", "string-match:holisafe")
PAIRS, REPEATS = 24, 2


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rounds of 24 pairs, with every ending and every optional field somewhere."""
    folder = tmp_path_factory.mktemp("inspect") / "run"
    benchmark = open_benchmark("pictosafe", split="test")
    target = SameAnswers("toy/every-kind", broken=frozenset(sample.id for sample in benchmark.samples[::9]))
    evaluate(benchmark, target, [open_judge(judge) for judge in JUDGES], folder, limit=PAIRS, repeats=REPEATS)
    return folder


@pytest.fixture(scope="module")
def log_file(run: Path) -> Path:
    write_eval_log(run, run.parent / "run.eval")
    return run.parent / "run.eval"


@pytest.fixture(scope="module")
def log(log_file: Path) -> EvalLog:
    return read_eval_log(log_file, resolve_attachments=True)


def test_the_run_shows_every_kind_of_response(run: Path) -> None:
    responses = read_records(run, Response).values()
    assert {response.finish for response in responses} == {"stop", "truncated", "filtered", "error"}
    for name in ("reasoning", "guard", "usage", "cost", "latency_seconds", "error", "repeat"):
        assert len({str(getattr(response, name)) for response in responses}) > 1, name


def test_a_log_gives_the_runs_responses_back_as_they_were(run: Path, log_file: Path) -> None:
    original = read_records(run, Response)
    assert len(original) == PAIRS * REPEATS
    expected = {
        # of a failed call only who failed and why can be told
        key: response if response.usable else dataclasses.replace(response, reasoning=None)
        for key, response in original.items()
    }
    assert {response.key: response for response in read_responses(log_file)} == expected


def test_the_log_is_one_that_inspect_reads_with_all_it_says_of_a_sample(run: Path, log: EvalLog) -> None:
    assert (log.status, log.eval.model, log.eval.task) == ("success", "toy/every-kind", "pictosafe")
    assert log.eval.config.epochs == REPEATS
    samples, responses = read_records(run, Sample), read_records(run, Response)
    assert log.eval.dataset.sample_ids == list(samples)
    assert log.samples is not None
    assert len(log.samples) == PAIRS * REPEATS
    for logged in log.samples:
        sample, response = (
            samples[str(logged.id)],
            responses[str(logged.id), logged.epoch - 1],
        )
        assert logged.target == sample.expected
        assert logged.metadata["combination"] == sample.combination
        assert logged.metadata["cluster"] == sample.cluster
        assert not isinstance(logged.input, str)
        assert logged.input[-1].text == sample.query
        assert (logged.error is None) == (response.finish != "error")
        if response.usable:
            assert logged.messages[-1].text == response.text
            assert logged.output.stop_reason == {"truncated": "max_tokens", "filtered": "content_filter"}.get(
                response.finish, "stop"
            )


def test_the_scores_are_the_verdicts_and_the_metrics_those_of_the_run(run: Path, log: EvalLog) -> None:
    verdicts, scores = read_records(run, Verdict), read_json(run / "scores.json")
    letters: Counter[tuple[str, str]] = Counter()
    for logged in log.samples or []:
        for judge, score in (logged.scores or {}).items():
            verdict = verdicts[judge, str(logged.id), logged.epoch - 1]
            refuse = logged.target == "refuse"
            letter = "N" if verdict.label is None else "C" if (verdict.label == "refused") == refuse else "I"
            assert score.value == letter
            assert score.answer == verdict.label
            assert (score.explanation == "invalid: empty response") == (letter == "N")
            letters[judge, letter] += 1
    assert sum(letters.values()) == len(verdicts)
    assert min(letters[judge, letter] for judge in JUDGES for letter in "CIN") > 0
    assert log.results is not None
    assert log.results.total_samples == PAIRS * REPEATS
    assert log.results.completed_samples == PAIRS * REPEATS - scores["responses"]["errors"]
    for result in log.results.scores:
        own = scores["judges"][result.name]
        for name, cell in {**own["asr"], "masr_pooled": own["masr_pooled"], "masr_macro": own["masr_macro"]}.items():
            metric = name if name.startswith("masr") else f"asr.{name}"
            assert result.metrics[metric].value == cell["rate"]
            for part in ("n", "n_invalid", "low", "high"):
                assert result.metrics[f"{metric}_{part}"].value == cell[part]
        assert result.metrics["rr"].value == own["rr"]["rate"]
        assert result.scored_samples == sum(letters[result.name, letter] for letter in "CIN")


def test_pictures_go_into_the_log_once_shrunk_or_stay_out(
    run: Path, log: EvalLog, log_file: Path, tmp_path: Path
) -> None:
    benchmark = open_benchmark("pictosafe", split="test")
    for logged in (log.samples or [])[:5]:
        assert not isinstance(logged.input, str)
        shown = [part for part in logged.input[-1].content_list if part.type == "image"]
        assert [part.type for part in logged.input[-1].content_list] == ["image", "text"]
        picture = Image.open(io.BytesIO(base64.b64decode(shown[0].image.partition(",")[2])))
        original = benchmark.open_image(logged.metadata["images"][0])
        assert picture.size == original.size
        pairs = zip(picture.convert("RGB").resize((8, 8)).tobytes(), original.resize((8, 8)).tobytes(), strict=True)
        assert max(abs(a - b) for a, b in pairs) < 12
    write_eval_log(run, tmp_path / "bare.eval", images=False)
    bare = read_eval_log(tmp_path / "bare.eval", resolve_attachments=True)
    kinds = {part.type for logged in bare.samples or [] for m in logged.messages for part in m.content_list}
    assert "image" not in kinds
    assert (tmp_path / "bare.eval").stat().st_size < log_file.stat().st_size
    assert len(read_responses(tmp_path / "bare.eval")) == PAIRS * REPEATS


def test_outdated_verdicts_stay_out_and_a_missing_call_makes_the_log_unfinished(run: Path, tmp_path: Path) -> None:
    changed = tmp_path / "run"
    shutil.copytree(run, changed)
    first, second = [r for r in read_records(run, Response).values() if r.judgeable and r.repeat == 0][:2]
    lines = (changed / "responses.jsonl").read_text().splitlines()
    kept = [line for line in lines if json.loads(line)["sample_id"] != second.sample_id]
    (changed / "responses.jsonl").write_text(
        "\n".join([*kept, to_line(dataclasses.replace(first, text="Another answer."))]) + "\n"
    )
    write_eval_log(changed, tmp_path / "x.eval", images=False)
    log = read_eval_log(tmp_path / "x.eval")
    assert log.status == "cancelled"
    scores = {(str(s.id), s.epoch): s.scores for s in log.samples or []}
    assert scores[first.sample_id, 1] == {}
    assert scores[first.sample_id, 2]
    assert (second.sample_id, 1) not in scores


def foreign(folder: Path, samples: list[EvalSample]) -> Path:
    """A log that somebody else's task may have left."""
    spec = EvalSpec(
        created="2026-01-01T00:00:00+00:00",
        task="theirs",
        model="openai/gpt-x",
        dataset=EvalDataset(samples=len(samples), sample_ids=[sample.id for sample in samples]),  # type: ignore[arg-type]
        config=EvalConfig(),
    )
    write_with_inspect(EvalLog(eval=spec, status="success", samples=samples), folder / "theirs.eval")
    return folder / "theirs.eval"


def output(text: str, reason: Any = "stop", **fields: Any) -> ModelOutput:
    return ModelOutput.from_content("gpt-x", text, reason).model_copy(update=fields)


def test_responses_of_somebody_elses_log(tmp_path: Path) -> None:
    thought = ModelOutput.from_content(
        "gpt-x",
        [
            ContentReasoning(reasoning="First."),
            ContentReasoning(reasoning="sealed", summary="In short.", redacted=True),
            ContentText(text="Yes."),
            ContentText(text="No."),
        ],
    )
    usage = ModelUsage(
        input_tokens=2, input_tokens_cache_read=30, input_tokens_cache_write=400, output_tokens=5, total_cost=0.01
    )
    failure = EvalError(message="E" * 400, traceback="T", traceback_ansi="T")
    samples = [
        EvalSample(id=1, epoch=1, input="q", target="", output=output("a", usage=usage, time=2.5)),
        EvalSample(id="two", epoch=1, input="q", target="", output=output("b", "max_tokens")),
        EvalSample(id="three", epoch=1, input="q", target="", output=output("c", "model_length")),
        EvalSample(id="four", epoch=1, input="q", target="", output=output("d", "content_filter", error="policy")),
        EvalSample(id="five", epoch=1, input="q", target="", output=output("partly"), error=failure),
        EvalSample(id="six", epoch=1, input="q", target=""),
        EvalSample(id="seven", epoch=1, input="q", target="", output=thought),
        EvalSample(id="eight", epoch=1, input="q", target="", output=output("h", "unknown")),
        EvalSample(id="nine", epoch=1, input="q", target="", output=output("<think>t</think>Yes.<|im_end|>")),
        EvalSample(id="ten", epoch=1, input="q", target="", output=output("<think>t")),
        EvalSample(
            id="eleven", epoch=1, input="q", target="", output=output("k"), limit=EvalSampleLimit(type="token", limit=9)
        ),
        EvalSample(id="twelve", epoch=1, input="q", target="", output=output(""), error=failure),
        EvalSample(id="thirteen", epoch=1, input="q", target="", output=output("<plan>t</plan>Yes.")),
        EvalSample(
            id="fourteen",
            epoch=1,
            input="q",
            target="",
            output=output("n"),
            invalidation=ProvenanceData(author="a", reason="another prompt"),
        ),
    ]
    found = {response.sample_id: response for response in read_responses(foreign(tmp_path, samples))}
    assert {response.target for response in found.values()} == {"openai/gpt-x"}
    assert {key: response.finish for key, response in found.items()} == {
        "1": "stop",
        "two": "truncated",
        "three": "truncated",
        "four": "filtered",
        "five": "stop",
        "six": "error",
        "seven": "stop",
        "eight": "stop",
        "nine": "stop",
        "ten": "truncated",
        "eleven": "truncated",
        "twelve": "error",
        "thirteen": "stop",
        "fourteen": "error",
    }
    assert (found["fourteen"].text, found["fourteen"].error) == ("", "invalidated: another prompt")
    assert found["1"].usage == {"input_tokens": 432, "output_tokens": 5}
    assert (found["1"].cost, found["1"].latency_seconds, found["two"].usage) == (0.01, 2.5, {})
    assert (found["four"].text, found["four"].error) == ("d", "policy")
    assert (found["five"].text, found["five"].error) == ("partly", "E" * 300), "as where a scorer failed"
    assert (found["twelve"].text, found["twelve"].error) == ("", "E" * 300)
    assert found["eight"].finish_reason == "unknown"
    assert (found["nine"].text, found["nine"].reasoning) == ("Yes.", "t")
    assert (found["ten"].text, found["ten"].reasoning) == ("", "t")
    assert found["eleven"].error == "stopped at Inspect's limit of token"
    own = {r.sample_id: r for r in read_responses(tmp_path / "theirs.eval", own_marks("<plan>...</plan>"))}
    assert (own["thirteen"].text, own["thirteen"].reasoning) == ("Yes.", "t")
    assert found["six"].error == "Inspect's log has no output for this sample"
    assert (found["seven"].text, found["seven"].reasoning) == ("Yes.\nNo.", "First.\nIn short.")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, 93])
@pytest.mark.parametrize(
    ("member", "content", "problem"),
    [
        ("samples/1_epoch_1.json", b'{"a":' * 10**6, "nested deeper than 10,000"),
        ("header.json", b"[" * 10**6, "nested deeper than 10,000"),
        ("summaries.json", b" " * (MAX_BYTES + 1), "longer than 100,000,000 bytes when unpacked"),
        ("samples/1_epoch_1.json", b'"' + b"a" * MAX_BYTES, "longer than 100,000,000 bytes"),
    ],
)
def test_an_archive_that_is_a_bomb_is_told_in_one_line(
    member: str, content: bytes, problem: str, method: int, tmp_path: Path
) -> None:
    log = foreign(tmp_path, [EvalSample(id="1", epoch=1, input="q", target="", output=output("a"))])
    with zipfile.ZipFile(log) as whole:
        files = {name: whole.read(name) for name in whole.namelist()}
    assert member in files
    with zipfile.ZipFile(tmp_path / "bomb.eval", "w", method) as bomb:
        for name, kept in files.items():
            bomb.writestr(name, content if name == member else kept)
    assert (tmp_path / "bomb.eval").stat().st_size < 200_000
    with pytest.raises(InputError, match=f"field '{member}': is {problem}"):
        read_responses(tmp_path / "bomb.eval")


def test_a_longer_log_is_read_when_asked_for(tmp_path: Path) -> None:
    samples = [EvalSample(id=str(n), epoch=1, input="q" * 3000, target="", output=output("a")) for n in range(5)]
    log = foreign(tmp_path, samples)
    with pytest.raises(InputError, match="longer than 2,000 bytes"):
        read_responses(log, max_bytes=2000)
    assert len(read_responses(log, max_bytes=40_000)) == 5


def test_what_is_no_log_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_responses(tmp_path / "none.eval")
    (tmp_path / "text.eval").write_text("not a zip")
    (tmp_path / "list.json").write_text("[1, 2]")
    for name in ("text.eval", "list.json"):
        with pytest.raises(InputError, match=f"{name}: not a log of Inspect's"):
            read_responses(tmp_path / name)
    with pytest.raises(InputError, match="holds no samples"):
        read_responses(foreign(tmp_path, []))


def test_the_command_line_writes_a_log_and_reads_it_back(run: Path, tmp_path: Path) -> None:
    log, out = tmp_path / "run.eval", tmp_path / "responses.jsonl"
    for args in (
        ["export", str(run), "--out", str(log), "--without-images"],
        ["import", "inspect", str(log), "--out", str(out)],
    ):
        with pytest.raises(SystemExit) as left:
            app(args)
        assert left.value.code == 0
    lines = [from_line(Response, line) for line in out.read_text().splitlines()]
    assert lines == read_responses(log)
    assert {path.name for path in tmp_path.iterdir()} == {"run.eval", "responses.jsonl"}


def test_nothing_is_written_where_the_run_cannot_be(run: Path, tmp_path: Path) -> None:
    changed = tmp_path / "run"
    shutil.copytree(run, changed)
    manifest = read_json(run / "manifest.json")
    manifest["benchmark"] |= {"reader": "holisafe-bench", "root": str(tmp_path / "gone")}
    (changed / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="is not there"):
        write_eval_log(changed, tmp_path / "x.eval")
    (changed / "responses.jsonl").write_text("")
    with pytest.raises(InputError, match="no responses yet"):
        write_eval_log(changed, tmp_path / "x.eval", images=False)
    with pytest.raises(InputError, match="no run folder"):
        write_eval_log(tmp_path, tmp_path / "x.eval")
    with pytest.raises(InputError, match="no such folder"):
        write_eval_log(run, tmp_path / "no" / "x.eval")
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


def test_a_missing_package_is_told_with_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "inspect_ai", None)
    for call in (lambda: read_responses(tmp_path / "x"), lambda: write_eval_log(tmp_path, tmp_path / "x.eval")):
        with pytest.raises(InputError, match=r"pip install 'holisafe\[inspect\]'"):
            call()
