"""What errors say, from the bodies that real providers send and users reported; and what only sounds like it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from holisafe.clients.body import OPTIONAL
from holisafe.clients.error_words import SPOKEN_OF_AS
from holisafe.clients.faults import BlockedError, HopelessError, NotTakenError, RetryableError, fault


def of(status: int, body: Any, sent: frozenset[str] = OPTIONAL) -> Exception:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return fault(status, {}, content, sent)


def said(message: Any, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


REFUSED = {
    "max_tokens": (
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        "max_tokens is not supported by this model",
        "Unsupported parameter: max_tokens",
    ),
    "seed": (
        "Unrecognized request argument supplied: seed",
        "seed is not supported",
        "`seed` is not supported",
        "Unknown parameter: 'seed'.",
        "property 'seed' is unsupported",
        'json: unknown field "seed"',
        "Additional properties are not allowed ('seed' was unexpected)",
        "seed: Extra inputs are not permitted",
        "body -> seed: extra fields not permitted",
        "The parameter `seed` is not supported by this model",
        'Invalid JSON payload received. Unknown name "seed": Cannot find field.',
        "litellm.UnsupportedParamsError: azure does not support parameters: ['seed']",
        "Argument not supported on this model: seed",
        "The model does not support the 'seed' parameter",
    ),
    "response_format": (
        "This response_format type is unavailable now",
        "This model does not support response_format",
        "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.",
        "json_schema is not supported",
    ),
}


@pytest.mark.parametrize(("name", "message"), [(name, message) for name in REFUSED for message in REFUSED[name]])
def test_a_parameter_that_is_named_as_the_refused_one(name: str, message: str) -> None:
    found = of(400, said(message))
    assert isinstance(found, NotTakenError)
    assert found.name == name
    assert not isinstance(of(400, said(message), frozenset()), NotTakenError)


@pytest.mark.parametrize(
    "message",
    [
        "Invalid prompt: how to plant a seed",
        "The word seed in your prompt is bad",
        "Content about cannabis seed is not allowed",
        "unsupported image of seed packets",
        "Invalid input: seed packets are too small",
        "max_tokens is too large: 99999",
        "The image is too small; seed 5",
        "Could not seed the cache",
        "unexpected error (seed=0)",
        "seed oil",
        "Your request (seed 7, response_format text, max_tokens 512) could not be read",
    ],
)
def test_a_400_that_only_holds_the_word(message: str) -> None:
    assert isinstance(of(400, said(message)), HopelessError)


def test_a_limit_that_is_too_large_is_no_parameter_that_is_refused() -> None:
    """vLLM names both parameters then; a call under the other name would be refused as well."""
    said = "'max_tokens' or 'max_completion_tokens' is too large: 32768. This model's context length is 32768"
    found = of(400, {"message": said, "type": "BadRequestError", "param": None, "code": 400})
    assert isinstance(found, HopelessError)
    assert said in str(found)


def test_every_parameter_that_a_call_can_do_without_has_its_words() -> None:
    assert set(SPOKEN_OF_AS) == OPTIONAL


def test_what_is_never_dropped_says_how_to_leave_it_out() -> None:
    message = "Unsupported value: 'temperature' does not support 0 with this model."
    found = of(400, said(message, param="temperature"))
    assert str(found) == f"400 Bad Request: {message} (temperature=none leaves it out)"


CHINESE = "系统检测到输入或生成内容可能包含不安全或敏感内容，请您避免输入易产生敏感内容的提示语"
BLOCKS: dict[str, tuple[int, Any]] = {
    "Azure": (400, said("The response was filtered", code="content_filter", param="prompt")),
    "Azure, inside": (400, said("no", innererror={"code": "ResponsibleAIPolicyViolation"})),
    "LiteLLM": (400, said("litellm.BadRequestError: litellm.ContentPolicyViolationError: AzureException", code="400")),
    "LiteLLM's guardrail": (400, said("Violated guardrail policy")),
    "OpenAI": (400, said("Invalid prompt: flagged as potentially violating our usage policy", code="invalid_prompt")),
    "OpenAI, images": (400, said("Your request was rejected by our safety system", code="moderation_blocked")),
    "Anthropic": (400, said("Output blocked by content filtering policy", type="invalid_request_error")),
    "xAI": (403, {"code": "no permission", "error": "Content violates usage guidelines. API key ID: y, Model: grok"}),
    "DashScope": (
        400,
        said(
            "<400> InternalError.Algo.DataInspectionFailed: Input data may contain inappropriate content.",
            code="data_inspection_failed",
        ),
    ),
    "DashScope's own": (400, {"code": "DataInspectionFailed", "message": "Input data may ...", "request_id": "1"}),
    "Zhipu": (400, said(CHINESE, code="1301")),
    "Zhipu in a success": (200, said("x", code="1301")),
    "Volcengine": (400, said("no", code="InputTextSensitiveContentDetected")),
    "Moonshot": (400, said("The request was rejected because it was considered high risk", type="content_filter")),
    "MiniMax": (200, {"base_resp": {"status_code": 1027, "status_msg": "output new_sensitive"}, "choices": None}),
    "StepFun": (451, said("The content you provided or machine outputted is blocked.", type="censorship_blocked")),
    "Bedrock": (400, {"message": "Guardrail intervened: input blocked"}),
    "Gemini": (200, {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {}}),
    "Gemini, with no choices": (200, {"prompt_feedback": {"blockReason": "OTHER"}, "choices": []}),
    "Gemini, in a list": (400, [said("The prompt was blocked due to safety", status="INVALID_ARGUMENT", code=400)]),
    "OpenRouter": (403, said("requires moderation", code=403, metadata={"reasons": ["x"], "flagged_input": "..."})),
    "OpenRouter, in a success": (200, said("requires moderation", code=403, metadata={"flagged_input": "..."})),
    "OpenRouter's upstream": (400, said("Provider's error", metadata={"raw": '{"error":{"code":"content_filter"}}'})),
    "OpenRouter's choice": (200, {"choices": [{"error": {"code": 403, "message": "Flagged by our moderation"}}]}),
    "Cloudflare": (400, said("Prompt blocked due to security configurations", code=2016)),
}  # fmt: skip


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_by_a_content_filter_is_its_own_outcome(name: str) -> None:
    assert isinstance(of(*BLOCKS[name]), BlockedError)


NO_BLOCKS: dict[str, tuple[int, Any]] = {
    "an account": (403, said("Your account was suspended for violating our usage policies")),
    "a model's name": (404, said("The model `omni-moderation` does not exist")),
    "a rate": (429, said("Rate limit policy violated")),
    "a page": (403, b"<html>Sorry, you have been blocked by a content filter</html>"),
    "a length": (400, said("Invalid prompt: too long", code="invalid_prompt")),
    "an address": (403, said("Request blocked: your IP is not allowed")),
    "an overload": (503, said("request blocked by a filter upstream")),
    "an echo": (400, {"error": {"message": "Bad", "input": "how do I get round the content filter?"}}),
    "an image": (400, said("Invalid image: unknown scheme")),
}


@pytest.mark.parametrize("name", NO_BLOCKS)
def test_what_only_sounds_like_a_block(name: str) -> None:
    assert not isinstance(of(*NO_BLOCKS[name]), BlockedError)


def nested(depth: int) -> bytes:
    return b'{"error":' * depth + b"1" + b"}" * depth


@pytest.mark.parametrize("status", [200, 400, 429, 500])
@pytest.mark.parametrize(
    "body",
    [
        {"error": [1, 2]},
        {"error": []},
        {"error": {"code": ["a"], "type": {"b": 1}, "message": {"x": [1]}, "param": [2]}},
        {"error": {"code": 10**400, "message": None, "innererror": [1], "metadata": [{}]}},
        {"error": {"code": True}},
        {"error": 10**400},
        {"error": {"message": "\ud800"}},
        {"detail": [{"loc": ["body", {"a": 1}], "msg": "bad"}, 5, {"loc": 7}]},
        {"choices": [{"error": "boom"}]},
        {"choices": {"error": 5}},
        {},
        [],
        [[[]]],
        b"",
        b"\xff" * 10,
        nested(400),
        nested(100_000),
        b"9" * 10_000,
    ],
)
def test_whatever_an_error_is_there_is_one_outcome(status: int, body: Any) -> None:
    found = of(status, body)
    assert isinstance(found, RetryableError if status != 400 else HopelessError)
    assert str(found)


def test_reasons_are_kept() -> None:
    assert str(of(200, said("upstream overloaded", code=502))) == "502 Bad Gateway: upstream overloaded"
    assert str(of(200, {"choices": [{"error": {"message": "boom"}}]})) == "boom"
    assert str(of(200, {"choices": []})) == "the answer holds no choices"
    assert str(of(400, [said("bad")])) == "400 Bad Request: bad"
    assert str(of(422, {"detail": [{"loc": ["body", "top"], "msg": "Extra"}]})) == "422 Unprocessable Entity: Extra"
    assert str(of(400, {"base_resp": {"status_msg": "no funds"}})) == "400 Bad Request: no funds"
