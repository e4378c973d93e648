from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from holisafe import evaluation
from holisafe.benchmarks.base import Benchmark, stratified
from holisafe.errors import InputError
from holisafe.journal import read_json
from holisafe.judges import open_judge
from holisafe.judges.base import CALL_FAILED, Judge, Judged, applies, verdict
from holisafe.records import GenerationSettings, GuardReading, Request, Response, Sample, Verdict
from holisafe.runs.folder import read_manifest, read_records
from holisafe.targets.base import Capabilities
from holisafe.taxonomy import IMAGE_LABELS
from stored_run import contents
from toy_plugin import ToyTarget, answer, load_benchmark

PAIRS = 60
TEST = load_benchmark(None).only("test")
JUDGES = ("string-match:normalised", "exact-match")


def judges(*specs: str) -> list[Judge]:
    return [open_judge(spec) for spec in specs or JUDGES]


def evaluate(*args: Any, **options: Any) -> dict[str, Any]:
    """The scores as `scores.json` has them."""
    return evaluation.evaluate(*args, **options).to_json()


def judge_run(*args: Any, **options: Any) -> dict[str, Any]:
    return evaluation.judge_run(*args, **options).to_json()


def target(folder: Path, name: str = "toy/a", **options: Any) -> ToyTarget:
    return ToyTarget(name, log=folder / "calls.log", **options)


def calls(folder: Path, event: str = "start") -> list[str]:
    """The samples that the target was asked, in order."""
    log = folder / "calls.log"
    lines = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    return [sample for kind, sample, _ in lines if kind == event]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    evaluate(TEST, target(folder), judges(), folder / "run")
    return folder / "run"


def test_the_scores_are_those_of_a_hand_count(undisturbed: Path) -> None:
    scores = read_json(undisturbed / "scores.json")
    counts: Counter[tuple[str, str]] = Counter()
    for sample in TEST.samples:
        if sample.combination:
            said = answer(sample.id)
            counts[sample.combination, "invalid" if not said else "refused" if "sorry" in said else "answered"] += 1
    own = scores["judges"]["string-match:normalised"]
    for combination in ("SSU", "SUU", "USU", "UUU"):
        valid = counts[combination, "answered"] + counts[combination, "refused"]
        assert own["asr"][combination]["rate"] == counts[combination, "answered"] / valid
        assert own["asr"][combination]["n"] == valid
        assert own["asr"][combination]["n_invalid"] == counts[combination, "invalid"]
    assert own["rr"]["rate"] == counts["SSS", "refused"] / (counts["SSS", "refused"] + counts["SSS", "answered"])
    assert own["n"] + own["n_invalid"] == PAIRS
    assert list(scores["judges"]) == ["string-match:normalised"]


def test_the_guard_is_scored_against_the_image_labels(undisturbed: Path) -> None:
    scores = read_json(undisturbed / "scores.json")
    responses = read_records(undisturbed, Response)
    seen = [(s.image_label, responses[s.id, 0].guard) for s in TEST.samples if s.image_label]
    named = [(label, max(guard.probabilities, key=guard.probabilities.__getitem__)) for label, guard in seen if guard]
    right = sum(label == said for label, said in named)
    right_side = sum((label == "safe") == (said == "safe") for label, said in named)
    assert 0 < right < right_side < len(named) == PAIRS
    assert scores["guard"]["accuracy"]["rate"] == right / PAIRS
    assert scores["guard"]["binary_accuracy"]["rate"] == right_side / PAIRS
    assert scores["guard"]["n_without_reading"] == 0
    assert list(scores["justified"]) == ["string-match:normalised"]
    agreement = scores["justified"]["string-match:normalised"]
    own = scores["judges"]["string-match:normalised"]
    assert agreement["refused"]["rate"] == pytest.approx(1 - own["masr_pooled"]["rate"])


def test_readings_that_are_no_numbers_or_missing_are_counted_apart(tmp_path: Path) -> None:
    class Failing(ToyTarget):
        async def call(self, request: Request) -> Response:
            response = await super().call(request)
            nothing = GuardReading(probabilities=dict.fromkeys(IMAGE_LABELS, math.nan))
            return dataclasses.replace(
                response, guard={"pair-1": None, "pair-2": nothing}.get(request.sample_id, response.guard)
            )

    scores = evaluate(TEST, Failing("toy/a", fail=frozenset({"pair-3"})), judges(), tmp_path / "run")
    assert scores["guard"]["n"] == PAIRS - 3
    assert scores["guard"]["n_without_reading"] == 2
    unguarded = evaluate(TEST, Unguarded("toy/a"), judges(), tmp_path / "unguarded")
    assert unguarded["guard"] is unguarded["justified"] is None


class Unguarded(ToyTarget):
    async def call(self, request: Request) -> Response:
        return dataclasses.replace(await super().call(request), guard=None)


def test_usefulness_is_counted_apart_by_the_judge_with_the_answer_key(undisturbed: Path) -> None:
    scores = read_json(undisturbed / "scores.json")
    right = [answer(f"question-{n}") == "tree" for n in range(6)]
    assert list(scores["utility"]) == ["exact-match"]
    cell = scores["utility"]["exact-match"]
    assert (cell["rate"], cell["n"]) == (sum(right) / 6, 6)
    assert {task: (c["rate"], c["n"]) for task, c in cell["tasks"].items()} == {
        "count": (sum(right[1::2]) / 3, 3),
        "name": (sum(right[0::2]) / 3, 3),
    }
    judged = {key[:2] for key in read_records(undisturbed, Verdict)}
    assert {sample.partition("-")[0] for judge, sample in judged if judge == "exact-match"} == {"question"}
    assert {sample.partition("-")[0] for judge, sample in judged if judge != "exact-match"} == {"pair"}


def test_the_manifest_tells_what_was_measured(undisturbed: Path) -> None:
    manifest = read_manifest(undisturbed)
    assert manifest["benchmark"] == {
        "name": "toy", "reader": None, "root": None, "revision": None, "split": "test", "size": 66,
        "content_hash": TEST.content_hash(),
    }  # fmt: skip
    assert manifest["target"]["name"] == "toy/a"
    assert manifest["judges"] == {judge.name: judge.version for judge in judges()}
    assert (manifest["seed"], manifest["limit"]) == (0, None)
    assert manifest["settings"] == {
        "max_new_tokens": 512,
        "temperature": 0.0,
        "seed": 0,
        "system": None,
        "reasoning_tokens": None,
        "reasoning": None,
    }


def test_the_same_again_does_nothing_twice(tmp_path: Path) -> None:
    first = evaluate(TEST, target(tmp_path), judges(), tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    assert evaluate(TEST, target(tmp_path), judges(), tmp_path / "run") == first
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before
    assert sorted(calls(tmp_path)) == sorted(sample.id for sample in TEST.samples)


def test_a_larger_limit_asks_only_what_is_new(tmp_path: Path, undisturbed: Path) -> None:
    for limit in (10, 25, None):
        evaluate(TEST, target(tmp_path), judges(), tmp_path / "run", limit=limit)
        asked = [sample.id for sample in stratified(TEST.samples, limit, 0)]
        assert sorted(calls(tmp_path)) == sorted(asked)
        assert list(read_records(tmp_path / "run", Sample)) == asked
    assert contents(tmp_path / "run") == contents(undisturbed)


def test_another_seed_draws_another_part(tmp_path: Path) -> None:
    for seed in (0, 3):
        evaluate(TEST, target(tmp_path), judges(), tmp_path / f"{seed}", limit=9, seed=seed)
        assert list(read_records(tmp_path / f"{seed}", Sample)) == [s.id for s in stratified(TEST.samples, 9, seed)]


def test_judges_are_added_without_asking_again_and_those_of_before_judge_along(tmp_path: Path) -> None:
    evaluate(TEST, target(tmp_path), judges("string-match:xstest"), tmp_path / "run", limit=20)
    scores = evaluate(TEST, target(tmp_path), judges("string-match:holisafe"), tmp_path / "run", limit=40)
    assert len(calls(tmp_path)) == 40
    evaluate(
        TEST, target(tmp_path), judges("string-match:xstest", "string-match:holisafe"), tmp_path / "fresh", limit=40
    )
    assert list(scores["judges"]) == ["string-match:xstest", "string-match:holisafe"]
    assert contents(tmp_path / "run") == contents(tmp_path / "fresh")


def test_an_earlier_judge_that_is_not_named_again_keeps_what_it_said(tmp_path: Path) -> None:
    grumpy = Grumpy()
    first = evaluate(TEST, target(tmp_path), [grumpy], tmp_path / "run", limit=10)
    with pytest.warns(UserWarning, match="grumpy keeps the verdicts it gave .* --judge grumpy"):
        scores = evaluate(TEST, target(tmp_path), judges(), tmp_path / "run", limit=20)
    assert scores["judges"]["grumpy"] == first["judges"]["grumpy"]
    kept = grumpy.asked
    assert (first["judges"]["grumpy"]["n"], len(calls(tmp_path))) == (kept, 20)
    again = evaluate(TEST, target(tmp_path), [grumpy], tmp_path / "run", limit=20)
    assert again["judges"]["grumpy"]["n"] == grumpy.asked > kept


@dataclasses.dataclass
class Grumpy:
    """A judge that calls everything a refusal, and counts how often it was asked."""

    version: str = "1"
    name: str = "grumpy"
    asked: int = 0

    def judge(self, items: Iterable[Judged]) -> Iterator[Verdict]:
        for sample, response, _ in items:
            self.asked += 1
            yield Verdict(
                sample_id=sample.id,
                response_hash=response.hash,
                judge=self.name,
                judge_version=self.version,
                label="refused",
            )


def test_new_rules_judge_again_and_only_they_count(tmp_path: Path) -> None:
    old, same, new = Grumpy(), Grumpy(), Grumpy(version="2")
    for judge in (old, same, new):
        scores = evaluate(TEST, target(tmp_path), [judge], tmp_path / "run")
    assert (old.asked, same.asked, new.asked) == (PAIRS, 0, PAIRS)
    assert {verdict.judge_version for verdict in read_records(tmp_path / "run", Verdict).values()} == {"2"}
    assert scores["judges"]["grumpy"]["n"] == PAIRS
    assert read_manifest(tmp_path / "run")["judges"] == {"grumpy": "2"}


def test_a_failed_call_is_no_answer_is_not_judged_and_is_asked_again(tmp_path: Path, undisturbed: Path) -> None:
    failing = frozenset({"pair-3", "pair-7", "question-1"})
    scores = evaluate(TEST, target(tmp_path, fail=failing), judges(), tmp_path / "run")
    assert scores["responses"]["n"] == 66
    assert scores["responses"]["errors"] == 3
    own = scores["judges"]["string-match:normalised"]
    assert own["n"] + own["n_invalid"] == PAIRS - 2
    assert scores["utility"]["exact-match"]["n"] == 5
    assert failing.isdisjoint(verdict.sample_id for verdict in read_records(tmp_path / "run", Verdict).values())

    evaluate(TEST, target(tmp_path), judges(), tmp_path / "run")
    assert Counter(calls(tmp_path)) == Counter({s.id: 1 + (s.id in failing) for s in TEST.samples})
    assert contents(tmp_path / "run") == contents(undisturbed)


def test_how_calls_ended_is_counted(tmp_path: Path, undisturbed: Path) -> None:
    class Ending(ToyTarget):
        async def call(self, request: Request) -> Response:
            response = await super().call(request)
            finish = {"pair-1": "truncated", "pair-2": "filtered", "pair-3": "error", "pair-4": "truncated"}
            text = " \n" if request.sample_id in ("pair-3", "pair-4") else response.text
            word = "banana" if request.sample_id == "pair-5" else None
            how = finish.get(request.sample_id, "stop")
            return dataclasses.replace(response, text=text, finish=how, finish_reason=word)  # type: ignore[arg-type]

    empty = sum(not answer(s.id) for s in TEST.samples)
    assert read_json(undisturbed / "scores.json")["responses"] == {
        "n": 66, "errors": 0, "truncated": 0, "filtered": 0, "empty": empty, "unknown": 0
    }  # fmt: skip
    scores = evaluate(TEST, Ending("toy/a"), judges(), tmp_path / "run")
    gone = sum(not answer(f"pair-{n}") for n in (3, 4))
    assert scores["responses"] == {
        "n": 66, "errors": 1, "truncated": 2, "filtered": 1, "empty": empty - gone + 1, "unknown": 1
    }  # fmt: skip


def test_another_answer_to_the_same_question_is_judged_anew(tmp_path: Path) -> None:
    evaluate(TEST, target(tmp_path), judges("string-match:normalised"), tmp_path / "run", limit=10)
    stored = read_records(tmp_path / "run", Response)
    changed = dataclasses.replace(next(iter(stored.values())), text="No, I cannot help with that at all. Never.")
    with (tmp_path / "run" / "responses.jsonl").open("a") as file:
        file.write(json.dumps({"sample_id": changed.sample_id, "target": changed.target, "text": changed.text}) + "\n")
    lines = (tmp_path / "run" / "verdicts.jsonl").read_text().count("\n")
    evaluate(TEST, target(tmp_path), judges("string-match:normalised"), tmp_path / "run", limit=10)
    assert (tmp_path / "run" / "verdicts.jsonl").read_text().count("\n") == lines + 1
    verdict = read_records(tmp_path / "run", Verdict)["string-match:normalised", changed.sample_id, 0]
    assert verdict.response_hash == changed.hash


def broken(name: str) -> Image.Image:
    if name == "29":  # only late samples show it
        raise InputError("broken image", where="29.png", row=58, field="image")
    return Image.new("RGB", (4, 4))


BAD_CALLS: dict[str, tuple[dict[str, Any], str]] = {
    "a broken image that the part asked does not show": (
        {"benchmark": dataclasses.replace(TEST, open_image=broken), "limit": 1},
        "29.png, row 58, field 'image': broken image",
    ),
    "no samples": ({"benchmark": dataclasses.replace(TEST, samples=())}, "toy holds no samples"),
    "a target for text alone": ({"images_per_request": 0}, "takes 0 images a request; toy needs 1"),
    "a target without system prompt": (
        {"system_prompt": False, "settings": GenerationSettings(system="Hush.")},
        "takes no system prompt",
    ),
    "no judge": ({"judges": []}, "no judge: nothing in toy to judge"),
    "a judge of what is not there": (
        {"benchmark": dataclasses.replace(TEST, samples=TEST.samples[:PAIRS]), "judges": judges("exact-match")},
        "exact-match: nothing in toy to judge",
    ),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_what_cannot_work_is_said_before_anything_is_asked_or_written(tmp_path: Path, name: str) -> None:
    options, says = BAD_CALLS[name]
    options = dict(options)
    can = {key: options.pop(key) for key in ("images_per_request", "system_prompt") if key in options}
    asked = target(tmp_path, capabilities=Capabilities(**can))
    benchmark, panel = options.pop("benchmark", TEST), options.pop("judges", judges())
    with pytest.raises(InputError) as caught:
        evaluate(benchmark, asked, panel, tmp_path / "run", **options)
    assert says in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"target": "toy/b"}, "target.name was 'toy/a', is now 'toy/b'"),
        ({"seed": 1}, "--seed was 0, is now 1"),
        ({"settings": GenerationSettings(max_new_tokens=8)}, "--max-tokens was 512, is now 8"),
        ({"limit": 5}, "--limit was 10, is now 5"),
        ({"benchmark": dataclasses.replace(TEST, samples=TEST.samples[1:])}, "the number of samples was 66, is now 65"),
        ({"benchmark": dataclasses.replace(TEST, open_image=lambda name: Image.new("L", (1, 1)))}, "content_hash"),
    ],
)
def test_a_run_of_something_else_is_not_carried_on(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    evaluate(TEST, target(tmp_path), judges(), tmp_path / "run", limit=10)
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    options = {"limit": 10, **change}
    asked, benchmark = target(tmp_path, options.pop("target", "toy/a")), options.pop("benchmark", TEST)
    with pytest.raises(InputError) as caught:
        evaluate(benchmark, asked, judges(), tmp_path / "run", **options)
    assert says in str(caught.value)
    assert len(calls(tmp_path)) == 10
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


class Misbehaving(ToyTarget):
    """Answers `twist` in its own way."""

    async def respond(self, requests: AsyncIterable[Request]) -> AsyncIterator[Response]:
        async for response in super().respond(requests):
            if response.sample_id != "pair-9":
                yield response
            elif self.name == "toy/stranger":
                yield dataclasses.replace(response, sample_id="pair-9999")
            elif self.name == "toy/twice":
                yield response
                yield response


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("toy/stranger", "answered 'pair-9999', which it was not asked"),
        ("toy/twice", "answered 'pair-9', which it was not asked"),
        ("toy/silent", "left 1 requests without any response"),
    ],
)
def test_a_target_that_breaks_its_promise_is_a_bug_not_a_number(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(RuntimeError, match=says):
        evaluate(TEST, Misbehaving(name), judges(), tmp_path / "run")
    assert not (tmp_path / "run" / "scores.json").exists()


@pytest.mark.parametrize(
    ("twist", "says"),
    [
        (lambda verdicts: verdicts[1:], "left 1 responses without any verdict"),
        (lambda verdicts: [*verdicts, verdicts[0]], "which it was not asked"),
        (lambda verdicts: [dataclasses.replace(verdicts[0], judge="else")], "which it was not asked"),
    ],
)
def test_so_is_a_judge(tmp_path: Path, twist: Any, says: str) -> None:
    class Twisted(Grumpy):
        def judge(self, items: Iterable[Judged]) -> Iterator[Verdict]:
            yield from twist(list(super().judge(items)))

    with pytest.raises(RuntimeError, match=says):
        evaluate(TEST, target(tmp_path), [Twisted()], tmp_path / "run")


def interrupting(stage: str, when: int, number: int = signal.SIGINT, times: int = 1) -> Any:
    """A progress callback that presses Ctrl-C once a stage has come so far."""

    def progress(name: str, done: int, total: int) -> None:
        if name == stage and done == when:
            for _ in range(times):
                os.kill(os.getpid(), number)

    return progress


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_finishes_what_is_in_flight_and_the_same_call_goes_on(
    tmp_path: Path, undisturbed: Path, number: int, capfd: pytest.CaptureFixture[str]
) -> None:
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    progress = interrupting("responses", 20, number)
    with pytest.raises(KeyboardInterrupt, match=r"stopped after 2\d of 66 responses; the same command again"):
        evaluate(TEST, target(tmp_path, delay=0.001), judges(), tmp_path / "run", progress=progress)
    assert "finishing what is in flight" in capfd.readouterr().err
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == before
    stored = read_records(tmp_path / "run", Response)
    assert sorted(calls(tmp_path, "start")) == sorted(calls(tmp_path, "end")) == sorted(name for name, _ in stored)
    assert 20 <= len(stored) <= 24
    evaluate(TEST, target(tmp_path), judges(), tmp_path / "run")
    assert max(Counter(calls(tmp_path)).values()) == 1
    assert contents(tmp_path / "run") == contents(undisturbed)


def test_pressed_twice_it_stops_at_once(tmp_path: Path, undisturbed: Path) -> None:
    progress = interrupting("responses", 20, times=2)
    with pytest.raises(KeyboardInterrupt, match="stopped at once"):
        evaluate(TEST, target(tmp_path, delay=0.001), judges(), tmp_path / "run", progress=progress)
    assert len(calls(tmp_path, "start")) >= len(read_records(tmp_path / "run", Response)) == 20
    evaluate(TEST, target(tmp_path), judges(), tmp_path / "run")
    assert contents(tmp_path / "run") == contents(undisturbed)


def test_ctrl_c_while_judging(tmp_path: Path, undisturbed: Path) -> None:
    progress = interrupting("string-match:normalised", 7)
    with pytest.raises(KeyboardInterrupt, match=r"stopped while .* was judging"):
        evaluate(TEST, target(tmp_path), judges(), tmp_path / "run", progress=progress)
    assert len(read_records(tmp_path / "run", Verdict)) >= 7  # a quick judge's verdicts are told and stored together
    evaluate(TEST, target(tmp_path), judges(), tmp_path / "run")
    assert contents(tmp_path / "run") == contents(undisturbed)


def test_progress_tells_every_stage_to_its_end(tmp_path: Path) -> None:
    last: dict[str, tuple[int, int]] = {}

    def progress(stage: str, done: int, total: int) -> None:
        assert done >= last.get(stage, (0, 0))[0]
        last[stage] = (done, total)

    evaluate(TEST, target(tmp_path), judges(), tmp_path / "run", progress=progress)
    assert last == {
        "images": (30, 30), "responses": (66, 66), "string-match:normalised": (60, 60), "exact-match": (6, 6)
    }  # fmt: skip


def test_a_judge_may_say_what_it_applies_to() -> None:
    pair, question = TEST.samples[0], TEST.samples[-1]
    assert applies(Grumpy(), pair)
    assert not applies(Grumpy(), question)

    class Everything(Grumpy):
        def applies(self, sample: Sample) -> bool:
            return True

    assert applies(Everything(), question)


def test_evaluate_works_in_a_thread_where_signals_cannot_be_caught(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        scores = pool.submit(evaluate, TEST, target(tmp_path), judges(), tmp_path / "run", limit=5).result()
    assert scores["responses"]["n"] == 5


def test_an_empty_limit_of_one_sample_is_scored(tmp_path: Path) -> None:
    benchmark = Benchmark("toy", TEST.samples[:1], TEST.open_image)
    scores = evaluate(benchmark, target(tmp_path, fail=frozenset({"pair-0"})), judges(), tmp_path / "run")
    assert scores["judges"] == {}  # nothing was judged, so there is no rate of anything
    assert scores["responses"]["errors"] == 1


class Metered(ToyTarget):
    """A target with a price, whose second and third answers to a pair may differ; some calls are blocked."""

    blocked: frozenset[str] = frozenset()

    async def call(self, request: Request) -> Response:
        response = await super().call(request)
        text = answer(f"{request.sample_id}+{request.repeat}") if request.repeat else response.text
        finish = "filtered" if request.sample_id in self.blocked else response.finish
        return dataclasses.replace(
            response, repeat=request.repeat, text=text, finish=finish, cost=0.01, usage={"input_tokens": 3}
        )


def test_every_sample_is_asked_as_often_as_wished_and_repeats_may_grow(tmp_path: Path) -> None:
    once = evaluate(TEST, Metered("toy/a", tmp_path / "calls.log"), judges(), tmp_path / "run")
    first = set(read_records(tmp_path / "run", Response))
    scores = evaluate(TEST, Metered("toy/a", tmp_path / "calls.log"), judges(), tmp_path / "run", repeats=3)
    assert Counter(calls(tmp_path)) == Counter({sample.id: 3 for sample in TEST.samples})
    stored = read_records(tmp_path / "run", Response)
    assert first < set(stored)
    assert len(stored) == 3 * len(TEST.samples) == scores["responses"]["n"]
    own, before = (s["judges"]["string-match:normalised"] for s in (scores, once))
    assert own["n"] + own["n_invalid"] == 3 * PAIRS
    said = [r.text for r in stored.values() if r.text and TEST_BY_ID[r.sample_id].combination == "SSU"]
    assert own["asr"]["SSU"]["rate"] == sum("sorry" not in text for text in said) / len(said)
    # Three answers to a pair are no three pairs: the clusters stay what they were.
    width = {name: s["masr_pooled"]["high"] - s["masr_pooled"]["low"] for name, s in (("3", own), ("1", before))}
    assert width["3"] > width["1"] / 3**0.5
    assert scores["cost"]["target"] == {
        "input_tokens": 9 * len(TEST.samples),
        "usd": pytest.approx(0.03 * len(stored) / 3),
    }
    with pytest.raises(InputError, match="--repeats was 3, is now 2, and can only grow"):
        evaluate(TEST, Metered("toy/a"), judges(), tmp_path / "run", repeats=2)


TEST_BY_ID = {sample.id: sample for sample in TEST.samples}


def test_no_call_begins_once_the_money_is_spent(tmp_path: Path) -> None:
    def go_on(most: float | None) -> dict[str, Any]:
        return evaluate(TEST, Metered("toy/a", tmp_path / "calls.log"), judges(), tmp_path / "run", max_cost=most)

    with pytest.raises(KeyboardInterrupt, match=r"stopped after 2\d of 66 responses: \$0\.2\d00 of \$0\.2000 spent"):
        go_on(0.2)
    asked = len(calls(tmp_path))
    assert 20 <= asked <= 24  # at most those in flight more
    with pytest.raises(KeyboardInterrupt, match="a larger --max-cost goes on"):
        go_on(0.2)
    assert len(calls(tmp_path)) == asked
    assert go_on(1.0)["responses"]["n"] == len(set(calls(tmp_path))) == len(calls(tmp_path)) == 66


def test_blocked_calls_are_in_the_second_rate_only(tmp_path: Path) -> None:
    class Blocking(Metered):
        blocked = frozenset(s.id for s in TEST.samples[:20])

    scores = evaluate(TEST, Blocking("toy/a"), judges(), tmp_path / "run")
    plain, counted = (scores[name]["string-match:normalised"] for name in ("judges", "judges_with_filtered"))
    assert scores["responses"]["filtered"] == 20
    assert not {v.sample_id for v in read_records(tmp_path / "run", Verdict).values()} & Blocking.blocked
    for combination in ("SSU", "SUU", "USU", "UUU"):
        one, other = plain["asr"][combination], counted["asr"][combination]
        assert other["n"] == one["n"] + 4
        assert other["rate"] == pytest.approx(one["rate"] * one["n"] / other["n"])  # a block is no successful attack
    one, other = plain["rr"], counted["rr"]
    assert other["rate"] == pytest.approx((one["rate"] * one["n"] + 4) / (one["n"] + 4))  # and no help either
    assert evaluate(TEST, Metered("toy/a"), judges(), tmp_path / "open")["judges_with_filtered"] is None


def test_what_should_be_refused_counts_with_a_combination_or_without(tmp_path: Path) -> None:
    bare = dataclasses.replace(
        TEST, samples=tuple(dataclasses.replace(s, combination=None) for s in TEST.samples if s.combination)
    )
    with_them = evaluate(TEST, Metered("toy/a"), judges(), tmp_path / "with")["judges"]["string-match:normalised"]
    scores = evaluate(bare, Metered("toy/a"), judges(), tmp_path / "without")
    without = scores["judges"]["string-match:normalised"]
    for name, twin in (("under_safety", "masr_pooled"), ("over_safety", "rr")):
        assert with_them[name] == with_them[twin]
        for part in ("rate", "n", "n_invalid", "bound_low", "bound_high"):  # the draws depend on the order of pairs
            assert without[name][part] == with_them[twin][part]
    assert (without["asr"], without["masr_pooled"]["rate"], without["rr"]["rate"]) == ({}, None, None)
    counts = Counter((s.expected, answer(s.id)) for s in bare.samples)
    said = {"refused": "I'm sorry, but I can't help with that.", "answered": "Sure, here is how it works."}
    for expected in ("refuse", "answer"):
        own = {name: counts[expected, text] for name, text in said.items()}
        empty = counts[expected, ""]
        own |= {"n": sum(own.values()), "invalid": {"empty response": empty} if empty else {}}
        assert scores["safety_calibration"]["string-match:normalised"]["composition"][expected] == own


def test_judges_judge_a_stored_run_without_its_target(tmp_path: Path) -> None:
    evaluate(load_benchmark(None), target(tmp_path), judges("string-match"), tmp_path / "run")
    asked = len(calls(tmp_path))
    scores = judge_run(tmp_path / "run", judges("string-match:holisafe"))
    assert list(scores["judges"]) == ["string-match:normalised", "string-match:holisafe"]
    assert read_json(tmp_path / "run" / "scores.json") == scores
    at_once = evaluate(
        load_benchmark(None), target(tmp_path), judges("string-match", "string-match:holisafe"), tmp_path / "b"
    )
    assert at_once["judges"]["string-match:holisafe"]["asr"] == scores["judges"]["string-match:holisafe"]["asr"]
    assert len(calls(tmp_path)) == 2 * asked


def test_what_a_judge_could_not_judge_is_judged_again_when_asked(tmp_path: Path) -> None:
    class Unsure:
        name, version, asked = "unsure", "1", 0

        def judge(self, items: Iterable[Judged]) -> Iterator[Verdict]:
            for _, response, _ in items:
                self.asked += 1
                if self.asked % 4 == 0:
                    yield verdict(self, response, None, CALL_FAILED + "no luck")
                else:
                    yield verdict(self, response, *((None, "unreadable") if self.asked % 3 == 0 else ("refused", None)))

    first = Unsure()
    scores = evaluate(load_benchmark(None), target(tmp_path), [first], tmp_path / "run")
    failed, unreadable = scores["judge_errors"]["unsure"], first.asked // 3 - first.asked // 12
    assert (failed, scores["judges"]["unsure"]["n_invalid"]) == (first.asked // 4, failed + unreadable)
    second = Unsure()
    scores = judge_run(tmp_path / "run", [second])  # calls that failed are always made again
    assert second.asked == failed
    third = Unsure()
    before = scores["judges"]["unsure"]["n_invalid"]
    judge_run(tmp_path / "run", [third], rejudge_invalid=True)
    assert third.asked == before


def test_a_run_is_not_judged_against_another_content(tmp_path: Path) -> None:
    evaluate(load_benchmark(None), target(tmp_path), judges("string-match"), tmp_path / "run")
    manifest = read_manifest(tmp_path / "run")
    manifest["benchmark"]["content_hash"] = "0" * 16
    (tmp_path / "run" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"manifest\.json: the content of toy is not what this run asked about"):
        judge_run(tmp_path / "run", judges("string-match:holisafe"))
