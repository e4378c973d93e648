"""The LLM judge: a rubric over a target, driven step by step."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from api_server import ApiServer
from holisafe.errors import InputError, Notice
from holisafe.evaluation import evaluate
from holisafe.judges import open_judge
from holisafe.judges.base import Judged, applies, call_failed
from holisafe.judges.llm import LLMJudge
from holisafe.records import Picture, Request, Response, Sample, Verdict
from holisafe.runs.folder import read_manifest, read_records
from holisafe.targets.base import Capabilities
from judges.scripted import PLAIN, SCRIPTS, ScriptedTarget, judge_of
from toy_plugin import REFUSAL, ToyTarget, load_benchmark

YES, NO = '{"reason": "r", "verdict": "yes_it_does"}', '{"reason": "r", "verdict": "no_it_does_not"}'
PROSE = "I think that it does."
TEST = load_benchmark(None).only("test")


def item(number: int = 0, text: str = "Sure.", repeat: int = 0, **known: Any) -> Judged:
    sample = Sample(benchmark="b", id=f"s{number}", query="How?", **{"expected": "refuse", **known})
    response = Response(sample_id=sample.id, repeat=repeat, target="t", text=text, reasoning=known.get("reasoning"))
    return Judged(sample, response)


def judged(target: ScriptedTarget, *items: Judged, **more: Any) -> list[Verdict]:
    return list(judge_of(target, **more).judge(items))


def test_a_word_becomes_its_behaviour_and_both_are_kept() -> None:
    target = ScriptedTarget(lambda request, before: {"text": YES, "usage": {"input_tokens": 9}, "cost": 0.25})
    (found,) = judged(target, item(7, repeat=2))
    response = item(7, repeat=2).response
    assert found == Verdict(
        sample_id="s7",
        repeat=2,
        response_hash=response.hash,
        judge="llm/test",
        judge_version="1",
        label="refused",
        choice="yes_it_does",
        raw=YES,
        usage={"input_tokens": 9},
        cost=0.25,
    )


def test_the_endpoint_is_asked_for_the_rubrics_words() -> None:
    target = ScriptedTarget(lambda request, before: YES)
    judged(target, item())
    (request,) = target.requests
    assert request.answer_schema is not None
    assert request.answer_schema["properties"]["verdict"]["enum"] == ["yes_it_does", "no_it_does_not"]
    assert (request.sample_id, request.settings.temperature) == ("s0", 0.0)
    line = ScriptedTarget(lambda request, before: "VERDICT: no_it_does_not")
    (found,) = judged(line, item(), rubric=PLAIN.replace("version", "form: line\nversion"))
    assert (found.label, line.requests[0].answer_schema) == ("answered", None)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (PROSE, "not one JSON object"),
        ("", "empty"),
        ('{"verdict": "maybe"}', "its verdict is none of yes_it_does, no_it_does_not"),
        ('{"verdict": "yes_it_does", "verdict": "no_it_does_not"}', "two verdicts"),
        ({"text": YES, "finish": "truncated"}, "cut off at the longest answer"),
    ],
)
def test_an_unreadable_reply_is_asked_for_once_more_and_then_invalid(reply: Any, reason: str) -> None:
    fields = {"text": reply} if isinstance(reply, str) else reply
    priced = {**fields, "usage": {"input_tokens": 5, "output_tokens": 1}, "cost": 0.5}

    stubborn = ScriptedTarget(lambda request, before: priced)
    (found,) = judged(stubborn, item())
    assert (found.label, found.choice, found.invalid) == (None, None, f"unreadable, 2 times: {reason}")
    assert (found.usage, found.cost) == ({"input_tokens": 10, "output_tokens": 2}, 1.0)
    assert found.raw == (f"{fields['text']}\n\n{fields['text']}" if fields["text"] else None)
    assert not call_failed(found)

    first, second = stubborn.requests
    assert second.messages[0].text.startswith(first.messages[0].text)
    assert "could not be read" in second.messages[0].text
    assert "could not be read" not in first.messages[0].text

    reminded = ScriptedTarget(lambda request, before: {"text": NO, "usage": {"input_tokens": 7}} if before else priced)
    (found,) = judged(reminded, item())
    assert (found.label, found.invalid, found.raw) == ("answered", None, NO)
    assert (found.usage, found.cost) == ({"input_tokens": 12, "output_tokens": 1}, 0.5)


def test_a_failed_call_is_told_apart_from_a_block_and_from_an_unreadable_reply() -> None:
    replies = {"s0": {"finish": "error", "error": "429 after 8 attempts"}, "s1": {"finish": "filtered"}}
    target = ScriptedTarget(lambda request, before: replies[request.sample_id])
    failed, blocked = sorted(judged(target, item(0), item(1)), key=lambda verdict: verdict.sample_id)
    assert (failed.label, failed.invalid) == (None, "error: 429 after 8 attempts")
    assert (blocked.label, blocked.invalid) == (None, "the judge's provider blocked the call")
    assert (call_failed(failed), call_failed(blocked)) == (True, False)
    assert len(target.requests) == 2
    late = ScriptedTarget(lambda request, before: {"finish": "error", "error": "gone"} if before else PROSE)
    (found,) = judged(late, item())
    assert (found.invalid, call_failed(found), found.raw) == ("error: gone", True, PROSE)


def test_what_cannot_be_judged_is_invalid_without_a_call() -> None:
    target = ScriptedTarget(lambda request, before: YES, capabilities=Capabilities(images_per_request=1))
    picture = Picture("a", lambda: Image.new("RGB", (2, 2)))
    sample = Sample(benchmark="b", id="s", query="q", expected="refuse", images=("a", "b"))
    response = Response(sample_id="s", target="t", text="Sure.")
    found = [
        *judged(target, item(0, " \n"), item(1), item(2, "")),
        *judged(target, Judged(sample, response, (picture,)), rubric="vscbench"),
        *judged(target, Judged(sample, response, (picture, picture)), rubric="vscbench"),
    ]
    assert sorted((verdict.sample_id, verdict.invalid) for verdict in found if verdict.invalid) == [
        ("s", "the judge takes 1 pictures a call; the pair has 2"),
        ("s", "the pair's picture is not at hand"),
        ("s0", "empty response"),
        ("s2", "empty response"),
    ]
    assert [request.sample_id for request in target.requests] == ["s1"]
    blind = judged(target, Judged(sample, response), rubric=PLAIN)
    assert blind[0].label == "refused", "a rubric that sees no picture needs none"


def test_the_pictures_go_along_closed() -> None:
    opened = []
    picture = Picture("a", lambda: opened.append("a") or Image.new("RGB", (2, 2)))
    target = ScriptedTarget(lambda request, before: '{"reason": "r", "verdict": "warned"}')
    sample = Sample(benchmark="b", id="s", query="q", expected="answer", images=("a",))
    answered = Judged(sample, Response(sample_id="s", target="t", text="Sure."), (picture,))
    assert judged(target, answered, rubric="vscbench")[0].label == "warned"
    assert target.requests[0].messages[0].pictures == (picture,)
    assert opened == []


def test_reasoning_is_judged_apart() -> None:
    target = ScriptedTarget(lambda request, before: YES)
    sample = Sample(benchmark="b", id="a", query="q", expected="refuse")
    with_it = Response(sample_id="a", target="t", text="Final.", reasoning="Thought first.")
    without = Response(sample_id="b", target="t", text="Final.")
    thought, silent = sorted(
        judged(target, Judged(sample, with_it), Judged(sample, without), subject="reasoning"),
        key=lambda verdict: verdict.sample_id,
    )
    assert (thought.label, silent.invalid) == ("refused", "no reasoning to judge")
    (asked,) = target.requests
    assert "\nThought first.\n" in asked.messages[0].text
    assert "Final." not in asked.messages[0].text


@pytest.mark.parametrize("batch", [1, 3, 7, 64])
@pytest.mark.parametrize("at_once", [1, 4, 100])
def test_every_item_has_one_verdict_however_the_target_takes_them(batch: int, at_once: int) -> None:
    """Also for targets that wait for a whole batch of requests, and with a third of the replies asked for again."""
    target = ScriptedTarget(
        lambda request, before: PROSE if int(request.sample_id[1:]) % 3 == 0 and before == 0 else YES,
        batch=batch,
        at_once=at_once,
    )
    items = [item(number, "" if number % 10 == 9 else "Sure.") for number in range(50)]
    found = judged(target, *items)
    assert sorted(verdict.sample_id for verdict in found) == sorted(f"s{number}" for number in range(50))
    assert {verdict.label for verdict in found if verdict.sample_id[-1] != "9"} == {"refused"}
    called = [number for number in range(50) if number % 10 != 9]
    assert len(target.requests) == len(called) + sum(number % 3 == 0 for number in called)


def test_items_are_taken_only_as_calls_begin_and_calls_go_on_in_between() -> None:
    taken: list[int] = []

    def endless() -> Iterator[Judged]:
        for number in count():
            taken.append(number)
            yield item(number)

    target = ScriptedTarget(
        lambda request, before: YES, at_once=8, held=lambda name, begun: name == "s0" and begun < 90
    )
    verdicts, order = judge_of(target).judge(endless()), []
    for verdict in verdicts:
        order.append(verdict.sample_id)
        assert len(taken) - len(order) <= 8 + 2
        if len(order) == 100:
            break
    verdicts.close()  # type: ignore[attr-defined]
    assert len(taken) <= 110
    assert order.index("s0") >= 80, "it was in flight while the others were judged and stored"


def test_when_the_items_end_early_what_is_in_flight_finishes() -> None:
    stop = False

    def until_stopped() -> Iterator[Judged]:
        for number in range(1_000):
            if stop:
                return
            yield item(number)

    target = ScriptedTarget(lambda request, before: YES if before else PROSE, at_once=8)
    found = []
    for verdict in judge_of(target).judge(until_stopped()):
        found.append(verdict)
        stop = len(found) == 20 or stop
    begun = {request.sample_id for request in target.requests}
    assert {verdict.sample_id for verdict in found} == begun
    assert 20 <= len(begun) < 60


def test_two_responses_of_one_sample_at_once_are_a_fault() -> None:
    with pytest.raises(ValueError, match="two responses"):
        judged(ScriptedTarget(lambda request, before: YES, at_once=9), item(0), item(0))
    repeats = judged(ScriptedTarget(lambda request, before: YES, at_once=9), item(0), item(0, repeat=1))
    assert len(repeats) == 2


def test_a_target_that_leaves_a_request_unanswered_is_a_fault() -> None:
    class Forgetful(ScriptedTarget):
        async def respond(self, requests: Any) -> Any:
            async for request in requests:
                if request.sample_id != "s1":
                    yield await self.call(request)

    with pytest.raises(RuntimeError, match="left 1 requests"):
        judged(Forgetful(lambda request, before: YES), item(0), item(1), item(2))


def test_which_samples_a_rubric_is_for() -> None:
    samples = {
        "answer": Sample(benchmark="b", id="1", query="q", expected="answer"),
        "refuse": Sample(benchmark="b", id="2", query="q", expected="refuse", combination="SSU", reference="r"),
        "question": Sample(benchmark="b", id="3", query="q", expected="answer", reference="three"),
    }
    target = ScriptedTarget(lambda request, before: YES)
    for rubric, wanted in {
        "holisafe": {"answer", "refuse"},
        "vscbench": {"answer", "refuse"},
        "helpful": {"answer"},
        "siuo": {"refuse"},
        "vlsbench": {"refuse"},
        "justified": {"refuse"},
    }.items():
        judge = judge_of(target, rubric=rubric)
        assert {name for name, sample in samples.items() if applies(judge, sample)} == wanted


def opened(spec: str) -> LLMJudge:
    judge = open_judge(spec)
    assert isinstance(judge, LLMJudge)
    return judge


@pytest.fixture
def script() -> Iterator[ScriptedTarget]:
    SCRIPTS["m"] = ScriptedTarget(lambda request, before: '{"reason": "r", "verdict": "adheres"}')
    yield SCRIPTS["m"]
    SCRIPTS.clear()


def test_a_name_holds_what_changes_verdicts_and_nothing_else(script: ScriptedTarget, tmp_path: Path) -> None:
    where = "base_url=http://127.0.0.1:1/v1,key=K,max_in_flight=4,timeout=9,attempts=2,input_price=1,output_price=2"
    plain, elsewhere = opened("llm/holisafe/scripted/m"), opened(f"llm/holisafe/scripted/m,{where}")
    assert plain.name == elsewhere.name == "llm/holisafe/scripted/m"
    assert plain.version == elsewhere.version
    assert elsewhere.spec == f"llm/holisafe/scripted/m,{where}"
    longer = opened("llm/holisafe/scripted/m,temperature=1,base_url=http://x,max_tokens=64")
    assert longer.name == "llm/holisafe/scripted/m,max_tokens=64,temperature=1"
    thought = opened("llm/holisafe/scripted/m,of=reasoning,max_tokens=64")
    assert (thought.name, thought.subject) == ("llm/holisafe/scripted/m,max_tokens=64,of=reasoning", "reasoning")
    assert "of" not in thought.target.describe()
    assert opened("llm/holisafe/scripted/m,of=response").name == plain.name
    assert opened("llm/siuo/scripted/m").measures["safe_rate"] == ("safe_effective", "safe_ineffective")

    file = tmp_path / "mine.md"
    file.write_text(PLAIN)
    own = opened(f"llm/{file}/scripted/m")
    assert (own.name, own.spec) == ("llm/plain/scripted/m", f"llm/{file}/scripted/m")
    versions = {plain.version, longer.version, thought.version, opened("llm/vscbench/scripted/m").version, own.version}
    file.write_text(PLAIN + "\nThink twice.")
    versions.add(opened(f"llm/{file}/scripted/m").version)
    file.write_text(PLAIN.replace("yes_it_does: refused", "yes_it_does: warned"))
    versions.add(opened(f"llm/{file}/scripted/m").version)
    assert len(versions) == 7


def test_a_version_follows_the_wording_and_the_fence(script: ScriptedTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    before = opened("llm/holisafe/scripted/m").version
    assert before.startswith("1-")
    for place in ("holisafe.judges.prompt.RULES", "holisafe.judges.prompt.REMINDER", "holisafe.judges.llm.VERSION"):
        with monkeypatch.context() as patch:
            patch.setattr(place, "other")
            assert opened("llm/holisafe/scripted/m").version != before
    assert opened("llm/holisafe/scripted/m").version == before


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("llm", "llm needs a rubric and a model"),
        ("llm/", "is not written KIND"),
        ("llm/holisafe", "names no model"),
        ("llm/nothing/scripted/m", "no rubric is called 'nothing'"),
        ("llm/./none.md/scripted/m", "no such file"),
        ("llm/holisafe/scripted", "is not written KIND/NAME"),
        ("llm/holisafe/nowhere/m", "no target is called 'nowhere'"),
        ("llm/holisafe/scripted/m,of=everything", "of=everything is none of response, reasoning"),
        ("llm/holisafe/replay/none.jsonl", "no such file"),
    ],
)
def test_a_spec_that_cannot_be_opened_says_why(script: ScriptedTarget, spec: str, problem: str) -> None:
    with pytest.raises(InputError) as raised:
        open_judge(spec)
    assert problem in str(raised.value)


def test_a_replayed_judge_in_a_run_is_resumed_by_its_spec(tmp_path: Path) -> None:
    """Judge a run with a file of replies; then carry the run on without naming the judge, and naming it again."""
    file = tmp_path / "replies.jsonl"
    pairs = [sample for sample in TEST.samples if sample.combination]
    said = {sample.id: "adheres" if number % 4 else "violates" for number, sample in enumerate(pairs)}
    file.write_text(
        "".join(json.dumps({"id": key, "response": json.dumps({"verdict": word})}) + "\n" for key, word in said.items())
    )
    spec = f"llm/holisafe/replay/{file}"
    scores = evaluate(TEST, ToyTarget("toy/a"), [open_judge(spec)], tmp_path / "run", limit=40)
    with pytest.warns(Notice, match="keeps the verdicts it gave"):
        kept = evaluate(TEST, ToyTarget("toy/a"), [open_judge("string-match")], tmp_path / "run")
    assert kept.judges[spec] == scores.judges[spec]
    again = evaluate(TEST, ToyTarget("toy/a"), [open_judge(spec)], tmp_path / "run")
    verdicts = {v.sample_id: v for v in read_records(tmp_path / "run", Verdict).values() if v.judge == spec}
    assert len(verdicts) == len(pairs)
    assert read_manifest(tmp_path / "run")["judge_specs"][spec] == spec
    own = again.judges[spec]
    empty = sum(verdict.invalid == "empty response" for verdict in verdicts.values())
    assert (own.n, own.n_invalid) == (len(pairs) - empty, empty)
    assert scores.judges[spec].n < own.n
    for verdict in verdicts.values():
        assert verdict.invalid or (verdict.label, verdict.choice) == (said[verdict.sample_id],) * 2


def test_a_failed_judge_call_counts_as_invalid_and_is_made_again(script: ScriptedTarget, tmp_path: Path) -> None:
    down = {"pair-2", "pair-5"}
    good = {"text": '{"reason": "r", "verdict": "adheres"}', "cost": 0.5}
    script.reply = lambda request, before: (
        {"finish": "error", "error": "down"}
        if request.sample_id in down
        else "no"
        if request.sample_id == "pair-8"
        else good
    )
    judge = "llm/holisafe/scripted/m"
    first = evaluate(TEST, ToyTarget("toy/a"), [open_judge(judge)], tmp_path / "run")
    empty = sum(not r.text for r in read_records(tmp_path / "run", Response).values() if r.sample_id[:4] == "pair")
    assert first.judges[judge].n_invalid == 3 + empty
    asked = len(script.requests)
    down.clear()
    second = evaluate(TEST, ToyTarget("toy/a"), [open_judge(judge)], tmp_path / "run")
    assert sorted(request.sample_id for request in script.requests[asked:]) == ["pair-2", "pair-5"]
    assert second.judges[judge].n_invalid == 1 + empty
    assert second.judges[judge].n == first.judges[judge].n + 2
    evaluate(TEST, ToyTarget("toy/a"), [open_judge(judge)], tmp_path / "run")
    assert len(script.requests) == asked + 2


def test_ctrl_c_stores_what_is_in_flight_and_the_same_command_goes_on(script: ScriptedTarget, tmp_path: Path) -> None:
    replies: list[str] = []

    def reply(request: Request, before: int) -> str:
        replies.append(request.sample_id)
        if len(replies) == 12:
            os.kill(os.getpid(), signal.SIGINT)
        return '{"reason": "r", "verdict": "adheres"}' if before else PROSE

    script.reply, script.at_once = reply, 6
    judge = "llm/holisafe/scripted/m"
    with pytest.raises(KeyboardInterrupt, match="was judging"):
        evaluate(TEST, ToyTarget("toy/a"), [open_judge(judge)], tmp_path / "run")
    begun = {request.sample_id for request in script.requests}
    stored = read_records(tmp_path / "run", Verdict).values()
    assert {verdict.sample_id for verdict in stored if verdict.label} == begun
    assert 6 <= len(begun) < 24
    evaluate(TEST, ToyTarget("toy/a"), [open_judge(judge)], tmp_path / "run")
    asked = Counter(request.sample_id for request in script.requests)
    assert set(asked.values()) == {2}, "each once and once again for its prose, none a third time"


def chat(body: dict[str, Any], content: str) -> dict[str, Any]:
    """The server as a judge: reads the response's fence, and first replies in prose to a third."""
    *_, last = body["messages"]
    parts = last["content"] if isinstance(last["content"], list) else [{"type": "text", "text": last["content"]}]
    text = "".join(part.get("text", "") for part in parts)
    refused = REFUSAL in text.split("<<<BEGIN response ")[1].split("<<<END response ")[0]
    said = json.dumps({"reason": "r", "verdict": "refused" if refused else "answered"})
    prose = int(content, 16) % 3 == 0 and "could not be read" not in text
    return {"message": {"role": "assistant", "content": "Hm." if prose else said}, "finish_reason": "stop"}


def test_a_hosted_judge_sees_the_pictures_and_judges_a_run(tmp_path: Path) -> None:
    with ApiServer(answer=chat) as server:
        spec = f"llm/vscbench/openai/fake,base_url={server.url},max_in_flight=8,input_price=1,output_price=2"
        judge = open_judge(spec)
        scores = evaluate(TEST, ToyTarget("toy/a"), [judge], tmp_path / "run")
    assert judge.name == "llm/vscbench/openai/fake"
    responses, verdicts = read_records(tmp_path / "run", Response), read_records(tmp_path / "run", Verdict)
    assert len(verdicts) == 60
    for verdict in verdicts.values():
        text = responses[verdict.response_key].text
        assert verdict.label == (None if not text else "refused" if text == REFUSAL else "answered")
        assert bool(verdict.cost) == bool(text)
    assert scores.judges[judge.name].n == sum(bool(r.text) for r in responses.values()) - 6
    body = server.stats.bodies[0]
    kinds = [part["type"] for part in body["messages"][-1]["content"]]
    assert kinds == ["image_url", "text"]
    schema = body["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["verdict"]["enum"] == ["refused", "warned", "answered", "irrelevant"]
    assert sum(server.stats.attempts.values()) > len([v for v in verdicts.values() if v.label])


def test_opening_judges_by_name_loads_no_client() -> None:
    code = (
        "import sys\n"
        "from holisafe.judges import open_judge\n"
        "open_judge('string-match')\n"
        "print(sorted({'openai', 'aiohttp', 'pydantic', 'yaml'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
