"""What servers reply -> what is stored: one row for each kind that providers send, asked of a real server."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from aiohttp import web

from api_server import ApiServer
from clients.test_chat import ask, client, requests

THOUGHT, SAID = "I cannot help with this.", "Here is how you do it."


class Reply(NamedTuple):
    """A body with its status, and what is right: how it ended, the text, and a part of the error."""

    body: Any
    finish: str
    text: str | None = None
    error: str | None = None
    status: int = 200


def said(content: Any, finish: Any = "stop", **choice: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": content}
    return {"choices": [{"index": 0, "message": message, "finish_reason": finish, **choice}]}


def failed(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


PARTS = [{"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]}, {"type": "text", "text": SAID}]
REPLIES = {
    "aborted": Reply(said("Here is ho", "abort"), "error", "", "broke off (finish_reason abort)"),
    "aborted while it spoke of filters": Reply(said("My content filter flagged", "abort"), "error", "", "broke off"),
    "a server's error as its model's words": Reply(
        {**said("Generation failed: no pixel_values", "error"), "usage": {"prompt_tokens": 0, "completion_tokens": 0}},
        "error",
        "",
        "Generation failed: no pixel_values",
    ),
    "cancelled": Reply(said("Here is ho", "cancelled"), "error", ""),
    "no resources": Reply(said("Here is ho", "insufficient_system_resource"), "error", ""),
    "a choice's own error": Reply(
        said("", "error", error={"code": 502, "message": "upstream overloaded"}), "error", "", "upstream overloaded"
    ),
    "a choice's own error and no message": Reply(
        {"choices": [{"error": {"code": 502, "message": "upstream"}}]}, "error", "", "502 Bad Gateway: upstream"
    ),
    "no room": Reply(said("Here is ho", "model_length"), "truncated", "Here is ho"),
    "no room, Google": Reply(said("Here is ho", "MAX_TOKENS"), "truncated", "Here is ho"),
    "no room, in Google's own field": Reply(
        said("Here is ho", None, finishReason="MAX_TOKENS"), "truncated", "Here is ho"
    ),
    "no room in the thought": Reply(said("<think>Hm", "length"), "truncated", ""),
    "no room in the thought, unsaid": Reply(said("<think>Hm", "stop"), "truncated", ""),
    "blocked, Zhipu": Reply(said("", "sensitive"), "filtered", ""),
    "blocked, Google": Reply(said(None, "SAFETY"), "filtered", "", "SAFETY"),
    "blocked, Google's gateway": Reply(said(None, "content_filter: PROHIBITED_CONTENT"), "filtered", ""),
    "blocked, Bedrock": Reply(said("Sorry, blocked.", "guardrail_intervened"), "filtered"),
    "blocked, Anthropic": Reply(said("Sorry.", "refusal"), "filtered"),
    "blocked, a word inside": Reply(said("", "stop", native_finish_reason="PROHIBITED_CONTENT"), "filtered"),
    "blocked, no message": Reply({"choices": [{"finish_reason": "content_filter"}]}, "filtered", ""),
    "blocked, no choices": Reply({"promptFeedback": {"blockReason": "SAFETY"}}, "filtered", "", "SAFETY"),
    "blocked, LiteLLM": Reply(failed("litellm.ContentPolicyViolationError: no"), "filtered", "", status=400),
    "blocked, xAI": Reply({"code": "x", "error": "Content violates usage guidelines."}, "filtered", status=403),
    "blocked, in a list": Reply([failed("blocked", code="content_filter")], "filtered", status=400),
    "blocked, in a success": Reply(failed("敏感内容", code="1301"), "filtered"),
    "an error in a list": Reply([failed("The model is gone")], "error", "", "404 Not Found: The model is gone", 404),
    "an error in a success": Reply(failed("try again", code=503), "error", "", "503 Service Unavailable: try again"),
    "a refused parameter": Reply(
        failed("Unsupported value", param="temperature"), "error", "", "temperature=none leaves it out", 400
    ),
    "an empty part": Reply(said([{"type": "text", "text": ""}]), "stop", ""),
    "no content": Reply(said(None), "stop", ""),
    "an unknown word": Reply(said(SAID, "banana"), "stop", SAID),
    "Kimi": Reply(said(f"◁think▷{THOUGHT}◁/think▷{SAID}"), "stop", SAID),
    "thinking": Reply(said(f"<thinking>{THOUGHT}</thinking>\n\n{SAID}"), "stop", SAID),
    "harmony": Reply(
        said(f"<|channel|>analysis<|message|>{THOUGHT}<|end|><|start|>assistant<|channel|>final<|message|>{SAID}"),
        "stop",
        SAID,
    ),
    "several": Reply(said(f"<think>Fine.</think>Hm.<think>{THOUGHT}</think>{SAID}"), "stop", f"Hm.\n{SAID}"),
    "GLM": Reply(said(f"<think>{THOUGHT}</think><answer><|begin_of_box|>{SAID}<|end_of_box|></answer>"), "stop", SAID),
    "parts": Reply(said(PARTS), "stop", SAID),
}


@pytest.mark.parametrize("kind", REPLIES)
def test_a_reply(kind: str) -> None:
    reply = REPLIES[kind]
    with ApiServer(respond=lambda *_: web.json_response(reply.body, status=reply.status)) as server:
        (response,) = ask(client(server, attempts=2), requests(1)).values()
        asked = sum(server.stats.attempts.values())
    assert response.finish == reply.finish
    assert reply.text in (None, response.text)
    assert reply.error is None or reply.error in str(response.error)
    assert response.finish != "filtered" or asked == 1, "a block is not asked again"
    if THOUGHT in str(reply.body):
        assert THOUGHT in str(response.reasoning)


def test_blocks_never_stop_a_run() -> None:
    for kind in ("blocked, LiteLLM", "blocked, xAI", "blocked, in a success"):
        reply = REPLIES[kind]
        with ApiServer(respond=lambda *_, r=reply: web.json_response(r.body, status=r.status)) as server:
            found = ask(client(server), requests(100))
            assert sum(server.stats.attempts.values()) == 100
        assert {response.finish for response in found.values()} == {"filtered"}
