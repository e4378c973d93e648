"""What failed calls mean, from the bodies that real servers send."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from holisafe.clients.body import OPTIONAL
from holisafe.clients.faults import HopelessError, RetryableError, asked_wait, backoff, fault


def of(status: int, body: Any = None, headers: dict[str, str] | None = None, sent: frozenset[str] = OPTIONAL) -> Any:
    content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return fault(status, headers or {}, content, sent)


def error(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None, **more}}


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 520, 529])
def test_what_may_pass_is_tried_again(status: int) -> None:
    found = of(status, "<html>Bad gateway</html>")
    assert isinstance(found, RetryableError)
    assert found.overloaded == (status in (429, 503, 529))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413, 422])
def test_what_will_not_pass_is_not(status: int) -> None:
    found = of(status, error("No such\nmodel"))
    assert isinstance(found, HopelessError)
    assert str(found).startswith(f"{status} ")
    assert "\n" not in str(found)


@pytest.mark.parametrize(
    "message",
    [
        "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj",  # llama.cpp
        "failed to process inputs: this model is missing data required for image input",  # Ollama
        "Model does not support images. Please use a model that does.",  # LM Studio
        "the request exceeds the available context size. try increasing the context size or enable context shift",
        "The input (9001 tokens) is longer than the model's context length (4096 tokens).",  # SGLang
    ],
)
def test_what_a_model_cannot_do_is_not_asked_again_though_it_is_called_a_fault_of_the_server(message: str) -> None:
    found = of(500, {"error": {"code": 500, "message": message, "type": "server_error"}})
    assert isinstance(found, HopelessError)
    assert message in str(found)
    assert not found.every, "the next sample may have no picture, or a shorter text"
    assert isinstance(of(500, error("the image server is not available, context lost")), RetryableError)


def test_a_model_that_only_streams_is_asked_so_by_an_option() -> None:
    dashscope = error("This model only support stream mode, please enable the stream parameter to access the model. ")
    assert str(of(400, dashscope)).endswith("(stream=true does so)")


def test_a_used_up_quota_is_not_asked_again_but_a_rate_limit_is() -> None:
    for more in ({"code": "insufficient_quota"}, {"type": "insufficient_quota"}):
        assert isinstance(of(429, error("You exceeded your current quota", **more)), HopelessError)
    assert isinstance(of(429, error("Rate limit reached", code="rate_limit_exceeded")), RetryableError)


def test_an_error_about_the_key_repeats_nothing() -> None:
    assert "sk-" not in str(of(401, error("Incorrect API key provided: sk-abc")))


def test_waits_in_seconds_milliseconds_and_dates() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert asked_wait({"retry-after": "1.5"}) == 1.5
    assert asked_wait({"retry-after": "-3"}) == 0
    assert asked_wait({"retry-after": "20", "retry-after-ms": "250"}) == 0.25
    assert 28 < (asked_wait({"retry-after": later}) or 0) <= 30
    assert asked_wait({"retry-after": "Fri, 01 Jan 2010 00:00:00 GMT"}) == 0
    for text in ("soon", "", "nan"):
        assert asked_wait({"retry-after": text}) is None
    assert of(429, "", {"retry-after": "7"}).wait == 7
    assert isinstance(of(429, "", {"retry-after": "86400"}), HopelessError), "nobody waits for a day"
    assert isinstance(of(429, "", {"retry-after": "inf"}), HopelessError)


def test_pauses_double_vary_and_stay_below_a_minute() -> None:
    for attempt in range(1, 12):
        drawn = [backoff(attempt, 0.5) for _ in range(200)]
        whole = min(60, 0.5 * 2 ** (attempt - 1))
        assert whole / 2 <= min(drawn) < 0.6 * whole
        assert 0.9 * whole < max(drawn) <= whole
