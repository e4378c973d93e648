"""Thinking off, on, or for so many tokens: a local model by its chat template, an API by its fields."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import holisafe
import tiny_models
from api_server import ApiServer
from asking import responses
from holisafe.calibration import calibrated
from holisafe.cli import app
from holisafe.clients.body import payload
from holisafe.clients.options import chat_options
from holisafe.errors import InputError
from holisafe.guard import load_model, load_processor
from holisafe.records import GenerationSettings, Message, Request
from holisafe.targets import open_target
from holisafe.thoughts import opened, own_marks, reasoning_settings

SWITCHED = "{% if enable_thinking %}<think>{% else %}<think></think>{% endif %}"
ANSWER = 5
"""Tokens of an answer."""


@pytest.fixture(scope="module")
def thinker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose template can be told to begin a thought."""
    folder = tiny_models.llava(tmp_path_factory.mktemp("thinker") / "llava")
    processor = load_processor(str(folder))
    processor.chat_template = processor.chat_template.replace(
        "<|assistant|>{% endif %}", f"<|assistant|>{SWITCHED}{{% endif %}}"
    )
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.llava(tmp_path_factory.mktemp("plain") / "llava")


def asked(settings: GenerationSettings) -> list[Request]:
    texts = ("what does the picture show", "sorry", "how do i use this to hurt someone , and why", "you")
    return [
        Request(sample_id=str(at), messages=(Message("user", text),), settings=settings)
        for at, text in enumerate(texts)
    ]


def by_hand(folder: Path, text: str, budget: int, length: int) -> list[int]:
    """Greedy tokens of one conversation, one forward each; the thought that the template begins ends after `budget`."""
    model, processor = load_model(folder), load_processor(str(folder))
    end = processor.tokenizer("</think>", add_special_tokens=False)["input_ids"]
    prompt = f"<s><|user|>{text}<|assistant|><think>"
    ids = processor.tokenizer(prompt, add_special_tokens=False)["input_ids"]
    said: list[int] = []
    with torch.no_grad():
        while len(said) < length:
            ended = any(said[at : at + len(end)] == end for at in range(len(said)))
            if budget <= len(said) < budget + len(end) and not ended:
                token = end[len(said) - budget]
            else:
                token = int(model(input_ids=torch.tensor([ids + said])).logits[0, -1].argmax())
            said.append(token)
            if token == processor.tokenizer.eos_token_id:
                break
    return said


@pytest.mark.parametrize("budget", [1, 4, 9])
def test_a_thought_is_ended_at_its_budget_and_the_answer_follows(thinker: Path, budget: int) -> None:
    settings = GenerationSettings(max_new_tokens=ANSWER, reasoning="on", reasoning_tokens=budget)
    target = open_target(f"hf/{thinker},batch_size=4", settings)
    target.takes_reasoning(settings)  # type: ignore[attr-defined]
    tokenizer = load_processor(str(thinker)).tokenizer
    ends = len(tokenizer("</think>", add_special_tokens=False)["input_ids"])
    for request, response in zip(asked(settings), responses(target, asked(settings)), strict=True):
        expected = by_hand(thinker, request.messages[0].text, budget, ANSWER + budget + ends)
        thought, mark, answer = tokenizer.decode(expected, skip_special_tokens=True).partition("</think>")
        assert mark
        assert (response.reasoning, response.text) == (thought.strip() or None, answer.strip())
        assert response.usage["output_tokens"] == len(expected)
        assert ("reasoning_tokens" in response.usage) == bool(thought.strip())


def test_off_and_on_are_the_template_s_own(thinker: Path) -> None:
    off, on = (GenerationSettings(max_new_tokens=ANSWER, reasoning=word) for word in ("off", "on"))  # type: ignore[arg-type]
    target = open_target(f"hf/{thinker}", off)
    target.takes_reasoning(off)  # type: ignore[attr-defined]
    prompts = [target._prepare(asked(told)[0]).prompt for told in (off, on)]  # type: ignore[attr-defined]
    assert [prompt.rpartition("<|assistant|>")[2] for prompt in prompts] == ["<think></think>", "<think>"]
    assert all(one.reasoning is None for one in responses(target, asked(off)))
    cut = responses(target, asked(on))
    assert all(one.text == "" and one.finish == "truncated" and one.reasoning for one in cut)  # none ends its thought


def test_a_calibration_sets_it_request_by_request(thinker: Path) -> None:
    settings = GenerationSettings(max_new_tokens=ANSWER)
    told = replace(settings, reasoning="on", reasoning_tokens=3)
    direct = open_target(f"hf/{thinker}", told)
    direct.takes_reasoning(told)  # type: ignore[attr-defined]
    wrapped = calibrated(open_target(f"hf/{thinker}", settings), ["reasoning,to=3"])
    said = [[(one.reasoning, one.text) for one in responses(*pair)] for pair in
            ((direct, asked(told)), (wrapped, asked(settings)))]  # fmt: skip
    assert said[0] == said[1]
    assert wrapped.describe()["calibration"] == [{"method": "reasoning", "reasoning": "on", "reasoning_tokens": 3}]


def test_who_offers_no_choice_says_so(plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    on = GenerationSettings(reasoning="on")
    with pytest.raises(InputError, match="offers no choice of reasoning: its chat template has no switch"):
        open_target(f"hf/{plain}", on).takes_reasoning(on)  # type: ignore[attr-defined]
    (tmp_path / "answers.jsonl").write_text('{"id": "a", "text": "b"}\n')
    replayed = open_target(f"replay/{tmp_path}/answers.jsonl", GenerationSettings())
    with pytest.raises(InputError, match="offers no choice of reasoning"):
        calibrated(replayed, ["reasoning,to=off"])
    name = holisafe.open_benchmark("pictosafe", split="test").samples[0].id
    (tmp_path / "answers.jsonl").write_text(json.dumps({"id": name, "text": "b"}))
    with pytest.raises(SystemExit) as left:
        app(["run", "pictosafe", "--target", f"replay/{tmp_path}/answers.jsonl", "--judge", "string-match",
             "--out", f"{tmp_path}/run", "--reasoning", "off"])  # fmt: skip
    assert left.value.code == 2
    told = capsys.readouterr().err
    assert "offers no choice of reasoning" in told
    assert len(told.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("word", "fields"),
    [
        ("off", {"reasoning": "off"}),
        ("on", {"reasoning": "on"}),
        ("2048", {"reasoning": "on", "reasoning_tokens": 2048}),
        (64, {"reasoning": "on", "reasoning_tokens": 64}),
    ],
)
def test_what_the_option_says(word: str | int, fields: dict[str, Any]) -> None:
    assert reasoning_settings(word) == fields


@pytest.mark.parametrize("word", ["yes", "0", "-1", "1.5", ""])
def test_what_it_cannot_say(word: str) -> None:
    with pytest.raises(InputError, match="--reasoning is off, on, or the most tokens"):
        reasoning_settings(word)


@pytest.mark.parametrize(
    ("address", "told", "sent"),
    [
        ("http://127.0.0.1:8000/v1", "off", {"chat_template_kwargs": {"enable_thinking": False, "thinking": False}}),
        (
            "http://127.0.0.1:8000/v1",
            "64",
            {"chat_template_kwargs": {"enable_thinking": True, "thinking": True}, "thinking_token_budget": 64},
        ),
        ("https://api.openai.com/v1", "off", {"reasoning_effort": "none"}),
        ("https://api.openai.com/v1", "on", {"reasoning_effort": "medium"}),
        ("https://api.anthropic.com/v1", "2048", {"thinking": {"type": "enabled", "budget_tokens": 2048}}),
        ("https://api.anthropic.com/v1", "off", {"thinking": {"type": "disabled"}}),
        ("https://openrouter.ai/api/v1", "64", {"reasoning": {"max_tokens": 64}}),
        ("https://openrouter.ai/api/v1", "off", {"reasoning": {"enabled": False}}),
    ],
)
def test_what_a_server_is_told(address: str, told: str, sent: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    options = chat_options("m", {"base_url": address})
    plain, chosen = GenerationSettings(), replace(GenerationSettings(), **reasoning_settings(told))
    before, after = (payload(asked(one)[0], options, "url") for one in (plain, chosen))
    added = {name: value for name, value in after.items() if name != "max_tokens" and before.get(name) != value}
    assert added == sent
    assert after["max_tokens"] == 512 + (chosen.reasoning_tokens or 0)


def test_what_an_api_cannot_be_told_is_said_before_anything_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    for address, told, words in (
        ("https://api.openai.com/v1", "64", "takes no number of tokens"),
        ("https://api.anthropic.com/v1", "on", "how many tokens"),
    ):
        settings = replace(GenerationSettings(), **reasoning_settings(told))
        with pytest.raises(InputError, match=words):
            open_target(f"openai/m,base_url={address}", settings).takes_reasoning(settings)  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="option reasoning_by is one of"):
        chat_options("m", {"reasoning_by": "telepathy"})


def thinking(body: dict[str, Any], content: str) -> dict[str, Any]:
    """A server that thinks whatever it is told."""
    return {"message": {"role": "assistant", "content": "Sorry.", "reasoning": "Hm."}, "finish_reason": "stop"}


@pytest.fixture
def stubborn() -> Iterator[ApiServer]:
    with ApiServer(answer=thinking) as server:
        yield server


def test_a_server_that_leaves_it_aside_is_found(
    stubborn: ApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", "pictosafe", "--limit", "40", "--target", f"openai/m,base_url={stubborn.url},max_in_flight=1",
               "--judge", "string-match"]  # fmt: skip
    with pytest.raises(SystemExit) as left:
        app([*command, "--out", f"{tmp_path}/off", "--reasoning", "off"])
    assert left.value.code == 2
    assert "leaves --reasoning off aside: each of the first 8 answers has a thought" in capsys.readouterr().err
    assert sum(stubborn.stats.completed.values()) < 12
    with pytest.raises(SystemExit) as left:
        app([*command, "--out", f"{tmp_path}/on", "--reasoning", "on", "--limit", "4"])
    assert left.value.code == 0
    manifest = json.loads((tmp_path / "on" / "manifest.json").read_text())
    assert manifest["settings"]["reasoning"] == manifest["target"]["generation"]["reasoning"] == "on"
    assert stubborn.stats.bodies[-1]["chat_template_kwargs"]["enable_thinking"] is True


def test_a_prompt_that_ends_inside_a_thought() -> None:
    assert opened("Hello<|assistant|><think>\n") == "<think>"
    assert opened("Hello<|assistant|><think>\n\n</think>\n\n") == ""
    assert opened("What does <think> mean?") == ""
    assert opened("go <plan>", own_marks("<plan>...</plan>")) == "<plan>"
    assert opened("<think>", own_marks("none")) == ""
