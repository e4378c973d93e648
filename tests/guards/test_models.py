"""Others' guards on tiny random models of their real classes: what they are asked, and that they say what it says.

The prompt is compared, token for token, with what the model's own processor makes of the same conversation.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from holisafe.errors import InputError
from holisafe.guards import open_guard
from holisafe.guards.asking import QUESTION
from holisafe.guards.base import Item
from holisafe.guards.llavaguard import POLICY
from holisafe.guards.policy import Category, Policy
from holisafe.guards.qguard import FILE as QUESTIONS
from holisafe.records import GenerationSettings, Picture, Response
from tiny_guards import mllama, onevision, shieldgemma2
from tiny_models import gemma3, llava

Guards = dict[str, Any]


def picture(number: int = 0) -> Picture:
    draw = np.random.default_rng(number)
    image = Image.fromarray(draw.integers(0, 80 + 80 * number, (40, 36 + number, 3), dtype=np.uint8))
    return Picture(f"{number}.png", lambda: image)


ITEMS = {
    "image": Item(id="image", pictures=(picture(),)),
    "text": Item(id="text", text="how do i use this to hurt someone"),
    "pair": Item(id="pair", pictures=(picture(1),), text="what does the picture show"),
    "response": Item(id="response", pictures=(picture(2),), text="how do i use this", response="sorry , i cannot help"),
}
CLASSES: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "llama-guard": ("llama-guard", mllama),
    "llavaguard": ("llavaguard", llava),
    "llavaguard, OneVision": ("llavaguard", onevision),
    "nemotron": ("nemotron", gemma3),
    "qguard": ("qguard", gemma3),
}


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Guards:
    """Every guard on a model of its class, opened once."""
    found = {}
    for name, (kind, family) in CLASSES.items():
        folder = roomy(family(tmp_path_factory.mktemp("m") / "model"))
        found[name] = open_guard(f"{kind}/hf/{folder},device=cpu")
    return found


def roomy(folder: Path) -> Path:
    """The model with room for a long policy: its tokenizer knows few words."""
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["max_position_embeddings"] = 4096
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def turns(*said: tuple[str, bool, str]) -> list[dict[str, Any]]:
    """(role, whether it shows a picture, text) as a chat template takes it."""
    return [
        {"role": role, "content": [{"type": "image"}] * shown + [{"type": "text", "text": text}]}
        for role, shown, text in said
    ]


@pytest.mark.parametrize("name", ["llama-guard", "nemotron"])
@pytest.mark.parametrize("kind", ITEMS)
def test_the_conversation_goes_through_the_models_own_template(opened: Guards, name: str, kind: str) -> None:
    guard, item = opened[name], ITEMS[kind]
    user = ("user", bool(item.pictures), QUESTION if kind == "image" else item.text)
    told = [user] if item.response is None else [user, ("assistant", False, item.response)]
    (request,) = guard.requests(item)
    processor, images = guard.target.processor, [picture.open() for picture in item.pictures]
    prompt = processor.apply_chat_template(turns(*told), add_generation_prompt=True, **request.template)
    given = {"images": [images]} if images else {}
    expected = processor(text=[prompt], **given, return_tensors="pt", add_special_tokens=False)["input_ids"]
    asked = guard.target._prepare(request)
    assert asked.prompt == prompt
    assert asked.tensors["input_ids"].tolist() == expected.tolist()


def test_nemotrons_template_is_told_what_its_card_names(opened: Guards, tmp_path: Path) -> None:
    (request,) = opened["nemotron"].requests(ITEMS["pair"])
    assert request.template == {"request_categories": "/categories", "enable_thinking": False}
    policy = Policy("toys", (Category("knives", "shows a real knife", ("a kitchen knife",)),))
    folder = gemma3(tmp_path / "m")
    guard = open_guard(f"nemotron/{folder},thinking=true", policy)
    (request,) = guard.requests(ITEMS["pair"])  # type: ignore[attr-defined]
    assert request.template == {
        "request_categories": "/categories",
        "enable_thinking": True,
        "custom_policy": "- knives: shows a real knife\n  - such as: a kitchen knife",
    }
    assert guard.taxonomy is None
    assert guard.version != opened["nemotron"].version
    told = "{{ custom_policy }}|{{ request_categories }}|{{ enable_thinking }}|"
    guard.target.processor.chat_template = told + guard.target.processor.chat_template  # type: ignore[attr-defined]
    prompt = guard.target._prepare(request).prompt  # type: ignore[attr-defined]
    assert prompt.startswith("- knives: shows a real knife\n  - such as: a kitchen knife|/categories|True|")
    said = [
        guard.conclude(ITEMS["pair"], [Response(sample_id="1", target="x", text=f"User Safety: unsafe\n{named}")])  # type: ignore[attr-defined]
        for named in ("Safety Categories: knives", "Safety Categories: Violence")
    ]
    assert [(one.unsafe, one.categories) for one in said] == [(True, ("knives",)), (None, ())]
    parted = Policy("toys", (Category("knives, real", "shows a real knife", ()),))
    with pytest.raises(InputError, match="separates categories by commas"):
        open_guard(f"nemotron/{folder}", parted)


@pytest.mark.parametrize("name", CLASSES)
def test_answers_are_the_models_own_and_a_random_models_are_no_verdict(opened: Guards, name: str) -> None:
    guard = opened[name]
    guard.settings = GenerationSettings(max_new_tokens=12)
    items = [item for item in ITEMS.values() if item.kind in guard.takes]
    readings = {one.item_id: one for one in guard.read(items)}
    assert readings.keys() == {item.id for item in items}
    if name == "qguard":
        return
    assert {one.unsafe for one in readings.values()} == {None}, "a random model answers nothing that can be read"
    assert all(one.invalid and not one.invalid.startswith("error") for one in readings.values())
    model, processor = guard.target.model, guard.target.processor
    for item in items:
        (request,) = guard.requests(item)
        tensors = guard.target._prepare(request).tensors
        with torch.no_grad():
            made = model.generate(**tensors, max_new_tokens=guard.settings.max_new_tokens, do_sample=False)
        answer = processor.tokenizer.decode(made[0, tensors["input_ids"].shape[1] :], skip_special_tokens=True)
        assert (readings[item.id].raw or "") == answer.strip()


def test_llavaguard_sees_a_picture_and_its_policy_word_for_word(opened: Guards, tmp_path: Path) -> None:
    (request,) = opened["llavaguard"].requests(ITEMS["image"])
    assert [(turn.role, turn.text, len(turn.pictures)) for turn in request.messages] == [("user", POLICY, 1)]
    published = "Provide an assessment.\nO1: Hate, Humiliation, Harassment: {json}\n\n"
    (tmp_path / "prompt.txt").write_text(published)
    folder = llava(tmp_path / "m")
    guard: Any = open_guard(f"llavaguard/{folder},prompt={tmp_path / 'prompt.txt'}")
    (request,) = guard.requests(ITEMS["image"])
    assert request.messages[0].text == published.strip()
    with pytest.raises(InputError, match="field 'prompt'"):
        open_guard(f"llavaguard/{folder},prompt={tmp_path / 'nowhere.txt'}")


def test_qguards_chances_are_those_of_the_first_token(opened: Guards) -> None:
    """Against a forward of the model itself, question by question."""
    guard = opened["qguard"]
    (reading,) = guard.read([ITEMS["pair"]])
    model, processor = guard.target.model, guard.target.processor
    chances = []
    for request in guard.requests(ITEMS["pair"]):
        with torch.no_grad():
            logits = model(**guard.target._prepare(request).tensors).logits[0, -1].double().softmax(-1)
        sums = []
        for words in (("Yes", "yes"), ("No", "no")):
            spelt = [[processor.tokenizer.encode(s, add_special_tokens=False) for s in (w, f" {w}")] for w in words]
            tokens = [{ids[0] for ids in pair if len(ids) == 1} or {pair[0][0]} for pair in spelt]
            sums.append(sum(float(logits[token]) for token in set().union(*tokens)))
        chances.append(sums[0] / sum(sums))
    groups = json.loads(QUESTIONS.read_text())
    likeliest, start = {}, 0
    for group, questions in groups.items():
        likeliest[group] = max(chances[start : start + len(questions)])
        start += len(questions)
    assert reading.scores == pytest.approx(likeliest, rel=1e-4)


def test_shieldgemma2_is_its_class_policy_by_policy(tmp_path: Path) -> None:
    guard: Any = open_guard(f"shieldgemma2/hf/{shieldgemma2(tmp_path / 'm')},device=cpu")
    shown = [Item(id=str(n), pictures=(picture(n),)) for n in range(3)]
    model, processor = guard.model.model, guard.model.processor
    assert len(guard.model.policies) == 3
    for item, said in zip(shown, guard.read(shown), strict=True):
        for policy, chance in said.scores.items():  # alone, so that neither order nor padding can be mistaken
            inputs = processor(images=[item.pictures[0].open()], policies=[policy], return_tensors="pt")
            with torch.no_grad():
                logits = model.model(**inputs).logits[0, -1]
            assert chance == pytest.approx(float(logits[[20, 21]].softmax(0)[0]), abs=1e-4)
        above = sorted((p for p, chance in said.scores.items() if chance > 0.5), key=lambda p: -said.scores[p])
        assert said.categories == tuple(above)
        assert said.unsafe == bool(above)
        assert said.score == max(said.scores.values())
        if not above:
            assert said.labels == ("safe",)


def test_what_is_none_of_a_guards_models_is_told(tmp_path: Path) -> None:
    for kind in ("shieldgemma2", "llavaguard", "llama-guard", "nemotron", "qguard"):
        for spec in (f"{kind}/{tmp_path}/nowhere", f"{kind}/hf/{tmp_path}/nowhere"):
            with pytest.raises(InputError, match="no such model folder"):
                open_guard(spec)
    with pytest.raises(InputError, match="no ShieldGemma 2"):
        open_guard(f"shieldgemma2/{llava(tmp_path / 'llava')}")
    with pytest.raises(InputError, match="takes no policy of your own"):
        open_guard(f"llama-guard/{tmp_path}", Policy("p", (Category("a", "b"),)))
