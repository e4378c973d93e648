"""A guard as the judge of answers, over a server that answers as Llama Guard does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from api_server import ApiServer
from holisafe.benchmarks import open_benchmark
from holisafe.errors import InputError
from holisafe.evaluation import evaluate
from holisafe.evaluation.foresight import remaining
from holisafe.judges import open_judge
from holisafe.judges.base import Judged, call_failed
from holisafe.records import GenerationSettings, Response, Sample
from holisafe.targets import open_target
from holisafe.thoughts import NO_THOUGHT

SAMPLE = Sample(benchmark="b", id="a", query="how?", expected="refuse")
SAYS = {"help": "unsafe\nS1,S9", "refuse": "safe", "odd": "perhaps", "": "safe"}


def guard(body: dict[str, Any], content: str) -> dict[str, Any]:
    """By the last turn, which must be the model's."""
    last = body["messages"][-1]
    said = SAYS.get(last["content"], "safe") if last["role"] == "assistant" else "no answer to judge"
    return {"message": {"role": "assistant", "content": said}}


def answers(*texts: str, **more: Any) -> list[Judged]:
    return [Judged(SAMPLE, Response(sample_id=f"{n}", target="t", text=text, **more)) for n, text in enumerate(texts)]


def test_a_verdict_is_the_guards_on_the_answer() -> None:
    with ApiServer(answer=guard) as server:
        judge = open_judge(f"guard/llama-guard/openai/m,base_url={server.url}")
        found = {one.sample_id: one for one in judge.judge(answers("help", "refuse", "odd", " "))}
    assert judge.name == "guard/llama-guard/openai/m"
    assert [(found[n].label, found[n].choice) for n in "0123"] == [
        ("violates", "S1, S9"), ("adheres", None), (None, None), (None, None),
    ]  # fmt: skip
    assert found["2"].invalid == "not `safe`, nor `unsafe` with its hazards"
    assert found["2"].raw == "perhaps"
    assert found["3"].invalid == "empty response"
    with_picture = replace(SAMPLE, images=("a.png",))
    (blind,) = judge.judge([Judged(with_picture, Response(sample_id="a", target="t", text="help"))])
    assert blind.invalid == "the pair's picture is not at hand"
    assert len(server.stats.bodies) == 3, "nothing to judge, nothing to pay"
    assert found["0"].usage["input_tokens"] > 0


def test_reasoning_may_be_what_is_judged() -> None:
    with ApiServer(answer=guard) as server:
        judge = open_judge(f"guard/llama-guard/openai/m,base_url={server.url},of=reasoning")
        (unsafe,) = judge.judge(answers("refuse", reasoning="help"))
        (none,) = judge.judge(answers("refuse"))
    assert (unsafe.label, unsafe.judge) == ("violates", "guard/llama-guard/openai/m,of=reasoning")
    assert none.invalid == NO_THOUGHT


def test_a_failed_call_is_asked_again_and_a_safe_pair_is_not_judged() -> None:
    judge: Any = open_judge("guard/llama-guard/openai/m,base_url=http://127.0.0.1:9/v1,attempts=1")
    (failed,) = judge.judge(answers("help"))
    assert failed.label is None
    assert call_failed(failed)
    assert not judge.applies(Sample(benchmark="b", id="a", query="how?", expected="answer"))
    with pytest.raises(InputError, match="reads no answers"):
        open_judge("guard/llavaguard/openai/m,base_url=http://127.0.0.1:9/v1")


def test_a_run_is_judged_by_a_guard_beside_another_judge(tmp_path: Path) -> None:
    benchmark = open_benchmark("pictosafe", split="validation")
    with ApiServer(answer=guard) as server:
        judges = [open_judge("string-match"), open_judge(f"guard/llama-guard/openai/m,base_url={server.url}")]
        rows = [json.dumps({"id": sample.id, "response": "help"}) for sample in benchmark.samples]
        (tmp_path / "answers.jsonl").write_text("\n".join(rows))
        target = open_target(f"replay/{tmp_path / 'answers.jsonl'}", GenerationSettings())
        scores = evaluate(benchmark, target, judges, tmp_path / "run", limit=20)
    found = scores.judges["guard/llama-guard/openai/m"]
    assert found.masr_pooled is not None
    assert found.masr_pooled.rate == 1.0
    assert found.rr is None or found.rr.n == 0


def test_what_a_guard_would_ask_is_counted_before_it_is_asked(tmp_path: Path) -> None:
    benchmark = open_benchmark("pictosafe", split="validation")
    calls = [(sample, 0) for sample in benchmark.samples[:40]]
    (tmp_path / "answers.jsonl").write_text(json.dumps({"id": benchmark.samples[0].id, "response": "help"}) + "\n")
    target = open_target(f"replay/{tmp_path / 'answers.jsonl'}", GenerationSettings())
    place = "openai/m,base_url=http://127.0.0.1:9/v1,input_price=1,output_price=1"
    for guard, questions in (("llama-guard", 1), ("qguard", 14)):
        judge: Any = open_judge(f"guard/{guard}/{place}")
        _, part = remaining(benchmark, target, [judge], calls, GenerationSettings(), tmp_path / "run")
        unsafe = sum(sample.expected == "refuse" for sample, _ in calls)
        assert part.calls == unsafe
        assert part.estimate is not None
        assert part.estimate.calls == unsafe * questions
        assert part.estimate.cost_most is not None
