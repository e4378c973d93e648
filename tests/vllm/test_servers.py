"""Two vLLM servers on one guarded folder, the guard and stock generation, and the gateway that joins them."""

from __future__ import annotations

import asyncio
import base64
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from asking import responses
from holisafe.guard import labels_of, load_guarded
from holisafe.guard.thresholds import GuardThresholds, head_digest, save_thresholds
from holisafe.guards import open_guard
from holisafe.images import open_image
from holisafe.records import GenerationSettings, Message, Picture, Request
from holisafe.serving.gateway import Gateway
from holisafe.serving.policy import Policy
from holisafe.targets import open_target
from serving.served import Served

from .conftest import server, until_up


@dataclass
class Servers:
    """The folder, the guard's server and the generation's."""

    folder: Path
    guard: str
    model: str


@pytest.fixture(scope="module")
def both(folders: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder, desk = folders("pictovlm", "projected+image_and_text", "base"), tmp_path_factory.mktemp("logs")
    kept = GuardThresholds(
        labels=labels_of(load_guarded(folder)),
        temperature=1.7,
        false_alarm_rate=0.1,
        unsafe=0.5,
        by_label={},
        coverage=0.9,
        set_quantile=None,
        head=head_digest(str(folder)),
    )
    save_thresholds(kept, folder)
    ways = {"guard": ("--config-format", "holisafe"), "vlm": ("--model-impl", "transformers")}
    logs = {name: desk / f"{name}.txt" for name in ways}
    with ExitStack() as stack:
        at = {
            name: stack.enter_context(server(folder, logs[name], *options, "--served-model-name", name))
            for name, options in ways.items()
        }
        for name, address in at.items():
            until_up(address, logs[name])
        yield Servers(folder, at["guard"], at["vlm"])


def post(address: str, path: str, body: Any) -> tuple[int, Any]:
    request = urllib.request.Request(address + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def shown(path: Path) -> dict[str, Any]:
    data = base64.b64encode(path.read_bytes()).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}


def said(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


@pytest.fixture(scope="module")
def ours(both: Servers, items: list[tuple[Path, str]]) -> list[dict[str, Any]]:
    """What a gateway of ours with the guard on this machine says of each item."""

    async def moderate() -> list[dict[str, Any]]:
        nobody = open_target("openai/none,base_url=http://127.0.0.1:9/v1", GenerationSettings())
        gateway = Gateway(nobody, [open_guard(str(both.folder))])
        async with gateway:
            bodies = [{"input": [shown(path), said(text)]} for path, text in items]
            return [(await gateway.moderate(json.dumps(body).encode()))["results"][0] for body in bodies]

    return asyncio.run(moderate())


def test_moderations_are_the_gateways(both: Servers, items: list[tuple[Path, str]], ours: list[dict[str, Any]]) -> None:
    def asked(item: tuple[Path, str]) -> Any:
        return post(both.guard, "/v1/moderations", {"input": [said(item[1]), shown(item[0])]})

    with ThreadPoolExecutor(len(items)) as pool:
        answers = list(pool.map(asked, items))
    for (status, answer), wanted in zip(answers, ours, strict=True):
        assert (status, answer["model"]) == (200, "guard")
        (found,) = answer["results"]
        assert found.pop("category_scores") == pytest.approx(wanted["category_scores"], abs=1e-4)
        assert found == {name: value for name, value in wanted.items() if name != "category_scores"}


def test_what_is_not_read_is_said(both: Servers, items: list[tuple[Path, str]]) -> None:
    path, text = items[0]
    for given, status, code in (
        ("a text alone", 400, "not_read"),
        ([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}], 400, "invalid_image"),
        ([{"type": "image_url", "image_url": {"url": "http://127.0.0.1/a.png"}}], 400, "url_not_allowed"),
        ([shown(path), said("longer than the model reads " * 60)], 503, "guard_unavailable"),
        ({"no": "input"}, 400, None),
    ):
        found, answer = post(both.guard, "/v1/moderations", {"input": given})
        assert found == status, answer
        assert code in (None, answer["error"]["code"])
    assert post(both.guard, "/v1/moderations", {"input": [shown(path), said(text)]})[0] == 200, "it still runs"
    assert post(both.guard, "/v1/moderations", {"input": [shown(path)] * 2})[0] == 200


def test_vllms_own_endpoint_agrees_where_it_is_asked_as_we_ask(both: Servers, items: list[tuple[Path, str]]) -> None:
    path, text = items[1]
    message = {"role": "user", "content": [shown(path), said(text)]}
    body = {"model": "guard", "messages": [message], "add_generation_prompt": True}
    _, answer = post(both.guard, "/classify", body)
    _, moderated = post(both.guard, "/v1/moderations", {"input": [shown(path), said(text)]})
    labels = labels_of(load_guarded(both.folder))
    found = dict(zip(labels, answer["data"][0]["probs"], strict=True))
    assert answer["data"][0]["label"] == max(found, key=found.__getitem__)
    scores = moderated["results"][0]["category_scores"]
    assert {name: scores[f"holisafe/{name}"] for name in labels if name != "safe"} == pytest.approx(
        {name: value for name, value in found.items() if name != "safe"}, abs=1e-6
    )


def test_the_gateway_joins_the_two(both: Servers, items: list[tuple[Path, str]], ours: list[dict[str, Any]]) -> None:
    """What the guard finds likelier than the middle is blocked; the rest is answered as the model on this machine
    answers, and so is a text, which this guard does not read."""
    harm = [*(one["category_scores"]["holisafe/unsafe"] for one in ours), 0.0]
    middle = (min(harm[:-1]) + max(harm)) / 2
    policy = Policy.model_validate({"rules": [{"category": "unsafe", "above": middle, "do": "block"}]})
    settings = GenerationSettings(max_new_tokens=12)
    guard = open_guard(f"moderation/guard,base_url={both.guard}/v1,reads=image+pair")
    target = open_target(f"openai/vlm,base_url={both.model}/v1", settings)

    seen = [*items, (None, "What do people eat?")]
    turns = [
        Message("user", text, () if path is None else (Picture(path.name, partial(open_image, path), path.read_bytes),))
        for path, text in seen
    ]
    requests = [Request(sample_id=str(n), messages=(turn,), settings=settings) for n, turn in enumerate(turns)]
    wanted = [response.text for response in responses(open_target(f"hf/{both.folder}", settings), requests)]

    with Served(Gateway(target, [guard], policy, settings=settings)) as served:
        for (path, text), unsafe, alone in zip(seen, harm, wanted, strict=True):
            content = [said(text)] if path is None else [shown(path), said(text)]
            body = {"model": "vlm", "messages": [{"role": "user", "content": content}], "temperature": 0}
            status, answer = post(served.url.removesuffix("/v1"), "/v1/chat/completions", body)
            assert status == 200, answer
            (choice,) = answer["choices"]
            blocked = choice["finish_reason"] == "content_filter"
            assert blocked == (unsafe > middle)
            assert blocked or choice["message"]["content"] == alone
