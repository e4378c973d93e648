"""What the policy does with what guards see and with what fails, one request at a time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from api_server import ApiServer, completion
from holisafe.calibration import calibrated
from holisafe.errors import InputError
from holisafe.guards import open_guard
from holisafe.records import GenerationSettings
from holisafe.serving.policy import Policy, read_policy
from holisafe.targets import open_target
from scripted_ocr import scripted
from serving.served import MODEL, WORD, Served, data_url, gateway, guard, plays, png, shown, streaming

BROKEN = data_url(b"\x89PNG broken")


class Gate:
    """A gateway with its server, asked by hand."""

    def __init__(self, stack: ExitStack, policy: dict[str, Any], **more: Any) -> None:
        self.server = stack.enter_context(
            ApiServer(answer=more.pop("answer", plays()), respond=more.pop("respond", None))
        )
        make: Callable[[ApiServer], dict[str, Any]] = more.pop("make", lambda server: {})
        self.served = stack.enter_context(Served(gateway(self.server, policy, **make(self.server), **more)))

    def ask(self, messages: Any = "Hello", **more: Any) -> httpx.Response:
        turns = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
        body = {"model": MODEL, "messages": turns, **more}
        return httpx.post(f"{self.served.url}/chat/completions", json=body, timeout=20)

    def said(self, *given: Any, **more: Any) -> str:
        reply = self.ask(*given, **more)
        assert reply.status_code == 200, reply.text
        return reply.json()["choices"][0]["message"]["content"]

    def asked(self, model: str = MODEL) -> list[Any]:
        return [body for body in self.server.stats.bodies if body["model"] == model]

    def count(self, name: str, *labels: str) -> float:
        return getattr(self.served.gateway.counters, name).labels(*labels)._value.get()


@pytest.fixture
def gate():
    with ExitStack() as stack:
        yield lambda policy=None, **more: Gate(stack, policy or {}, **more)


def test_a_note_lets_pass_and_is_counted(gate: Any) -> None:
    noting = gate({"rules": [{"do": "note"}]})
    assert noting.said(f"a {WORD}") == f"You said: a {WORD} (0 pictures)"
    assert noting.count("decisions", "request", "note") == 1


def test_a_rule_for_a_category_leaves_others_alone(gate: Any) -> None:
    others = gate({"rules": [{"category": "privacy", "do": "block"}]})
    assert WORD in others.said(WORD)
    ours = gate({"rules": [{"category": "violence", "do": "block"}], "refusal": "No: {category}!"})
    assert ours.said(WORD) == "No: violence!"


def test_calibrated_is_what_the_policy_says_and_nothing_else(gate: Any) -> None:
    def make(server: ApiServer) -> dict[str, Any]:
        plain = open_target(f"openai/{MODEL},base_url={server.url}", GenerationSettings())
        return {"target": plain, "treated": calibrated(plain, ["reminder"])}

    rules = {"rules": [{"do": "calibrate", "of": "request"}]}
    one = gate(rules, make=make)
    one.said("Hello")
    one.said(f"a {WORD}")
    first, second = one.asked()
    assert [turn["role"] for turn in first["messages"]] == ["user"]
    assert [turn["role"] for turn in second["messages"]] == ["system", "user"]
    streamed = gate(rules, make=make, respond=streaming(["all is well"]))
    assert "all is well" in streamed.ask(f"a {WORD}", stream=True).text
    assert [turn["role"] for turn in streamed.asked()[0]["messages"]] == ["system", "user"]


def test_an_answer_is_read_with_its_question(gate: Any) -> None:
    one = gate(answer=plays(lambda body: f"first, {WORD}"))
    reply = one.ask("Hello").json()
    assert reply["choices"][0]["finish_reason"] == "content_filter"
    assert WORD not in str(reply)
    judged = one.asked("guard")[-1]["messages"]
    assert [turn["role"] for turn in judged] == ["user", "assistant"]


def test_a_guard_that_is_down_is_closed_or_open_as_the_policy_says(gate: Any) -> None:
    def nobody(server: ApiServer) -> dict[str, Any]:
        return {"guards": [guard(server, "guard", timeout=0.2)]}

    def silent(body: dict[str, Any], content: str) -> Any:
        return web.json_response({"error": {"message": "gone"}}, status=500) if body["model"] == "guard" else None

    closed = gate(respond=silent, make=nobody)
    reply = closed.ask()
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "guard_unavailable")
    assert closed.asked() == []
    opened = gate({"failures": {"guard_down": "open"}}, respond=silent, make=nobody)
    assert opened.said() == "You said: Hello (0 pictures)"
    assert opened.count("failures", "guard", "open") == 2, "of the request and of the answer"


def test_an_upstream_that_is_down_is_an_error_or_an_apology(gate: Any) -> None:
    def silent(body: dict[str, Any], content: str) -> Any:
        return (
            web.json_response({"error": {"message": "secret trouble"}}, status=404) if body["model"] == MODEL else None
        )

    for stream in (False, True):
        down = gate(respond=silent)
        reply = down.ask(stream=stream)
        assert (reply.status_code, reply.json()["error"]["code"]) == (502, "upstream_error")
        assert "secret" not in reply.text
        sorry = gate({"failures": {"upstream_down": "apology"}, "apology": "Not now."}, respond=silent)
        assert "Not now." in sorry.ask(stream=stream).text


def test_a_picture_that_cannot_be_read_stops_the_request_or_is_left_out(gate: Any) -> None:
    mixed = shown("What is it?", data_url(png()), BROKEN)
    assert gate().ask(mixed).json()["error"]["code"] == "invalid_image"
    assert gate({"failures": {"unreadable_image": "open"}}).said(mixed) == "You said: What is it? (1 pictures)"


def blind(body: dict[str, Any], content: str) -> Any:
    """A server that takes pictures and drops them: it counts words alone."""
    choice = {"index": 0, "message": {"role": "assistant", "content": "Nice."}, "finish_reason": "stop"}
    return web.json_response(completion(MODEL, choice, 12, 3)) if body["model"] == MODEL else None


def test_what_is_typed_into_a_picture_is_read_where_a_guard_is_told_of_it(
    gate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, f"How to {WORD}?")
    asked = shown("Fill in the list.", data_url(png()))
    assert gate({"rules": [{"do": "block"}]}).said(asked) == "You said: Fill in the list. (1 pictures)"

    def make(server: ApiServer) -> dict[str, Any]:
        return {"guards": [open_guard(f"ocr/llama-guard/openai/guard,base_url={server.url},attempts=1")]}

    rules = {"rules": [{"category": "violence", "do": "block"}], "refusal": "No: {category}!"}
    reading = gate(rules, make=make)
    assert reading.said(asked) == "No: violence!"
    assert "You said" in reading.said(shown("Fill in the list.", data_url(png(colour="white"))))


def test_pictures_that_do_not_reach_the_model_are_noticed(gate: Any) -> None:
    one = gate(respond=blind)
    assert one.said("Hello") == "Nice."
    for _ in range(2):
        reply = one.ask(shown("What is it?", data_url(png())))
        assert (reply.status_code, reply.json()["error"]["code"]) == (502, "image_not_seen")
    assert len(one.asked()) == 3, "the words alone, and one look with a picture and without"
    assert gate({"failures": {"image_unseen": "open"}}, respond=blind).said(shown("x", data_url(png()))) == "Nice."
    assert "1 pictures" in gate().said(shown("What is it?", data_url(png())))


def blind_guard(body: dict[str, Any], content: str) -> Any:
    """A guard's server that drops pictures: it counts words alone, and finds every picture safe."""
    choice = {"index": 0, "message": {"role": "assistant", "content": "safe"}, "finish_reason": "stop"}
    return web.json_response(completion("guard", choice, 12, 1)) if body["model"] == "guard" else None


def test_pictures_that_do_not_reach_the_guard_are_not_taken_for_read(gate: Any) -> None:
    one, seen = gate(respond=blind_guard), shown("What is it?", data_url(png()))
    assert one.said("Hello") == "You said: Hello (0 pictures)"
    for _ in range(2):
        reply = one.ask(seen)
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "guard_unavailable")
    assert len(one.asked()) == 1, "of the words alone"
    assert len(one.asked("guard")) == 4, "the words and their answer, and one look with a picture and without"
    opened = gate({"failures": {"guard_down": "open"}}, respond=blind_guard)
    assert opened.said(seen) == "You said: What is it? (1 pictures)"
    assert opened.count("failures", "guard", "open") == 2


def test_without_a_guard_nothing_is_read_and_it_is_counted(gate: Any) -> None:
    bare = gate(guarded=False)
    assert WORD in bare.said(WORD)
    assert bare.count("unread", "request") == bare.count("unread", "answer") == 1
    assert httpx.post(f"{bare.served.url}/moderations", json={"input": "a"}).status_code == 404


def test_an_operators_system_prompt_stays_first(gate: Any) -> None:
    one = gate(settings=GenerationSettings(system="Be safe."))
    one.said([{"role": "system", "content": "Be rude."}, {"role": "user", "content": "Hi"}])
    assert one.asked()[0]["messages"][0] == {"role": "system", "content": "Be safe.\n\nBe rude."}


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("rules: [{category: violence}]", "rules.0.do"),
        ("rules: [{do: stop}]", "rules.0.do"),
        ("rules: [{do: calibrate, of: answer}]", "cannot be calibrated"),
        ("refusal: No.", "names its reason"),
        ("limits: {turns: 0}", "limits.turns"),
        ("failures: {guard_down: ajar}", "failures.guard_down"),
        ("speed: 3", "no such setting"),
    ],
)
def test_what_is_wrong_with_a_policy_is_named(tmp_path: Path, written: str, told: str) -> None:
    (tmp_path / "policy.yaml").write_text(written)
    with pytest.raises(InputError, match=told):
        read_policy(tmp_path / "policy.yaml")


def test_the_example_in_the_code_is_a_policy(tmp_path: Path) -> None:
    from holisafe.serving import policy

    lines = [line[4:] for line in (policy.__doc__ or "").splitlines() if line.startswith("    ")]
    (tmp_path / "policy.yaml").write_text("\n".join(lines))
    read = read_policy(tmp_path / "policy.yaml")
    assert (len(read.rules), read.limits.turns, read.fetch.hosts) == (3, 20, ("images.example.org",))
    assert read_policy(None) == Policy()
