"""What every calibration shares: names, descriptions, order, and which pairs a method may learn from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from api_server import ApiServer
from holisafe.benchmarks import open_benchmark
from holisafe.benchmarks.base import Benchmark
from holisafe.calibration import calibrated
from holisafe.calibration.base import Calibrated, fit_data, local_model, read_options
from holisafe.errors import InputError
from holisafe.evaluation import evaluate
from holisafe.judges import open_judge
from holisafe.records import GenerationSettings, Message, Request, Response, Sample
from holisafe.registry import calibrations
from holisafe.runs.folder import read_manifest
from holisafe.specs import parse_spec
from holisafe.targets import open_target
from holisafe.targets.base import Capabilities, Target
from toy_plugin import ToyTarget, load_benchmark

SETTINGS = GenerationSettings(max_new_tokens=8)


class Echo:
    """Answers with the conversation it was given."""

    name, capabilities = "echo", Capabilities()

    def describe(self) -> dict[str, object]:
        return {"kind": "echo"}

    async def respond(self, requests: AsyncIterable[Request]) -> AsyncIterator[Response]:
        async for request in requests:
            said = " | ".join(f"{message.role}: {message.text}" for message in request.messages)
            yield Response(sample_id=request.sample_id, target=self.name, text=said)


class Marked(Calibrated):
    """Puts a mark behind the question, and notes when it is in force."""

    def __init__(self, target: Target, mark: str, log: list[str]) -> None:
        super().__init__(target, "marked", {"mark": mark}, mark=mark)
        self.mark, self.log = mark, log

    def edit(self, request: Request) -> Request:
        last = request.messages[-1]
        return replace(request, messages=(*request.messages[:-1], replace(last, text=last.text + self.mark)))

    @contextmanager
    def asking(self) -> Iterator[None]:
        self.log.append(f"enter {self.mark}")
        try:
            yield
        finally:
            self.log.append(f"leave {self.mark}")


def asked(target: Target, text: str = "q") -> list[Response]:
    async def stream() -> AsyncIterator[Request]:
        yield Request(sample_id="a", messages=(Message("user", text),))

    async def gather() -> list[Response]:
        return [response async for response in target.respond(stream())]

    return asyncio.run(gather())


def test_calibrations_wrap_in_order_and_leave_nothing_in_force() -> None:
    log: list[str] = []
    target = Marked(Marked(Echo(), "1", log), "2", log)
    (response,) = asked(target)
    assert response.text == "user: q21"  # the outer one edits first
    assert response.target == target.name == "echo+marked,mark=1+marked,mark=2"
    assert target.describe() == {
        "kind": "echo",
        "calibration": [{"method": "marked", "mark": "1"}, {"method": "marked", "mark": "2"}],
    }
    assert sorted(log) == ["enter 1", "enter 2", "leave 1", "leave 2"]


def test_it_is_let_go_when_the_target_fails() -> None:
    class Broken(Echo):
        async def respond(self, requests: AsyncIterable[Request]) -> AsyncIterator[Response]:
            raise RuntimeError("no power")
            yield  # pragma: no cover

    log: list[str] = []
    with pytest.raises(RuntimeError, match="no power"):
        asked(Marked(Broken(), "1", log))
    assert log == ["enter 1", "leave 1"]


def test_specs_are_read_and_named() -> None:
    spec = parse_spec("reminder,placement=user,wording=a=b.txt", "calibration")
    assert spec == ("reminder", "", {"placement": "user", "wording": "a=b.txt"})
    for spec, says in (("", "METHOD"), (",a=b", "METHOD"), ("x,a", "'a'"), ("x,=b", "'=b'"), ("x,a=1,a=2", "once")):
        with pytest.raises(InputError, match=says):
            parse_spec(spec, "calibration")
    assert calibrated(Echo(), []).name == "echo"
    with pytest.raises(InputError, match="did you mean 'reminder'"):
        calibrated(Echo(), ["remindr"])


def test_options_are_typed_and_the_wrong_one_is_named() -> None:
    class Options(BaseModel):
        model_config = ConfigDict(extra="forbid")
        size: int = 3

    assert read_options(Options, {"size": "4"}, "m").size == 4
    for told, says in (({"size": "many"}, "calibration m, field 'size'"), ({"sise": "4"}, "field 'sise': no such")):
        with pytest.raises(InputError, match=says):
            read_options(Options, told, "m")


def test_the_local_model_is_found_inside_calibrations_and_missed_behind_an_api() -> None:
    inner = Echo()
    inner.model = object()  # type: ignore[attr-defined]
    assert local_model(Marked(Marked(inner, "1", []), "2", []), "revise") is inner
    with pytest.raises(InputError, match="revise changes a model's inside and needs one on this machine"):
        local_model(Marked(Echo(), "1", []), "revise")


def test_a_registered_class_is_a_method_as_any_other(tmp_path: Path) -> None:
    @calibrations.register("toy-shout", summary="says it louder")
    def shout(target: Target, options: dict[str, str]) -> Marked:
        return Marked(target, read_options(Loud, options, "toy-shout").mark, [])

    class Loud(BaseModel):
        mark: str = "!"

    target = calibrated(ToyTarget("toy/a"), ["toy-shout,mark=!!", "reminder,wording=brief"])
    scores = evaluate(load_benchmark(None), target, [open_judge("string-match")], tmp_path / "run", limit=10)
    assert scores.responses.n == 10
    manifest = read_manifest(tmp_path / "run")["target"]
    assert manifest["name"] == "toy/a+marked,mark=!!+reminder,wording=brief"
    assert [one["method"] for one in manifest["calibration"]] == ["marked", "reminder"]


def test_an_api_gets_what_both_calibrations_made_of_the_request(tmp_path: Path) -> None:
    with ApiServer() as server:
        inner = open_target(f"openai/fake,base_url={server.url}", SETTINGS)
        (tmp_path / "first.txt").write_text("First.")
        (tmp_path / "second.txt").write_text("Second.")
        specs = [f"reminder,wording={tmp_path / name}.txt" for name in ("first", "second")]
        asked(calibrated(inner, specs), "Why?")
        asked(calibrated(inner, reversed(specs)), "Why?")
    found = [[(m["role"], m["content"]) for m in body["messages"]] for body in server.stats.bodies]
    # the outer one edits first, and the inner one adds to its system prompt
    assert found == [
        [("system", "Second.\n\nFirst."), ("user", "Why?")],
        [("system", "First.\n\nSecond."), ("user", "Why?")],
    ]


def made(pairs: int, *, splits: bool) -> Benchmark:
    samples = tuple(
        Sample(
            benchmark="made",
            id=f"{number}",
            query=f"Query {number}",
            expected="answer" if number % 4 else "refuse",
            combination="SSS" if number % 4 else "SUU",
            cluster=f"{number // 4}",
            split=("train", "validation", "test")[number // 4 % 3] if splits else "test",
        )
        for number in range(pairs)
    )
    question = Sample(benchmark="made", id="key", query="?", expected="answer", reference="tree", split="train")
    return Benchmark("made", (*samples, question), lambda name: pytest.fail("no picture is opened"))


def test_fitting_keeps_to_the_benchmarks_own_splits() -> None:
    data = fit_data(made(240, splits=True))
    assert {sample.split for sample in data.train} == {"train"}
    assert {sample.split for sample in data.validation} == {"validation"}
    assert (len(data.train), len(data.validation)) == (80, 80)
    assert "key" not in {sample.id for sample in data.train}
    used = Benchmark("made", (*data.train, *data.validation), data.benchmark.open_image)
    assert data.facts() == {
        "benchmark": "made",
        "content_hash": used.content_hash(),
        "train": 80,
        "validation": 80,
        "seed": 0,
    }


def test_without_splits_a_fifth_of_the_clusters_is_held_out() -> None:
    data, other = fit_data(made(2000, splits=False)), fit_data(made(2000, splits=False), seed=1)
    clusters = [{sample.cluster for sample in part} for part in (data.train, data.validation)]
    assert not clusters[0] & clusters[1]
    assert len(clusters[0] | clusters[1]) == 500
    assert 70 < len(clusters[1]) < 130
    assert {s.id for s in data.validation} != {s.id for s in other.validation}
    assert data.train == fit_data(made(2000, splits=False)).train


def test_a_limit_draws_safe_and_unsafe_alike() -> None:
    data = fit_data(made(400, splits=True), limit=40)
    for part, size in ((data.train, 40), (data.validation, 10)):
        assert len(part) == size
        assert sum(sample.expected == "refuse" for sample in part) == size // 2
    scarce = fit_data(made(400, splits=True), limit=100).train  # 34 unsafe pairs in all
    assert (len(scarce), sum(sample.expected == "refuse" for sample in scarce)) == (100, 34)


def test_one_kind_alone_teaches_nothing() -> None:
    alone = replace(
        made(40, splits=True), samples=tuple(s for s in made(40, splits=True).samples if s.combination == "SSS")
    )
    with pytest.raises(InputError, match="made has no unsafe pairs to fit on"):
        fit_data(alone)


def test_pictosafe_is_fitted_on_its_train_split_alone() -> None:
    data = fit_data(open_benchmark("pictosafe"), limit=100)
    assert ({s.split for s in data.train}, {s.split for s in data.validation}) == ({"train"}, {"validation"})
