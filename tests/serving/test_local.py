"""A model on this machine behind the gateway: batches, streams, who goes away; and our own guard in front of it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

import tiny_models
from api_server import ApiServer
from asking import responses
from calibration.test_guarded import benchmark
from holisafe.calibration import calibrated
from holisafe.calibration.base import fit_data
from holisafe.calibration.methods.guarded import Guarded
from holisafe.guard import attach_guard, load_model, load_processor, save_guarded
from holisafe.guards import open_guard
from holisafe.records import GenerationSettings, Message, Request, Response, Sample
from holisafe.runs.folder import read_records
from holisafe.serving.gateway import Gateway
from holisafe.serving.policy import Policy
from holisafe.serving.traffic import Traffic
from holisafe.serving.upstream import Local, opened, pieces
from holisafe.targets import open_target
from serving.served import MODEL, Served, data_url, plays, png, shown, until
from targets.test_huggingface import picture

SETTINGS = GenerationSettings(max_new_tokens=24)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with an image guard."""
    path = tiny_models.llava(tmp_path_factory.mktemp("served") / "model")
    torch.manual_seed(3)
    model = attach_guard(load_model(path), labels=("safe", "violence"), pool="image_and_text")
    save_guarded(model, path.parent / "guarded")
    load_processor(path).save_pretrained(path.parent / "guarded")
    return path.parent / "guarded"


def asked(number: int, **more: Any) -> Request:
    messages = (Message("user", f"which colour is it ? {number}", (picture(number),)),)
    return Request(sample_id=f"r{number}", messages=messages, settings=SETTINGS, **more)


async def serving(target: Any, work: Any) -> Any:
    async with AsyncExitStack() as stack:
        (local,) = await opened([target], stack)
        return await work(local)


def test_what_comes_one_by_one_is_answered_together_and_as_alone(folder: Path) -> None:
    target = open_target(f"hf/{folder},batch_size=4", SETTINGS)
    alone = {one.sample_id: one.text for n in range(9) for one in responses(target, [asked(n)])}
    sizes: list[int] = []
    decode = target._decode
    target._decode = lambda batch: (sizes.append(len(batch)), decode(batch))[1]  # type: ignore[attr-defined]

    async def work(local: Local) -> list[Response]:
        return await asyncio.gather(*(local.answer(asked(n)) for n in range(9)))

    found = asyncio.run(serving(target, work))
    assert {one.sample_id: one.text for one in found} == alone
    assert max(sizes) > 1
    assert sum(sizes) == 9


def test_a_stream_is_the_answer(folder: Path) -> None:
    target = open_target(f"hf/{folder}", SETTINGS)
    (whole,) = responses(target, [asked(1)])

    async def work(local: Local) -> list[str | Response]:
        return [piece async for piece in pieces(local, asked(1))]

    *said, last = asyncio.run(serving(target, work))
    assert "".join(map(str, said)) == whole.text
    assert len(said) > 3
    assert isinstance(last, Response)
    assert last.text == whole.text


def test_one_model_answers_as_it_is_and_calibrated_in_turn(folder: Path) -> None:
    plain = open_target(f"hf/{folder},batch_size=3", SETTINGS)
    both = [plain, calibrated(plain, ["reminder,placement=before"])]
    asking = [(way, asked(number)) for number in range(6) for way in (0, 1)]
    wanted = [responses(both[way], [request])[0].text for way, request in asking]
    assert wanted[::2] != wanted[1::2]

    async def work() -> list[Any]:
        async with AsyncExitStack() as stack:
            ways = await opened(both, stack)
            return await asyncio.gather(*(collected(ways[way], request, n) for n, (way, request) in enumerate(asking)))

    async def collected(way: Any, request: Request, number: int) -> str:
        found = [piece async for piece in pieces(way, replace(request, sample_id=f"{number}"))]
        return "".join(piece for piece in found if isinstance(piece, str))

    assert asyncio.run(work()) == wanted


def test_who_goes_away_takes_no_more_steps_and_holds_up_nobody(folder: Path) -> None:
    settings = GenerationSettings(max_new_tokens=400)
    target = open_target(f"hf/{folder}", settings)
    target.ends = []  # type: ignore[attr-defined]
    steps: dict[str, int] = {}

    async def work(local: Local) -> Response:
        watched = local.machine.model.watch

        def watch(request: Request, row: Any) -> bool:
            steps[request.sample_id] = len(row)
            return watched(request, row)

        local.machine.model.watch = watch
        long = Request(sample_id="long", messages=asked(1).messages, settings=settings)
        going = asyncio.create_task(local.answer(long))
        while steps.get("long", 0) < 3:
            await asyncio.sleep(0.005)
        never = Request(sample_id="never", messages=long.messages, settings=settings)
        waiting = asyncio.create_task(local.answer(never))
        await asyncio.sleep(0.01)
        going.cancel()
        waiting.cancel()
        return await local.answer(asked(2))

    answer = asyncio.run(serving(target, work))
    assert answer.finish != "error"
    assert steps["long"] < 300
    assert "never" not in steps


def test_guarded_calibration_goes_request_by_request_here_and_before_a_server(folder: Path, tmp_path: Path) -> None:
    """Live it says of each request what it says of a run, and each gets its own way's answer."""
    bench = benchmark(16)
    asked = [bench.request(sample, SETTINGS) for sample in bench.samples]
    local = open_target(f"hf/{folder}", SETTINGS)
    learned = Guarded.fit(local, fit_data(bench), {}).save(tmp_path / "guard.safetensors")
    spec = f"guarded,guard={learned},apply=reminder,alarms=0.3"
    inside = calibrated(local, [spec])
    wanted = {one.sample_id: (one.text, one.calibrated) for one in responses(inside, asked)}
    assert {touched for _, touched in wanted.values()} == {True, False}

    async def work(served: Any) -> list[Response]:
        return await asyncio.gather(*(served.answer(request) for request in asked))

    found = asyncio.run(serving(inside, work))
    assert {one.sample_id: (one.text, one.calibrated) for one in found} == wanted
    with ApiServer(answer=plays(lambda body: body["messages"][0]["role"])) as server:
        behind = open_target(f"openai/{MODEL},base_url={server.url}", SETTINGS)
        found = asyncio.run(serving(calibrated(behind, [f"{spec},reader=hf/{folder}"]), work))
    for one in found:
        assert one.calibrated == wanted[one.sample_id][1]
        assert one.text == ("system" if one.calibrated else "user"), "the reminder is a system message"


def test_our_guard_reads_pictures_before_the_model_is_asked(folder: Path) -> None:
    target, reader = open_target(f"hf/{folder}", SETTINGS), open_guard(str(folder))
    unsafe = {"rules": [{"category": "violence", "above": 0.0, "do": "block"}]}
    body = {"model": "tiny", "messages": shown("what is it ?", data_url(png((32, 32))))}
    with Served(Gateway(target, [reader], Policy.model_validate(unsafe), settings=SETTINGS, name="tiny")) as served:
        reply = httpx.post(f"{served.url}/chat/completions", json=body, timeout=60).json()
        assert reply["choices"][0]["finish_reason"] == "content_filter"
        scores = httpx.post(f"{served.url}/moderations", json={"input": body["messages"][0]["content"]}, timeout=60)
        told = scores.json()["results"][0]
    assert told["category_applied_input_types"]["holisafe/violence"] == ["text", "image"]
    from PIL import Image

    from holisafe.guard.predict import predict

    red = Image.new("RGB", (32, 32), "red")
    (expected,) = predict(reader.model, reader.processor, [red], texts=["what is it ?"])  # type: ignore[attr-defined]
    assert told["category_scores"]["holisafe/violence"] == pytest.approx(expected.probabilities["violence"], abs=1e-4)
    assert told["category_scores"]["holisafe/unsafe"] == pytest.approx(1 - expected.probabilities["safe"], abs=1e-4)
    assert told["categories"]["holisafe/unsafe"] == told["flagged"], "a rule of the policy flags it"
    with Served(Gateway(target, [reader], Policy(rules=()), settings=SETTINGS, name="tiny")) as served:
        reply = httpx.post(f"{served.url}/chat/completions", json=body, timeout=60).json()
        assert reply["choices"][0]["finish_reason"] in ("stop", "length")


def test_a_client_that_hangs_up_ends_its_row_of_the_batch(folder: Path, tmp_path: Path) -> None:
    """By way of a real connection."""
    settings = GenerationSettings(max_new_tokens=400)
    target = open_target(f"hf/{folder},batch_size=2", settings)
    target.ends = []  # type: ignore[attr-defined]
    ask = {"model": "tiny", "messages": shown("what is it ?", data_url(png((32, 32)))), "max_tokens": 400}
    steps: dict[str, int] = {}
    log = Traffic(tmp_path / "log", target, settings)
    with log as traffic, Served(Gateway(target, (), settings=settings, name="tiny", traffic=traffic)) as served:
        httpx.post(f"{served.url}/chat/completions", json={**ask, "max_tokens": 1}, timeout=60)  # looked once: it sees
        watched = target.watch  # type: ignore[attr-defined]

        def watch(request: Request, row: Any) -> bool:
            steps[request.sample_id] = len(row)
            return bool(watched(request, row))

        target.watch = watch  # type: ignore[attr-defined]
        with httpx.stream("POST", f"{served.url}/chat/completions", json={**ask, "stream": True}, timeout=60) as reply:
            next(reply.iter_raw())
        until(lambda: served.gateway.counters.ended.labels("cancelled")._value.get() == 1)
        whole = httpx.post(f"{served.url}/chat/completions", json={**ask, "max_tokens": 9}, timeout=60).json()
    assert whole["usage"]["completion_tokens"] == 9
    assert len(steps) == 2
    assert max(steps.values()) < 300
    (run,) = (tmp_path / "log").iterdir()
    assert [one.meta["delivered"] for one in read_records(run, Sample).values()] == ["answer", "cancelled", "answer"]
