"""A request's bytes are the JSON that the API documents, pictures and all."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from dataclasses import replace
from functools import partial
from typing import Any

from PIL import Image

from holisafe.clients.body import body
from holisafe.clients.options import ChatOptions
from holisafe.clients.pictures import EncodedPictures, Encoding
from holisafe.records import GenerationSettings, Message, Picture, Request

RED, BLUE = (Picture(name, partial(Image.new, "RGB", (3, 2), name)) for name in ("red", "blue"))
REQUEST = Request(
    sample_id="a",
    messages=(
        Message("system", 'Say "ä" \\ \n 😀'),
        Message("user", "first", (RED, BLUE)),
        Message("assistant", "ok"),
        Message("user", "then", (RED,)),
    ),
    settings=GenerationSettings(max_new_tokens=20, seed=7),
    repeat=2,
)


def sent(request: Request, without: frozenset[str] = frozenset(), **options: Any) -> tuple[Any, frozenset[str]]:
    content, named = asyncio.run(body(request, ChatOptions(model="m", **options), without, EncodedPictures()))
    return json.loads(content), named


def colour(part: dict[str, Any]) -> tuple[int, ...]:
    image = Image.open(io.BytesIO(base64.b64decode(part["image_url"]["url"].partition(",")[2])))
    return image.convert("RGB").getpixel((0, 0))  # type: ignore[return-value]


def test_messages_pictures_and_settings() -> None:
    asked, _ = sent(REQUEST)
    messages = asked.pop("messages")
    assert asked == {"model": "m", "max_tokens": 20, "temperature": 0.0, "seed": 9}
    assert messages[0] == {"role": "system", "content": 'Say "ä" \\ \n 😀'}
    assert [part["type"] for part in messages[1]["content"]] == ["image_url", "image_url", "text"]
    assert [colour(part) for part in messages[1]["content"][:2]] == [(255, 0, 0), (0, 0, 255)]
    assert messages[1]["content"][2] == {"type": "text", "text": "first"}
    assert messages[2] == {"role": "assistant", "content": "ok"}
    assert colour(messages[3]["content"][0]) == (255, 0, 0)
    assert set(messages[1]["content"][0]["image_url"]) == {"url"}


def test_options_go_along() -> None:
    asked, _ = sent(
        REQUEST, max_tokens=5, temperature="none", reasoning_tokens=100, reasoning_effort="low", detail="high",
        encoding=Encoding(max_side=1),
    )  # fmt: skip
    assert asked["max_tokens"] == 105, "what is thought counts as well"
    assert "temperature" not in asked
    assert asked["reasoning_effort"] == "low"
    assert asked["messages"][1]["content"][0]["image_url"]["detail"] == "high"


def test_a_schema_is_asked_for_and_what_a_server_does_not_take_is_left_out() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    request = replace(REQUEST, answer_schema=schema)
    asked, named = sent(request)
    assert asked["response_format"]["type"] == "json_schema"
    assert asked["response_format"]["json_schema"]["schema"] == schema
    assert named == {"max_tokens", "seed", "response_format"}
    asked, named = sent(request, without=frozenset({"max_tokens", "response_format"}))
    assert (asked["max_completion_tokens"], named) == (20, {"seed"})
    assert not {"max_tokens", "response_format"} & set(asked)
    asked, named = sent(request, without=frozenset({"seed"}))
    assert "seed" not in asked
