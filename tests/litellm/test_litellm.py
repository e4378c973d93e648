"""LiteLLM as a client of the gateway: chat, streams, pictures, moderations, errors, 429, going away.

It runs in an environment of its own (`make test-litellm`), once, and tells what it saw.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from api_server import ApiServer
from serving.served import WORD, Served, data_url, gateway, plays, png, streaming, until
from serving.test_leaving import Waiting

HERE = Path(__file__).parent
PYTHON = HERE.parents[1] / ".venv-litellm" / "bin" / "python"


@pytest.fixture(scope="module")
def told() -> Iterator[dict[str, Any]]:
    """What LiteLLM says of gateways of several kinds, and what these saw."""
    if not PYTHON.exists():
        pytest.fail(f"{PYTHON} is missing: make test-litellm sets it up")
    waiting, words = Waiting(), streaming([f"word {number} " for number in range(60)])

    def gone(body: dict[str, Any], content: str) -> web.Response:
        return web.json_response({"error": {"message": "gone"}}, status=500)

    with ExitStack() as stack:

        def served(respond: Any = None, policy: dict[str, Any] | None = None, keys: tuple[str, ...] = ()) -> Served:
            server = stack.enter_context(ApiServer(answer=plays(), respond=respond))
            return stack.enter_context(Served(gateway(server, policy, guarded=respond is not waiting), keys))

        endless = served(waiting)
        given = {
            "url": served(words).url,
            "endless": endless.url,
            "narrow": served(waiting, {"limits": {"in_flight": 1, "waiting": 0}}).url,
            "locked": served(keys=("a-key-that-nobody-guesses",)).url,
            "down": served(gone).url,
            "picture": data_url(png()),
            "word": WORD,
        }
        command = [PYTHON, HERE / "asks.py", json.dumps(given)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        ended = endless.gateway.counters.ended.labels("cancelled")._value
        until(lambda: ended.get() == 2 and waiting.cut == waiting.begun)
        yield {**json.loads(done.stdout.splitlines()[-1]), "cancelled": ended.get()}


def test_answers_and_pictures(told: dict[str, Any]) -> None:
    assert (told["chat"]["text"], told["chat"]["finish"]) == ("You said: Hello (0 pictures)", "stop")
    assert told["chat"]["tokens"] > 0
    assert told["picture"]["text"] == "You said: Hello (1 pictures)"


def test_refusals(told: dict[str, Any]) -> None:
    for kind in ("refused", "refused stream"):
        assert told[kind]["finish"] == "content_filter"
        assert "Violent Crimes" in told[kind]["text"]


def test_streams(told: dict[str, Any]) -> None:
    assert told["stream"]["text"].split() == " ".join(f"word {number}" for number in range(60)).split()
    assert told["stream"]["pieces"] > 3
    assert told["stream"]["finish"] == "stop"


def test_moderations(told: dict[str, Any]) -> None:
    assert told["moderations"] == [{"flagged": False, "S1": None}, {"flagged": True, "S1": ["text"]}]


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("no such model", ["NotFoundError", 404]),
        ("no picture", ["BadRequestError", 400]),
        ("not carried out", ["BadRequestError", 400]),
        ("no key", ["AuthenticationError", 401]),
        ("down", ["ServiceUnavailableError", 503]),
        ("too many", ["RateLimitError", 429]),
    ],
)
def test_errors_are_what_it_knows(told: dict[str, Any], what: str, error: list[Any]) -> None:
    assert told[what] == error


def test_going_away(told: dict[str, Any]) -> None:
    assert told["left"] == ["cancelled", "cancelled"]
    assert told["cancelled"] == 2
