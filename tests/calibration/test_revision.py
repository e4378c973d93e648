"""Revision of tiny models: positions, vectors and removal, against a hand-written loop with hooks of the test's own."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import tiny_models
from guard.tiny_configs import FAMILIES, IMAGE, VIDEO
from guard.tiny_families import build, collate, samples
from holisafe.calibration import calibrated
from holisafe.calibration.activation.hooks import Shift, revised
from holisafe.calibration.activation.structure import heads, structure
from holisafe.calibration.learned import Learned, load_learned
from holisafe.errors import InputError
from holisafe.guard import load_model, load_processor
from holisafe.records import GenerationSettings, Message, Picture, Request, Response
from holisafe.targets import open_target

SETTINGS = GenerationSettings(max_new_tokens=4)
LAYERS, WIDTH, HEADS, SIZE = 2, 48, 4, 12
QUERIES = (
    ("what does the picture show", 1),
    ("which colour is it ?", 1),
    ("how do i use this to hurt someone , and why is it dangerous to do so", 1),
    ("you", 1),
    ("what is white or black", 0),
    ("sorry", 0),
)


def picture(number: int) -> Picture:
    def draw() -> Image.Image:
        cells = np.random.default_rng(number).integers(0, 255, (4, 4, 3), dtype=np.uint8)
        return Image.fromarray(cells).resize((32, 32), Image.Resampling.NEAREST)

    return Picture(f"{number}.png", draw)


def requests(settings: GenerationSettings = SETTINGS) -> list[Request]:
    return [
        Request(
            sample_id=str(number),
            messages=(Message("user", text, tuple(picture(7 * number + k) for k in range(images))),),
            settings=settings,
        )
        for number, (text, images) in enumerate(QUERIES)
    ]


async def stream(asked: Sequence[Request]) -> AsyncIterator[Request]:
    for request in asked:
        yield request


def answers(target: Any, asked: Sequence[Request]) -> dict[str, Response]:
    async def collect() -> list[Response]:
        return [response async for response in target.respond(stream(asked))]

    return {response.sample_id: response for response in asyncio.run(collect())}


def write(path: Path, method: str, seed: int = 0, **more: Any) -> Path:
    """A learned file with random directions; layer 1 and head (0, 2) are told best by the probes."""
    draw = np.random.default_rng(seed)
    shape = (LAYERS, WIDTH) if method == "layer-revision" else (LAYERS, HEADS, SIZE)
    directions = draw.normal(size=shape)
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    accuracy = draw.uniform(0.5, 0.8, shape[:-1])
    accuracy[(1,) if method == "layer-revision" else (0, 2)] = 0.95
    tensors = {"directions": directions, "sigma": draw.uniform(1, 3, shape[:-1]), "accuracy": accuracy}
    floats = {name: array.astype(np.float32) for name, array in tensors.items()}
    return Learned(method, floats, {"model": {"model": "theirs", "fingerprint": "f00"}, **more}).save(path)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    kept: dict[str, Path] = {}

    def of(family: str) -> Path:
        if family not in kept:
            folder = kept[family] = tiny_models.FAMILIES[family](tmp_path_factory.mktemp("tiny") / family)
            model = load_model(folder)
            with torch.no_grad():  # an answer with an image placeholder, read again without a cache, asks for an image
                model.lm_head.weight[model.config.image_token_id] = 0
            model.save_pretrained(folder)
        return kept[family]

    return of


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("learned")
    return {name: write(folder / f"{name}.safetensors", name) for name in ("layer-revision", "head-revision")}


@contextmanager
def by_own_hooks(model: Any, method: str, file: Path, strength: float, first: Callable[[], slice]) -> Iterator[None]:
    """The same revision by other means: layer 1's output, or head 2 of layer 0 inside `o_proj`'s input."""
    learned = load_learned(file)
    decoder = model.model.language_model
    if method == "layer-revision":
        vector = strength * learned.tensors["sigma"][1] * learned.tensors["directions"][1]

        def hook(module: Any, args: Any, output: Any) -> Any:
            states = (output if torch.is_tensor(output) else output[0]).clone()
            states[:, first()] = states[:, first()] + torch.from_numpy(vector)
            return states if torch.is_tensor(output) else (states, *output[1:])

        handle = decoder.layers[1].register_forward_hook(hook)
    else:
        vector = strength * learned.tensors["sigma"][0, 2] * learned.tensors["directions"][0, 2]

        def hook(module: Any, args: Any, output: Any) -> Any:
            shift = torch.zeros_like(args[0])
            shift[:, first(), 24:36] = torch.from_numpy(vector)
            return output + shift @ module.weight.T  # what the shifted head adds behind the projection

        handle = decoder.layers[0].self_attn.o_proj.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def by_hand(model: Any, processor: Any, request: Request, method: str, file: Path, strength: float, where: str) -> str:
    """Greedy tokens of one conversation, its whole sequence read anew for each, without padding, cache or generate."""
    turns = [
        {"role": m.role, "content": [{"type": "image"}] * len(m.pictures) + [{"type": "text", "text": m.text}]}
        for m in request.messages
    ]
    text = processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    images = [p.open() for m in request.messages for p in m.pictures]
    given = processor(text=[text], images=[images] if images else None, return_tensors="pt", add_special_tokens=False)
    inputs, tokens = dict(given), []
    prompt = inputs["input_ids"].shape[1]
    meant = {
        "generated": lambda: slice(prompt, None),
        "last_prompt": lambda: slice(prompt - 1, prompt),
        "both": lambda: slice(prompt - 1, None),
    }[where]
    with torch.no_grad(), by_own_hooks(model, method, file, strength, meant):
        while len(tokens) < request.settings.max_new_tokens:
            tokens.append(int(model(**inputs).logits[0, -1].argmax()))
            if tokens[-1] == processor.tokenizer.eos_token_id:
                break
            inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([tokens[-1:]])], 1)
            for name in ("attention_mask", "token_type_ids", "mm_token_type_ids"):
                if name in inputs:
                    extra = torch.ones if name == "attention_mask" else torch.zeros
                    inputs[name] = torch.cat([inputs[name], extra(1, 1, dtype=torch.long)], 1)
    return str(processor.tokenizer.decode(tokens, skip_special_tokens=True)).strip()


@pytest.mark.parametrize("method", ["layer-revision", "head-revision"])
@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "gemma3"])
def test_batches_answer_as_a_hand_loop_with_its_own_hooks(
    built: Callable[[str], Path], files: dict[str, Path], family: str, method: str
) -> None:
    folder, asked = built(family), requests()
    model, processor = load_model(folder), load_processor(folder)
    stock = {name: one.text for name, one in answers(open_target(f"hf/{folder}", SETTINGS), asked).items()}
    told: list[list[str]] = []
    for where in ("generated", "last_prompt", "both"):
        spec = f"{method},file={files[method]},strength=2,top=1,positions={where}"
        one, eight = (
            answers(calibrated(open_target(f"hf/{folder},batch_size={size}", SETTINGS), [spec]), asked)
            for size in (1, 8)
        )
        for request in asked:
            expected = by_hand(model, processor, request, method, files[method], 2, where)
            assert one[request.sample_id].text == eight[request.sample_id].text == expected
        told.append([eight[request.sample_id].text for request in asked])
    assert all(texts != list(stock.values()) for texts in told), "vacuous: nothing was revised"
    assert told[0] != told[1], "vacuous: where makes no difference"


GREEDY = {"max_new_tokens": 4, "do_sample": False, "suppress_tokens": [IMAGE, VIDEO]}
RUN = ("llava-clip", "qwen2_5_vl", "gemma3", "internvl", "qwen3_5")


def differences(model: Any, batch: dict[str, Any], side: str, where: Any, **options: Any) -> list[list[int]]:
    """Absolute columns that a revision of layer 0 changed, a list a forward: hooks of the test's own look at the same
    states before and after the revision's."""
    found = structure(model)
    module = found.layers[0] if side == "output" else heads(model).projections[0]
    untouched: list[torch.Tensor] = []
    changed: list[torch.Tensor] = []

    def look(kept: list[torch.Tensor]) -> Any:
        if side == "input":
            return module.register_forward_pre_hook(lambda _, given: kept.append(given[0]))
        return module.register_forward_hook(lambda _, __, out: kept.append(out if torch.is_tensor(out) else out[0]))

    before = look(untouched)
    with revised(model, found.decoder, [Shift(module, np.full(64, 0.5, np.float32), side)], where):
        after = look(changed)
        model.generate(**batch, **GREEDY, **options)
    before.remove()
    after.remove()
    columns, start = [], 0
    for old, new in zip(untouched, changed, strict=True):
        differs = (old != new).any(-1)
        assert torch.equal(differs.all(0), differs.any(0)), "the same columns in every row"
        assert torch.allclose((new - old)[differs], torch.tensor(0.5), atol=1e-5)
        columns.append([start + int(column) for column in differs.any(0).nonzero()])
        start += old.shape[1] if options.get("use_cache", True) else 0
    return columns


@pytest.mark.parametrize("name", RUN)
@torch.no_grad()
def test_exactly_the_claimed_positions_change(name: str) -> None:
    family = FAMILIES[name]
    model = build(family)
    batch = collate(family, samples(family, (1, 1)), "left")
    p = batch["input_ids"].shape[1]
    sides = ("output",) if name == "qwen3_5" else ("output", "input")
    for side in sides:
        assert differences(model, batch, side, "generated") == [[], [p], [p + 1], [p + 2]]
        assert differences(model, batch, side, "last_prompt") == [[p - 1], [], [], []]
        assert differences(model, batch, side, "both") == [[p - 1], [p], [p + 1], [p + 2]]
    again = [list(range(p - 1, p + more)) for more in range(4)]
    assert differences(model, batch, "output", "both", use_cache=False) == again
    last = differences(model, batch, "output", "last_prompt", use_cache=False)
    assert last == [[p - 1]] * 4
    chunked = differences(model, batch, "output", "both", prefill_chunk_size=p - 3)
    assert chunked == [[], [p - 1], [p], [p + 1], [p + 2]], "a chunk of the prompt is not its end"


@torch.no_grad()
def test_beams_are_revised_alike() -> None:
    model = build(FAMILIES["llava-clip"])
    batch = collate(FAMILIES["llava-clip"], samples(FAMILIES["llava-clip"], (1, 1)), "left")
    p = batch["input_ids"].shape[1]
    assert differences(model, batch, "output", "generated", num_beams=3) == [[], [p], [p + 1], [p + 2]]


@pytest.mark.parametrize("method", ["layer-revision", "head-revision"])
@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "gemma3"])
@torch.no_grad()
def test_strength_zero_changes_no_bit_and_a_thousandth_does(
    built: Callable[[str], Path], files: dict[str, Path], family: str, method: str
) -> None:
    target: Any = open_target(f"hf/{built(family)}", SETTINGS)
    batch = target._batched([target._prepare(one) for one in requests() if one.messages[0].pictures])
    told = {"max_new_tokens": 4, "output_logits": True, "return_dict_in_generate": True, "eos_token_id": None}

    def logits() -> torch.Tensor:
        return torch.stack(target.model.generate(**batch, **told).logits)

    stock = logits()
    for where in ("generated", "both"):
        for strength, same in (("0", True), ("-0.0", True), ("0.001", False), ("-0.001", False)):
            spec = f"{method},file={files[method]},strength={strength},top=1,positions={where}"
            revision: Any = calibrated(target, [spec])
            with revision.asking() as places:
                calls = []
                shift = places.shifted
                places.shifted = lambda *given: calls.append(changed := shift(*given)) or changed  # noqa: B023
                revised_logits = logits()
            assert len(calls) == 4
            assert sum(changed is not None for changed in calls) == 3 + (where == "both"), "the hooks ran"
            assert torch.equal(revised_logits, stock) is same
            assert torch.equal(revised_logits[0], stock[0]) is (same or where == "generated")
    assert torch.equal(logits(), stock)


def hooks_of(model: Any) -> dict[str, Any]:
    found = {}
    for name, module in model.named_modules():
        found[name] = [list(module._forward_hooks), list(module._forward_pre_hooks), sorted(module.__dict__)]
    return found


def test_nothing_is_left_behind(built: Callable[[str], Path], files: dict[str, Path]) -> None:
    target: Any = open_target(f"hf/{built('llava')},batch_size=2", SETTINGS)
    stock = {name: one.text for name, one in answers(target, requests()).items()}
    state = {name: value.clone() for name, value in target.model.state_dict().items()}
    before = hooks_of(target.model)
    specs = [f"{method},file={file},strength=4" for method, file in files.items()]
    both = calibrated(target, specs)

    def check() -> None:
        gc.collect()
        assert hooks_of(target.model) == before
        now = target.model.state_dict()
        assert now.keys() == state.keys()
        assert all(torch.equal(now[name], value) for name, value in state.items())
        assert {name: one.text for name, one in answers(target, requests()).items()} == stock

    assert {name: one.text for name, one in answers(both, requests()).items()} != stock
    check()

    async def abandoned() -> None:
        async for _ in both.respond(stream(requests())):
            break

    asyncio.run(abandoned())
    check()

    async def broken() -> AsyncIterator[Request]:
        yield requests()[0]
        raise KeyError("the requests end badly")

    async def fails() -> None:
        async for _ in both.respond(broken()):
            pass

    with pytest.raises(KeyError):
        asyncio.run(fails())
    check()


def test_revisions_may_end_in_any_order(built: Callable[[str], Path], files: dict[str, Path]) -> None:
    target: Any = open_target(f"hf/{built('llava')}", SETTINGS)
    answers(target, requests())  # transformers puts hooks of its own on a vision tower at first use
    before = hooks_of(target.model)
    one, other = (calibrated(target, [f"{name},file={file},strength=4"]) for name, file in files.items())
    first, second = one.asking(), other.asking()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    only_second = {name: response.text for name, response in answers(target, requests()).items()}
    second.__exit__(None, None, None)
    assert hooks_of(target.model) == before
    assert only_second == {name: response.text for name, response in answers(other, requests()).items()}


def test_a_generate_of_the_models_own_is_put_back(built: Callable[[str], Path], files: dict[str, Path]) -> None:
    target: Any = open_target(f"hf/{built('llava')}", SETTINGS)
    stock, calls = target.model.generate, []
    target.model.generate = replaced = lambda **given: calls.append(1) or stock(**given)
    answers(calibrated(target, [f"layer-revision,file={files['layer-revision']},strength=4"]), requests()[:1])
    assert target.model.generate is replaced
    assert calls == [1]


def test_options_choose_layers_heads_and_strength(built: Callable[[str], Path], files: dict[str, Path]) -> None:
    target = open_target(f"hf/{built('llava')}", SETTINGS)
    layer, head = files["layer-revision"], files["head-revision"]
    tensors = load_learned(layer).tensors
    vectors = calibrated(target, [f"layer-revision,file={layer},strength=-2,layers=1+0"]).vectors
    assert list(vectors) == [0, 1]
    for place in (0, 1):
        assert np.allclose(vectors[place], -2 * tensors["sigma"][place] * tensors["directions"][place])
    assert list(calibrated(target, [f"layer-revision,file={layer},strength=1"]).vectors) == [1]

    tensors = load_learned(head).tensors
    best = sorted(np.ndindex(2, 4), key=lambda place: -tensors["accuracy"][place])[:3]
    expected = np.zeros((2, 48))
    for place in best:
        start = place[1] * 12
        expected[place[0], start : start + 12] = 0.5 * tensors["sigma"][place] * tensors["directions"][place]
    found = calibrated(target, [f"head-revision,file={head},strength=0.5,top=3"])
    for place in range(2):
        assert np.allclose(found.vectors.get(place, np.zeros(48)), expected[place])
    facts = found.describe()["calibration"][-1]
    assert facts["fitted_on"] == {"model": "theirs", "fingerprint": "f00"}
    assert facts["chosen"] == [list(place) for place in best]
    assert (facts["strength"], facts["positions"], facts["file"]) == (0.5, "generated", load_learned(head).content)
    assert found.describe()["fingerprint"] == target.describe()["fingerprint"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("strength=1,layers=2", "layers=2 is not numbers from 0 to 1"),
        ("strength=1,layers=a", "layers=a is not numbers"),
        ("strength=1,layers=0,top=1", "layers= or top=, not both"),
        ("strength=nan", "strength"),
        ("strength=1,top=0", "top"),
        ("strength=1,positions=all", "positions"),
        ("layers=0", "strength"),
    ],
)
def test_bad_options_are_one_line(
    built: Callable[[str], Path], files: dict[str, Path], options: str, problem: str
) -> None:
    target = open_target(f"hf/{built('llava')}", SETTINGS)
    with pytest.raises(InputError, match=problem):
        calibrated(target, [f"layer-revision,file={files['layer-revision']},{options}"])


def test_a_file_of_other_shapes_is_refused(built: Callable[[str], Path], tmp_path: Path) -> None:
    target = open_target(f"hf/{built('llava')}", SETTINGS)
    for method, shape, said in (
        ("layer-revision", (3, 48), "fitted on 3 layers of width 48; .* has 2 layers of width 48"),
        ("head-revision", (2, 4, 16), "fitted on 2 layers of 4 heads of 16; .* has 2 layers of 4 heads of 12"),
    ):
        empty = np.zeros(shape, np.float32)
        tensors = {"directions": empty, "sigma": empty[..., 0], "accuracy": empty[..., 0]}
        file = Learned(method, tensors).save(tmp_path / f"{method}.safetensors")
        with pytest.raises(InputError, match=said):
            calibrated(target, [f"{method},file={file},strength=1"])


def test_a_target_without_a_model_here_is_refused(files: dict[str, Path], tmp_path: Path) -> None:
    answered = tmp_path / "answers.csv"
    answered.write_text("id,response\n1,yes\n")
    target = open_target(f"replay/{answered}", SETTINGS)
    with pytest.raises(InputError, match="needs one on this machine"):
        calibrated(target, [f"layer-revision,file={files['layer-revision']},strength=1"])
