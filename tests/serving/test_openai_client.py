"""The `openai` package as a client of the gateway: chat, streams, moderations, errors, pictures, limits, going away."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from api_server import ApiServer
from serving.served import MODEL, WORD, Served, data_url, gateway, plays, png, shown, streaming, until

ANSWER = "The picture shows a red square. " * 20


def client(served: Served, key: str = "none", **more: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=served.url, api_key=key, max_retries=0, timeout=20, **more)


def ask(of: openai.OpenAI, text: str = "Hello", **more: Any) -> Any:
    more.setdefault("messages", [{"role": "user", "content": text}])
    return of.chat.completions.create(model=MODEL, **more)


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    with ApiServer(answer=plays()) as running:
        yield running


@pytest.fixture(scope="module")
def served(server: ApiServer) -> Iterator[Served]:
    with Served(gateway(server)) as running:
        yield running


def test_an_answer_comes_as_from_the_model_itself(server: ApiServer, served: Served) -> None:
    through = ask(client(served), "What is red?", temperature=0.5, max_tokens=7, seed=3)
    direct = ask(openai.OpenAI(base_url=server.url, api_key="none"), "What is red?")
    assert (
        through.choices[0].message.content == direct.choices[0].message.content == "You said: What is red? (0 pictures)"
    )
    assert (through.model, through.choices[0].finish_reason) == (MODEL, "stop")
    assert through.usage.total_tokens == through.usage.prompt_tokens + through.usage.completion_tokens > 0
    sent = next(b for b in server.stats.bodies if b["model"] == MODEL and b.get("max_tokens") == 7)
    assert (sent["temperature"], sent["seed"]) == (0.5, 3)


def test_turns_and_pictures_reach_the_model_as_they_were_sent(server: ApiServer, served: Served) -> None:
    url = data_url(png())
    messages = [
        {"role": "system", "content": "Be brief."},
        *shown("First", url),
        {"role": "assistant", "content": "Yes."},
        *shown("Second", url, data_url(png(colour="blue"))),
    ]
    said = ask(client(served), messages=messages).choices[0].message.content
    assert "Second (3 pictures)" in said
    sent = next(b for b in reversed(server.stats.bodies) if b["model"] == MODEL and len(b["messages"]) == 4)
    assert [turn["role"] for turn in sent["messages"]] == ["system", "user", "assistant", "user"]
    assert sent["messages"][1]["content"][0]["image_url"]["url"] == url


def test_what_the_guard_flags_is_refused_with_its_reason_and_never_asked(server: ApiServer, served: Served) -> None:
    before = sum(body["model"] == MODEL for body in server.stats.bodies)
    done = ask(client(served), f"How do I {WORD}?")
    assert done.choices[0].finish_reason == "content_filter"
    assert "Violent Crimes" in done.choices[0].message.content == done.choices[0].message.refusal
    assert sum(body["model"] == MODEL for body in server.stats.bodies) == before


def test_the_moderation_slot_is_filled_for_who_asks_for_it(served: Served) -> None:
    slot = {"model": "any", "policy": {"input": {"mode": "score"}, "output": {"mode": "block"}}}
    done = ask(client(served), "Hello", moderation=slot)
    assert done.moderation.input.type == done.moderation.output.type == "moderation_results"
    assert not done.moderation.output.results[0].flagged
    flagged = ask(client(served), WORD, moderation=slot)
    entry = flagged.moderation.input.results[0]
    assert entry.flagged
    assert (entry.categories["S1"], entry.categories["holisafe/violence"]) == (True, True)
    assert entry.categories["violence"] is False, "violent crimes are no category of OpenAI's"
    assert flagged.moderation.output.type == "error"
    assert ask(client(served), "Hello").moderation is None


def test_a_stream_is_the_answer_in_pieces() -> None:
    pieces = [ANSWER[at : at + 7] for at in range(0, len(ANSWER), 7)]
    with ApiServer(answer=plays(), respond=streaming(pieces)) as server, Served(gateway(server)) as served:
        chunks = list(ask(client(served), stream=True, stream_options={"include_usage": True}))
    said = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(said) == ANSWER
    assert len([one for one in said if one]) > 3
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == ["stop"]
    assert chunks[-1].usage is not None


@pytest.mark.parametrize("at", [0, 1, 40, 300])
def test_what_is_flagged_in_a_stream_never_leaves(at: int) -> None:
    text = (ANSWER * 3)[:at] + WORD + ANSWER
    pieces = [text[n : n + 5] for n in range(0, len(text), 5)]
    with ApiServer(answer=plays(), respond=streaming(pieces)) as server, Served(gateway(server)) as served:
        chunks = list(ask(client(served), stream=True))
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert WORD not in said
    assert not any(said.endswith(WORD[:n]) for n in range(1, len(WORD))), "nor the beginning of it"
    assert chunks[-1].choices[0].finish_reason == "content_filter"


def test_a_stream_that_breaks_off_is_an_error_and_not_an_answer() -> None:
    def cut(body: dict[str, Any], content: str) -> Any:
        found = streaming([ANSWER])(body, content)
        if found is None:
            return None

        async def write(request: Any) -> Any:
            from aiohttp import web

            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await response.prepare(request)
            await response.write(b'data: {"choices":[{"index":0,"delta":{"content":"' + ANSWER.encode() + b'"}}]}\n\n')
            request.transport.abort()
            return response

        return write

    with ApiServer(answer=plays(), respond=cut) as server, Served(gateway(server)) as served:
        chunks = ask(client(served), stream=True)
        with pytest.raises(openai.APIError, match="broke off"):
            list(chunks)


def test_moderations_of_text_and_pictures(served: Served) -> None:
    of = client(served)
    results = of.moderations.create(input=["Hello", f"a {WORD}"], model="any").results
    assert [one.flagged for one in results] == [False, True]
    assert results[0].categories.self_harm is False
    assert results[0].category_applied_input_types.sexual_minors == []
    parts = [{"type": "text", "text": WORD}, {"type": "image_url", "image_url": {"url": data_url(png())}}]
    assert of.moderations.create(input=parts).results[0].flagged


@pytest.mark.parametrize(
    ("more", "kind", "code"),
    [
        ({"model": "other"}, openai.NotFoundError, "model_not_found"),
        ({"messages": []}, openai.BadRequestError, "invalid_value"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, openai.BadRequestError, "unsupported_parameter"),
        ({"n": 2}, openai.BadRequestError, "unsupported_parameter"),
        ({"messages": shown("Hi", "data:image/png;base64,AAAA")}, openai.BadRequestError, "invalid_image"),
        ({"messages": shown("Hi", "https://example.org/a.png")}, openai.BadRequestError, "url_not_allowed"),
    ],
)
def test_errors_are_what_the_package_knows(served: Served, more: dict[str, Any], kind: Any, code: str) -> None:
    given = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], **more}
    with pytest.raises(kind) as error:
        client(served).chat.completions.create(**given)
    assert error.value.code == code


def test_models_are_listed_and_keys_are_needed(server: ApiServer) -> None:
    key = "a-key-that-nobody-guesses"
    with Served(gateway(server), [key]) as served:
        assert [model.id for model in client(served, key).models.list()] == [MODEL]
        assert client(served, key).models.retrieve(MODEL).id == MODEL
        for call in (
            client(served).models.list,
            lambda: ask(client(served)),
            lambda: client(served).moderations.create(input="a"),
        ):
            with pytest.raises(openai.AuthenticationError):
                call()


def test_too_many_at_once_are_told_to_wait() -> None:
    limits = {"limits": {"in_flight": 1, "waiting": 0}}
    with ApiServer(answer=plays(), delay=1) as server, Served(gateway(server, limits, guarded=False)) as served:
        first = threading.Thread(target=ask, args=(client(served),))
        first.start()
        until(lambda: server.stats.in_flight == 1)
        with pytest.raises(openai.RateLimitError) as error:
            ask(client(served))
        first.join()
        assert error.value.response.headers["retry-after"] == "1"
        assert ask(client(served)).choices[0].message.content


def test_who_goes_away_is_not_answered_any_more() -> None:
    with ApiServer(answer=plays(), delay=30) as server, Served(gateway(server, guarded=False)) as served:
        with pytest.raises(openai.APITimeoutError):
            ask(client(served).with_options(timeout=0.2))
        until(lambda: served.gateway.room.inside == 0)
