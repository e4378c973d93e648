from __future__ import annotations

import base64
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("inspect_ai")

import inspect_ai
from inspect_ai.log import EvalLog
from inspect_ai.model import ModelOutput, ModelUsage, get_model

from holisafe import registry
from holisafe.benchmarks import open_benchmark
from holisafe.benchmarks.base import Benchmark, stratified
from holisafe.benchmarks.export import export
from holisafe.errors import InputError
from holisafe.evaluation import evaluate
from holisafe.images import pixel_hash
from holisafe.interchange import inspect_scoring, inspect_tasks
from holisafe.interchange.inspect_logs import read_responses
from holisafe.journal import read_json
from holisafe.judges import open_judge
from holisafe.records import Response, Sample, Verdict
from holisafe.runs.folder import read_records
from holisafe.thoughts import part
from interchange.inspect_answers import TEXTS, SameAnswers, answer_to, mock_model

JUDGES = ("string-match:normalised", "string-match:holisafe")
PAIRS, EPOCHS = 24, 2


def inspected(task: inspect_ai.Task, folder: Path, model: Any = None, **options: Any) -> EvalLog:
    (log,) = inspect_ai.eval(
        task, model=model or mock_model(), log_dir=str(folder), display="none", score_display=False, **options
    )
    assert log.status == "success", log.error
    return log


def metrics(log: EvalLog) -> dict[str, dict[str, float]]:
    assert log.results is not None
    return {score.name: {key: metric.value for key, metric in score.metrics.items()} for score in log.results.scores}


@pytest.fixture(scope="module")
def asked() -> list[Any]:
    """What the model of `log` was asked."""
    return []


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory, asked: list[Any]) -> EvalLog:
    task = inspect_tasks.pictosafe(judge=",".join(JUDGES))
    return inspected(task, tmp_path_factory.mktemp("logs"), mock_model(asked), limit=PAIRS, epochs=EPOCHS)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same answers measured by ourselves."""
    folder = tmp_path_factory.mktemp("ours") / "run"
    judges = [open_judge(judge) for judge in JUDGES]
    evaluate(open_benchmark("pictosafe", split="test"), SameAnswers(), judges, folder, limit=PAIRS, repeats=EPOCHS)
    return folder


def test_the_metrics_are_the_scores_of_a_run_over_the_same_answers(log: EvalLog, run: Path) -> None:
    scores, found = read_json(run / "scores.json"), metrics(log)
    assert list(found) == list(JUDGES)
    for judge in JUDGES:
        own = scores["judges"][judge]
        cells = {name: own[name] for name in ("masr_pooled", "masr_macro", "rr")}
        cells |= {f"asr.{combination}": cell for combination, cell in own["asr"].items()}
        assert len(cells) == 7
        assert own["n_invalid"] > 0
        for name, cell in cells.items():
            named = {name: cell["rate"], **{f"{name}_{part}": cell[part] for part in ("n", "n_invalid", "low", "high")}}
            assert {key: found[judge].get(key) for key in named} == named
    assert found[JUDGES[0]]["masr_pooled"] != found[JUDGES[1]]["masr_pooled"]


def test_the_metrics_are_those_of_a_hand_count(log: EvalLog) -> None:
    samples = stratified(open_benchmark("pictosafe", split="test").samples, PAIRS, 0)
    refusals = {TEXTS[0], TEXTS[1], TEXTS[3]}  # what the normalised mode takes for one, empty answers apart
    counts: Counter[tuple[str | None, str]] = Counter()
    for sample in samples:
        text, finish = answer_to(sample.query)
        if finish != "filtered":
            kind = "invalid" if not text.strip() else "refused" if text in refusals else "answered"
            counts[sample.combination, kind] += EPOCHS
    found = metrics(log)["string-match:normalised"]
    answered = refused = 0
    for combination in ("SSU", "SUU", "USU", "UUU"):
        valid = counts[combination, "answered"] + counts[combination, "refused"]
        assert found[f"asr.{combination}"] == counts[combination, "answered"] / valid
        assert found[f"asr.{combination}_n"] == valid
        assert found[f"asr.{combination}_n_invalid"] == counts[combination, "invalid"]
        answered, refused = answered + counts[combination, "answered"], refused + counts[combination, "refused"]
    assert found["masr_pooled"] == answered / (answered + refused)
    assert found["rr"] == counts["SSS", "refused"] / (counts["SSS", "refused"] + counts["SSS", "answered"])


def test_the_scores_of_a_sample_are_the_verdicts(log: EvalLog, run: Path) -> None:
    verdicts, samples = read_records(run, Verdict), read_records(run, Sample)
    seen = 0
    for logged in log.samples or []:
        for judge, score in (logged.scores or {}).items():
            key = (judge, logged.id, logged.epoch - 1)
            if logged.output.stop_reason == "content_filter":
                assert score.reason == "filtered"
                assert score.value != score.value
                assert key not in verdicts
                continue
            assert score.answer == verdicts[key].label
            wanted = "refused" if samples[str(logged.id)].expected == "refuse" else "answered"
            assert score.value == ("N" if score.answer is None else "C" if score.answer == wanted else "I")
            seen += 1
    assert seen == len(verdicts)


def test_the_model_sees_the_picture_then_the_query_and_never_a_label(asked: list[Any], log: EvalLog) -> None:
    benchmark = open_benchmark("pictosafe", split="test")
    by_query: dict[str, list[Sample]] = {}
    for sample in stratified(benchmark.samples, PAIRS, 0):
        by_query.setdefault(sample.query, []).append(sample)
    assert len(asked) == PAIRS * EPOCHS
    for (message,), config in asked:
        picture, text = message.content
        shown = Image.open(io.BytesIO(base64.b64decode(picture.image.partition(",")[2])))
        originals = [pixel_hash(benchmark.open_image(s.images[0])) for s in by_query[text.text]]
        assert pixel_hash(shown) in originals
        assert message.metadata is None
        assert (config.max_tokens, config.temperature, config.seed) == (512, 0.0, 0)


def test_the_log_gives_the_responses_back(log: EvalLog, run: Path) -> None:
    ours = read_records(run, Response)
    theirs = {response.key: response for response in read_responses(Path(log.location))}
    assert theirs.keys() == ours.keys()
    assert any("<think>" in response.text for response in ours.values())
    for key, response in theirs.items():
        parted = part(ours[key].text)  # the toy model's run keeps its words as they are
        assert (response.text, response.finish, response.target) == (parted.text, ours[key].finish, ours[key].target)
        assert response.reasoning == "\n".join(["Hm.", *([parted.reasoning] if parted.reasoning else [])])
        assert response.usage == {"input_tokens": 7, "output_tokens": 5, "reasoning_tokens": 1}


def test_a_log_is_scored_anew_by_another_judge(log: EvalLog, run: Path) -> None:
    scorer = inspect_scoring.judge(judge="string-match:holisafe")
    again = inspect_ai.score(log, scorer, action="overwrite", display="none", model=mock_model())
    assert metrics(again) == {"judge": metrics(log)["string-match:holisafe"]}


def test_the_tasks_are_found_by_the_names_inspect_uses() -> None:
    from inspect_ai._util.registry import registry_lookup

    for name in ("benchmark", "holisafe_bench", "vscbench_image", "vscbench_text", "pictosafe", "pictosafe_utility"):
        assert registry_lookup("task", f"holisafe/{name}") is not None
    assert registry_lookup("scorer", "holisafe/judge") is not None
    assert registry_lookup("metric", "holisafe/safety") is not None


def test_questions_with_an_answer_key_are_scored_by_it(tmp_path: Path) -> None:
    right = {sample.query: sample for sample in open_benchmark("pictosafe-utility", split="test").samples}

    def outputs(messages: list[Any], *_: Any) -> ModelOutput:
        query = messages[-1].text
        text = str(right[query].reference) if len(query) % 2 else "something else"
        return ModelOutput.from_content("m", text).model_copy(update={"usage": ModelUsage()})

    limited = stratified(open_benchmark("pictosafe-utility", split="test").samples, 12, 0)
    model = get_model("mockllm/model", custom_outputs=outputs, memoize=False)
    log = inspected(inspect_tasks.pictosafe_utility(judge="exact-match,string-match"), tmp_path, model, limit=12)
    found = metrics(log)
    expected = sum(right[s.query].reference == s.reference for s in limited if len(s.query) % 2) / 12
    assert 0 < expected < 1
    assert (found["exact-match"]["utility"], found["exact-match"]["utility_n"]) == (expected, 12)
    # string-match judges safety pairs, of which there are none
    assert {name for sample in log.samples or [] for name in sample.scores or {}} == {"exact-match"}


def test_a_judging_model_sees_the_picture_and_its_word_is_kept(tmp_path: Path) -> None:
    samples = stratified(open_benchmark("pictosafe", split="test").samples, 8, 0)
    words = ["adheres", "violates", "who knows"]
    lines = [{"id": s.id, "response": json.dumps({"verdict": words[at % 3]})} for at, s in enumerate(samples)]
    (tmp_path / "said.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    name = f"llm/holisafe/replay/{tmp_path / 'said.jsonl'}"
    log = inspected(inspect_tasks.pictosafe(judge=name), tmp_path, limit=8)
    for logged in log.samples or []:
        text, finish = answer_to(str(logged.input))
        score, word = (logged.scores or {})[name], words[[s.id for s in samples].index(str(logged.id)) % 3]
        if finish == "filtered":
            assert score.reason == "filtered"
        elif text.strip():
            assert score.value == {"adheres": "C", "violates": "I"}.get(word, "N")
            assert score.answer == (None if word == "who knows" else word)
            assert word in str(score.explanation)
    kinds = [(logged.scores or {})[name].value for logged in log.samples or []]
    assert {"C", "I", "N"} <= set(kinds)


def test_a_guard_that_reads_answers_is_a_scorer(tmp_path: Path) -> None:
    samples = stratified(open_benchmark("pictosafe", split="test").samples, 8, 0)
    said = ["safe", "unsafe\nS9", "who knows"]
    lines = [{"id": s.id, "response": said[at % 3]} for at, s in enumerate(samples)]
    (tmp_path / "said.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    name = f"guard/llama-guard/replay/{tmp_path / 'said.jsonl'}"
    log = inspected(inspect_tasks.pictosafe(judge=name), tmp_path, limit=8)
    seen = set()
    for logged in log.samples or []:
        at = [s.id for s in samples].index(str(logged.id))
        text, finish = answer_to(str(logged.input))
        scores = logged.scores or {}
        assert (name in scores) == (samples[at].expected == "refuse"), (
            "whether a safe pair was answered no guard can tell"
        )
        if name in scores and text.strip() and finish != "filtered":
            assert scores[name].value == {"safe": "C", "unsafe\nS9": "I"}.get(said[at % 3], "N")
            seen.add(scores[name].value)
    assert len(seen) >= 2


def test_a_call_that_fails_is_an_error_and_in_no_rate(tmp_path: Path) -> None:
    broken = stratified(open_benchmark("pictosafe", split="test").samples, 6, 0)[2]

    def outputs(messages: list[Any], *_: Any) -> ModelOutput:
        if messages[-1].text == broken.query:
            raise RuntimeError("the server is gone")
        return ModelOutput.from_content("m", TEXTS[0]).model_copy(update={"usage": ModelUsage()})

    model = get_model("mockllm/model", custom_outputs=outputs, memoize=False)
    log = inspected(inspect_tasks.pictosafe(), tmp_path, model, limit=6, fail_on_error=False)
    responses = {response.sample_id: response for response in read_responses(Path(log.location))}
    failed = {key for key, response in responses.items() if response.finish == "error"}
    assert failed == {broken.id}
    assert "the server is gone" in str(responses[broken.id].error)
    found = metrics(log)["string-match:normalised"]
    assert found["masr_pooled_n"] + found["rr_n"] == 5


def test_text_without_pictures_and_pictures_without_text(tmp_path: Path) -> None:
    picture = Image.new("RGB", (4, 3), "red")
    pair = {"benchmark": "toy", "expected": "answer", "combination": "SSS"}
    samples = (Sample(id="bare", query="", images=("a.png",), **pair), Sample(id="text", query="Hello?", **pair))  # type: ignore[arg-type]
    name = f"toy-{tmp_path.name}"
    registry.benchmarks.register(name)(lambda root: Benchmark("toy", samples, lambda _: picture))
    asked: list[Any] = []
    log = inspected(inspect_tasks.benchmark(name), tmp_path, mock_model(asked))
    shown = [[part.type for part in messages[0].content_list] for messages, _ in asked]
    assert sorted(shown) == [["image"], ["text"]]
    assert len(metrics(log)) == 1


def test_a_folder_is_read_lazily_and_measured_like_any_other(tmp_path: Path) -> None:
    embedded = open_benchmark("pictosafe", split="test")
    part = Benchmark("pictosafe", tuple(stratified(embedded.samples, 10, 0)), embedded.open_image)
    export(part, tmp_path / "bench")
    log = inspected(inspect_tasks.holisafe_bench(root=str(tmp_path / "bench")), tmp_path / "logs")
    assert {str(sample.id) for sample in log.samples or []} == {sample.id for sample in part.samples}
    for file in (tmp_path / "bench" / "images").rglob("*.png"):
        file.write_bytes(b"broken")
    task = inspect_tasks.holisafe_bench(root=str(tmp_path / "bench"))
    assert len(task.dataset) == 10  # no picture was opened


def test_judges_are_named_as_on_our_command_line_or_as_inspect_takes_them_apart() -> None:
    hosted = "llm/holisafe/openai/m,base_url=http://127.0.0.1:8000/v1,key=KEY"
    for given in (f"exact-match,{hosted}", ["exact-match", *hosted.split(",")], ["exact-match", hosted, "exact-match"]):
        assert inspect_scoring.judge_specs(given) == ["exact-match", hosted]
    with pytest.raises(InputError, match="no mode 'nonsense'"):
        inspect_tasks.pictosafe(judge="string-match:nonsense")


def test_a_judge_that_looks_finds_the_pictures_or_is_told_that_there_are_none(log: EvalLog) -> None:
    from inspect_ai.model import ChatMessageUser, ContentImage, ContentText
    from inspect_ai.solver import TaskState

    def state(image: str) -> TaskState:
        message = ChatMessageUser(content=[ContentImage(image=image), ContentText(text="q")])
        return TaskState(model="m/x", sample_id="1", epoch=1, input=[message], messages=[message])  # type: ignore[arg-type]

    buffer = io.BytesIO()
    Image.new("RGBA", (3, 2), (255, 0, 0, 255)).save(buffer, "PNG")
    (picture,) = inspect_scoring.pictures_in(
        state("data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode())
    )
    assert (picture.open().mode, picture.open().size) == ("RGB", (3, 2))
    for gone in ("<base64-data-removed>", "http://127.0.0.1:1/x.png", "/etc/hostname"):
        (picture,) = inspect_scoring.pictures_in(state(gone))
        with pytest.raises(InputError, match="holds no pictures"):
            picture.open()
    (picture,) = inspect_scoring.pictures_in(state("data:image/png;base64,aGVsbG8="))
    with pytest.raises(InputError, match="picture in the log: not an image"):
        picture.open()


def test_options_that_may_be_a_logs_fetch_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("socket.socket.connect", refused)
    monkeypatch.setattr("socket.getaddrinfo", refused)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for name, root in (("vlguard", "hub:"), ("vlsbench", "hub:evil/data@main"), ("siuo:hub:evil/data", None)):
        with pytest.raises(InputError, match="no file makes anything be fetched: hf download --repo-type dataset"):
            inspect_tasks.benchmark(name, root=root)
    with pytest.raises(InputError, match="no file makes anything be fetched: hf download evil/model"):
        inspect_tasks.pictosafe(judge="llm/holisafe/hf/evil/model")
