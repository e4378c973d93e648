"""What a completion says, in the forms that servers give it."""

from __future__ import annotations

from typing import Any

import pytest

from holisafe.clients.answer import json_object, read_answer


def completion(message: Any, finish: Any = "stop", **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": message, "finish_reason": finish}], **more}


@pytest.mark.parametrize(
    ("message", "text", "reasoning"),
    [
        ({"content": " Yes. "}, " Yes. ", None),
        ({"content": None}, "", None),
        ({"content": 42}, "42", None),
        ({"content": 0.5}, "0.5", None),
        ({}, "", None),
        ({"content": None, "refusal": "I can't."}, "I can't.", None),
        ({"content": "", "refusal": None}, "", None),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "ab", None),
        ({"content": [{"type": "refusal", "refusal": "No."}]}, "No.", None),
        ({"content": "4", "reasoning_content": " 2+2 "}, "4", "2+2"),
        ({"content": "4", "reasoning": "2+2"}, "4", "2+2"),
        ({"content": "<think>\n2+2\n</think>\n\n4"}, "4", "2+2"),
        ({"content": "2+2</think>4"}, "4", "2+2"),
        ({"content": "<think></think>4"}, "4", None),
        ({"content": "I <think> so"}, "I <think> so", None),
        ({"content": None, "reasoning_content": "hm"}, "", "hm"),
        ({"content": "4", "thinking": "2+2"}, "4", "2+2"),
        ({"content": "4", "reasoning_details": [{"type": "reasoning.text", "text": "2+2"}]}, "4", "2+2"),
        ({"content": "4", "thinking_blocks": [{"type": "thinking", "thinking": "2+2", "signature": "x"}]}, "4", "2+2"),
        ({"content": "<think>b</think>4", "reasoning_content": "a"}, "4", "a\nb"),
        ({"content": [{"type": "text", "text": ""}]}, "", None),
        ({"content": [{"type": "thinking", "thinking": "2+2"}, {"type": "text", "text": "4"}]}, "4", "2+2"),
    ],
)
def test_text_and_reasoning(message: dict[str, Any], text: str, reasoning: str | None) -> None:
    answer = read_answer(completion(message))
    assert answer is not None
    assert (answer.text, answer.reasoning, answer.finish) == (text, reasoning, "stop")


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("stop", "stop"),
        (None, "stop"),
        ("tool_calls", "stop"),
        ("length", "truncated"),
        ("content_filter", "filtered"),
        ("content_filter: SAFETY", "filtered"),
        ("model_length", "truncated"),
        ("abort", "error"),
        ("error", "error"),
        ("banana", "stop"),
    ],
)
def test_how_it_ended(reason: str | None, finish: str) -> None:
    answer = read_answer(completion({"content": "a"}, reason))
    assert answer is not None
    assert (answer.finish, answer.word) == (finish, None if reason in ("stop", None, "tool_calls") else reason)


def test_a_thought_without_an_end_is_an_answer_that_ran_out_of_room() -> None:
    answer = read_answer(completion({"content": "<think>2+"}))
    assert answer is not None
    assert (answer.text, answer.reasoning, answer.finish) == ("", "2+", "truncated")


def test_a_gateway_that_says_less_than_its_provider() -> None:
    body = completion({"content": ""}, "stop")
    body["choices"][0]["native_finish_reason"] = "SAFETY"
    answer = read_answer(body)
    assert answer is not None
    assert (answer.finish, answer.word) == ("filtered", "SAFETY")


def test_of_several_choices_the_one_numbered_0_is_read() -> None:
    choices = [{"index": at, "message": {"content": str(at)}, "finish_reason": "stop"} for at in (1, 0)]
    answer = read_answer({"choices": choices})
    assert answer is not None
    assert answer.text == "0"


def test_a_block_may_have_no_message() -> None:
    answer = read_answer({"choices": [{"index": 0, "finish_reason": "content_filter"}]})
    assert answer is not None
    assert (answer.text, answer.finish) == ("", "filtered")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"choices": []},
        {"choices": None},
        {"choices": [None]},
        {"choices": [{"message": "text"}]},
        {"choices": [{"text": "old"}]},
        {"choices": {"a": 1}},
    ],
)
def test_no_answer(body: dict[str, Any]) -> None:
    assert read_answer(body) is None


def test_counts() -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 7, "completion_tokens_details": {"reasoning_tokens": 5}}
    answer = read_answer(completion({"content": "a"}, usage=usage))
    assert answer is not None
    assert answer.usage == {"input_tokens": 10, "output_tokens": 7, "reasoning_tokens": 5}
    for odd in (
        None,
        [],
        {"prompt_tokens": None, "completion_tokens": "7", "completion_tokens_details": []},
        {"prompt_tokens": -5, "completion_tokens": 10**400},
        {"prompt_tokens": True, "completion_tokens": [7]},
    ):
        answer = read_answer(completion({"content": "a"}, usage=odd))
        assert answer is not None
        assert answer.usage == {}


def test_json_objects_alone_are_read() -> None:
    assert json_object(b'{"a": 1}') == {"a": 1}
    assert json_object(b'[{"a": 1}]') == {"a": 1}, "as some servers wrap it"
    for other in (b"", b"[1]", b'{"a": ', b"<html>", b"\xff", b"[" * 100_000):
        assert json_object(other) is None
