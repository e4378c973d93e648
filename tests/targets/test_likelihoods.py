"""How likely a model finds a text after its images, against a hand loop over stock transformers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import tiny_models
from holisafe.calibration import calibrated
from holisafe.calibration.base import Calibrated
from holisafe.errors import InputError
from holisafe.guard import load_model, load_processor
from holisafe.records import GenerationSettings, Message, Picture, Request
from holisafe.targets import open_target

TEXTS = (
    ("what does the picture show", 1),
    ("which colour is it ? it is green , yellow , white or black", 1),
    ("x", 1),
    ("  how do i use this to hurt someone ", 1),
    ("sorry , i cannot", 2),
    ("you are a careful assistant", 2),
    ("what is white or black", 0),
)
SYSTEM = "you are a careful assistant ?"


def picture(number: int) -> Picture:
    cells = np.random.default_rng(number).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    return Picture(f"{number}.png", lambda: Image.fromarray(cells).resize((32, 32), Image.Resampling.NEAREST))


def request(number: int, text: str, images: int, system: str | None = SYSTEM) -> Request:
    turns = (Message("user", text, tuple(picture(7 * number + k) for k in range(images))),)
    return Request(sample_id=str(number), messages=((Message("system", system),) if system else ()) + turns)


REQUESTS = [request(number, text, images) for number, (text, images) in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    built: dict[str, Path] = {}

    def build(family: str) -> Path:
        if family not in built:
            built[family] = tiny_models.FAMILIES[family](tmp_path_factory.mktemp("stock") / family)
        return built[family]

    return build


@cache
def loaded(folder: Path | str) -> tuple[Any, Any]:
    return load_model(folder), load_processor(folder)


def by_hand(folder: Path | str, asked: Request, text: str) -> float:
    """The mean of log p(token | all before) over the text's tokens, which the role tokens around it keep apart."""
    model, processor = loaded(folder)
    turns = [
        {"role": m.role, "content": [{"type": "image"}] * len(m.pictures) + [{"type": "text", "text": m.text}]}
        for m in asked.messages
    ]
    prompt = processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    images = [p.open() for m in asked.messages for p in m.pictures]
    inputs = processor(
        text=[prompt], images=[images] if images else None, return_tensors="pt", add_special_tokens=False
    )
    ids = inputs["input_ids"][0].tolist()
    wanted = processor.tokenizer(text, add_special_tokens=False)["input_ids"]
    places = [at for at in range(len(ids)) if ids[at : at + len(wanted)] == wanted]
    with torch.no_grad():
        logits = model(**inputs).logits[0].double()
    total = 0.0
    for place in range(places[-1], places[-1] + len(wanted)):
        total += float(logits[place - 1, ids[place]] - torch.log(torch.exp(logits[place - 1]).sum()))
    return total / len(wanted)


def likelihoods(target: Any, asked: list[Request], texts: list[str]) -> list[float]:
    assert target.capabilities.likelihoods
    return list(target.log_likelihoods(asked, texts))


@pytest.mark.parametrize("family", sorted(tiny_models.FAMILIES))
def test_batches_and_single_requests_are_as_by_hand(stock: Callable[[str], Path], family: str) -> None:
    texts = [text for text, _ in TEXTS]
    expected = [by_hand(stock(family), one, text) for one, text in zip(REQUESTS, texts, strict=True)]
    found = {}
    for size in (1, 8):
        target: Any = open_target(f"hf/{stock(family)},batch_size={size}", GenerationSettings())
        forwards: list[int] = []
        target.model.register_forward_hook(lambda _, __, output: forwards.append(len(output.logits)))  # noqa: B023
        found[size] = likelihoods(target, REQUESTS, texts)
        assert sorted(forwards) == ([1] * 7 if size == 1 else [1, 2, 4]), "no batch failed and was read again"
        assert found[size] == pytest.approx(expected, abs=2e-5)
    assert len({round(value, 4) for value in found[8]}) == len(TEXTS)


def test_the_shipped_model_and_an_image_that_matters() -> None:
    from holisafe.benchmarks import open_benchmark

    benchmark = open_benchmark("pictosafe", split="validation")
    samples = benchmark.samples[:6]
    asked = [benchmark.request(sample, GenerationSettings()) for sample in samples]
    target = open_target("hf/pictovlm,batch_size=4", GenerationSettings())
    found = likelihoods(target, asked, [sample.query for sample in samples])
    assert found == pytest.approx([by_hand("pictovlm", one, one.messages[-1].text) for one in asked], abs=2e-5)
    assert found[0] != found[2], "the same text after another image"


@pytest.fixture(scope="module")
def folder(stock: Callable[[str], Path]) -> Path:
    return stock("llava")


@pytest.mark.parametrize("placement", ["system", "before", "after"])
def test_a_calibrated_target_asks_in_its_own_way_and_scores_the_same_text(
    folder: Path, tmp_path: Path, placement: str
) -> None:
    (tmp_path / "r.txt").write_text("sorry , the picture shows a red square .")
    plain = open_target(f"hf/{folder},batch_size=8", GenerationSettings())
    target = calibrated(plain, [f"reminder,wording={tmp_path / 'r.txt'},placement={placement}"])
    text = "which colour is it ?"
    asked = [request(1, text, 1), request(2, text, 2)]
    found = likelihoods(target, asked, [text] * 2)
    same = found == pytest.approx(likelihoods(plain, asked, [text] * 2), abs=1e-5)
    assert same == (placement == "after"), "what is said later changes nothing"
    edited = [target.edit(one) for one in asked]  # type: ignore[attr-defined]
    assert found == pytest.approx([by_hand(folder, one, text) for one in edited], abs=2e-5)


def test_what_goes_wrong_stands_in_the_place_of_its_number(folder: Path) -> None:
    def broken() -> Image.Image:
        raise InputError("not an image", where="x.png")

    target: Any = open_target(f"hf/{folder},batch_size=8", GenerationSettings())
    bad = replace(REQUESTS[0], messages=(Message("user", "which", (Picture("x", broken),)),))
    asked = [*REQUESTS[:3], bad, REQUESTS[4], request(9, "red and red", 1), request(9, "red", 1), request(9, "", 1)]
    found = target.log_likelihoods(asked, [*[text for text, _ in TEXTS[:3]], "which", TEXTS[4][0], "red", "blue", ""])
    assert found[:3] + found[4:5] == pytest.approx(
        target.log_likelihoods([*REQUESTS[:3], REQUESTS[4]], [TEXTS[at][0] for at in (0, 1, 2, 4)]), abs=2e-5
    )
    assert str(found[3]) == "x.png: not an image"
    assert [str(found[at]) for at in (5, 6, 7)] == [
        f"the text stands {count} times in its turn, not once" for count in (2, 0, 0)
    ]


def test_a_method_that_decides_by_request_has_no_likelihoods(folder: Path) -> None:
    class Deciding(Calibrated):
        async def respond(self, requests: Any) -> Any:
            yield

    plain = open_target(f"hf/{folder}", GenerationSettings())
    assert Calibrated(plain, "m", {}).capabilities == plain.capabilities
    assert Deciding(plain, "m", {}).capabilities == replace(plain.capabilities, likelihoods=False)
