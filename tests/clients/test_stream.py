"""Answers that come in pieces, as servers send them: llama.cpp, vLLM, OpenRouter, DashScope and Mistral."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import web

from api_server import ApiServer
from clients.test_chat import ask, client, requests
from holisafe.clients.answer import json_object, read_answer
from holisafe.clients.faults import RetryableError
from holisafe.clients.stream import in_one_piece


def event(delta: dict[str, Any] | None = None, **others: Any) -> str:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": None}]
    return f"data: {json.dumps({'object': 'chat.completion.chunk', 'choices': choices, **others}, ensure_ascii=False)}"


def end(word: str) -> str:
    return f'data: {{"choices":[{{"index":0,"delta":{{}},"finish_reason":"{word}"}}]}}'


DONE = "data: [DONE]"
USED = event(usage={"prompt_tokens": 7, "completion_tokens": 3})


def read(*lines: str, apart: str = "\n\n") -> Any:
    return read_answer(json_object(in_one_piece(apart.join(lines).encode())) or {})


@pytest.mark.parametrize("apart", ["\n\n", "\r\n\r\n", "\n", "\r\n: keep-alive\r\n\r\n"])
def test_pieces_are_one_answer(apart: str) -> None:
    pieces = [
        event({"role": "assistant", "content": None}),
        event({"content": "Grüß"}),
        event({"content": " dich 你好"}),
    ]
    answer = read(": OPENROUTER PROCESSING", *pieces, end("length"), USED, DONE, apart=apart)
    assert (answer.text, answer.finish, answer.reasoning) == ("Grüß dich 你好", "truncated", None)
    assert answer.usage == {"input_tokens": 7, "output_tokens": 3}


def test_a_character_that_ends_lines_elsewhere_is_a_part_of_the_answer() -> None:
    assert read(event({"content": "a\u2028b\x85c"}), end("stop")).text == "a\u2028b\x85c"


def test_thoughts_in_pieces_are_one_thought() -> None:
    apart = read(
        event({"reasoning_content": "I should"}),
        event({"reasoning_content": " decline."}),
        event({"content": "No."}),
        DONE,
    )
    assert (apart.text, apart.reasoning) == ("No.", "I should decline.")
    parts = [[{"type": "thinking", "thinking": [{"type": "text", "text": word}]}] for word in ("I should", " decline.")]
    mistral = read(
        *(event({"content": part}) for part in parts), event({"content": "N"}), event({"content": "o."}), DONE
    )
    assert (mistral.text, mistral.reasoning) == ("No.", "I should decline.")
    marked = read(event({"content": "<thi"}), event({"content": "nk>Hm.</think>No."}), end("stop"))
    assert (marked.text, marked.reasoning) == ("No.", "Hm.")


def test_a_second_choice_is_not_mixed_in() -> None:
    other = 'data: {"choices":[{"index":1,"delta":{"content":"X"},"finish_reason":"length"}]}'
    assert read(event({"content": "a"}), other, event({"content": "b"}), end("stop"))[:3] == ("ab", None, "stop")


def test_the_only_choice_may_have_any_number() -> None:
    """LiteLLM once streamed all of it as choice 1."""
    first = 'data: {"choices":[{"index":1,"delta":{"content":"a"}}]}'
    last = 'data: {"choices":[{"index":1,"delta":{"content":"b"},"finish_reason":"length"}]}'
    assert read(first, last)[:3] == ("ab", None, "truncated")
    unnumbered = 'data: {"choices":[{"delta":{"content":"b"},"finish_reason":"stop"}]}'
    assert read(event({"content": "a"}), unnumbered).text == "ab"


def test_googles_own_word_for_the_end_counts_beside_an_empty_one() -> None:
    last = 'data: {"choices":[{"index":0,"delta":{"content":"b"},"finish_reason":null,"finishReason":"MAX_TOKENS"}]}'
    assert read(event({"content": "a"}), last)[:3] == ("ab", None, "truncated")


def test_a_last_message_that_is_whole_counts_where_nothing_came_before() -> None:
    assert read('data:{"choices":[{"message":{"content":"all"},"finish_reason":"stop"}]}').text == "all"


@pytest.mark.parametrize(
    "lines", [(event({"content": "half"}),), (event({"content": "half"}), 'data: {"choi'), (": ping",)]
)
def test_a_stream_that_ends_before_the_answer_does_was_cut_short(lines: tuple[str, ...]) -> None:
    with pytest.raises(RetryableError, match="cut short"):
        read(*lines)


def test_what_is_no_stream_stays_as_it_is() -> None:
    for content in (b'{"data": 1}', b"", b"<html>data: x</html>", b'[{"a": "data:"}]'):
        assert in_one_piece(content) == content


def stream(*lines: str) -> Any:
    return lambda *_: web.Response(body="\n\n".join(lines).encode(), content_type="text/event-stream")


def test_an_error_in_the_midst_of_a_stream_is_an_error_with_its_reason() -> None:
    broken = 'data: {"error": {"code": 500, "message": "the engine died"}}'
    with ApiServer(respond=stream(event({"content": "half"}), broken)) as server:
        (response,) = ask(client(server, attempts=2), requests(1)).values()
    assert (response.finish, response.text) == ("error", "")
    assert "the engine died" in str(response.error)


@pytest.mark.parametrize("asked", [False, True])
def test_a_stream_is_read_whether_it_was_asked_for_or_not(asked: bool) -> None:
    with ApiServer(respond=stream(event({"content": "yes"}), end("stop"), USED, DONE)) as server:
        (response,) = ask(client(server, stream=asked), requests(1)).values()
        (sent,), (headers,) = server.stats.bodies, server.stats.headers
    assert (response.text, response.finish, response.usage["output_tokens"]) == ("yes", "stop", 3)
    assert sent.get("stream") is (True if asked else None)
    assert sent.get("stream_options") == ({"include_usage": True} if asked else None)
    assert headers["Accept"] == ("text/event-stream" if asked else "application/json")


def test_a_server_that_counts_no_streams_is_asked_without() -> None:
    def respond(body: dict[str, Any], _: str) -> web.Response:
        if "stream_options" in body:
            return web.json_response({"message": "Unknown parameter: 'stream_options'"}, status=422)
        return stream(event({"content": "yes"}), end("stop"))()

    with ApiServer(respond=respond) as server:
        assert [answer.text for answer in ask(client(server, stream=True), requests(3)).values()] == ["yes"] * 3
