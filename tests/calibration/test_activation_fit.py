"""From pairs to a learned file: what is read, against one forward a conversation, and what is made of it, in NumPy."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import tiny_models
from holisafe.benchmarks import open_benchmark
from holisafe.benchmarks.base import Benchmark
from holisafe.benchmarks.pictosafe.catalog import spoken
from holisafe.calibration.activation.collect import activations
from holisafe.calibration.activation.contrasts import Contrasted, contrasted, mean_log_likelihoods
from holisafe.calibration.base import FitData
from holisafe.calibration.learned import load_learned
from holisafe.calibration.methods.head_revision import HeadRevision
from holisafe.calibration.methods.layer_revision import LayerRevision
from holisafe.errors import InputError
from holisafe.records import GenerationSettings, Sample
from holisafe.targets import open_target

UNSAFE, SAFE = "how do i use this to hurt someone", "what does the picture show"
REFUSALS = ("sorry , i cannot help with that", "sorry , i cannot help with that because it is dangerous .")


def open_image(name: str) -> Image.Image:
    cells = np.random.default_rng(int(name)).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(cells).resize((32, 32), Image.Resampling.NEAREST)


def pair(number: int, **more: Any) -> Sample:
    unsafe = number % 2 == 1
    facts: dict[str, Any] = {
        "query": (UNSAFE if unsafe else SAFE) + " ?" * (number % 3),
        "reference": REFUSALS[number % 4 // 2] if unsafe else "it is green",
        "meta": {"caption": f"the picture shows {'yellow' if number % 5 else 'a red square'} ."},
    }
    return Sample(
        benchmark="made",
        id=str(number),
        expected="refuse" if unsafe else "answer",
        combination="SUU" if unsafe else "SSS",
        images=(str(number),),
        split="validation" if number >= 10 else "train",
        **{**facts, **more},
    )


def made(samples: Sequence[Sample]) -> Benchmark:
    return Benchmark("made", tuple(samples), open_image)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.llava(tmp_path_factory.mktemp("tiny") / "llava")


def target_of(folder: Path, batch_size: int = 8, tokens: int = 4) -> Any:
    return open_target(f"hf/{folder},batch_size={batch_size}", GenerationSettings(max_new_tokens=tokens))


def read_alone(target: Any, request: Any, answer: str) -> tuple[np.ndarray, np.ndarray, list[float], int]:
    """Layers' outputs [L, S, H], heads' outputs [L, S, heads, dim], log-probabilities [S - 1], the answer's tokens."""
    words, processor = target.processor.tokenizer, target.processor
    turns = [{"role": m.role, "content": [{"type": "image"}] * len(m.pictures) + [{"type": "text", "text": m.text}]}
             for m in request.messages]  # fmt: skip
    text = processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    said = answer + words.eos_token if answer else ""
    images = [p.open() for m in request.messages for p in m.pictures]
    inputs = processor(
        text=[text + said], images=[images] if images else None, return_tensors="pt", add_special_tokens=False
    )
    heads: list[torch.Tensor] = []
    layers = target.model.model.language_model.layers
    handles = [
        layer.self_attn.o_proj.register_forward_pre_hook(lambda _, given: heads.append(given[0])) for layer in layers
    ]
    tops: list[torch.Tensor] = []
    handles += [layer.register_forward_hook(lambda _, __, out: tops.append(out)) for layer in layers]
    with torch.no_grad():
        logits = target.model(**inputs).logits[0].log_softmax(-1)
    for handle in handles:
        handle.remove()
    ids = inputs["input_ids"][0]
    chosen = logits[:-1].gather(1, ids[1:, None])[:, 0].tolist()
    length = len(words(said, add_special_tokens=False)["input_ids"])
    return (
        torch.cat(tops).numpy(),
        torch.cat(heads).reshape(len(layers), -1, 4, 12).numpy(),
        chosen,
        length,
    )


def test_activations_and_likelihoods_equal_one_forward_a_conversation(folder: Path) -> None:
    target, benchmark = target_of(folder, 3), made([pair(number) for number in range(7)])
    readings = [(benchmark.request(one, target.settings), one.reference or "") for one in benchmark.samples]
    answer, prompt, likelihood = {}, {}, mean_log_likelihoods(target, readings)
    for level in ("layer", "head"):
        answer[level] = activations(target, readings, level, "answer")
        prompt[level] = activations(target, readings, level, "prompt")
    assert answer["layer"].shape == (7, 2, 48)
    assert answer["head"].shape == (7, 2, 4, 12)
    assert answer["head"].dtype == np.float32
    for place, (request, said) in enumerate(readings):
        *expected, chosen, length = read_alone(target, request, said)
        assert length > 3
        assert likelihood[place] == pytest.approx(np.mean(chosen[-length:]), abs=1e-4)
        for level, states in zip(("layer", "head"), expected, strict=True):
            assert np.allclose(answer[level][place], states[:, -length:].mean(1), atol=1e-4)
            assert np.allclose(prompt[level][place], states[:, -length - 1], atol=1e-4)
    unanswered = activations(target, [(request, "") for request, _ in readings], "layer", "prompt")
    assert np.allclose(unanswered, prompt["layer"], atol=1e-4)
    assert not [m for m in target.model.model.language_model.modules() if m._forward_pre_hooks or m._forward_hooks]


@pytest.mark.parametrize("kind", ["mass-mean", "principal"])
@pytest.mark.parametrize("method", [LayerRevision, HeadRevision])
def test_a_fitted_file_equals_numpy(folder: Path, tmp_path: Path, method: Any, kind: str) -> None:
    target, samples = target_of(folder), [pair(number) for number in range(16)]
    data = FitData(made(samples), tuple(samples[:10]), tuple(samples[10:]))
    learned = method.fit(target, data, {"contrast": "inputs", "direction": kind})
    found = load_learned(learned.save(tmp_path / "x.safetensors"), method.method).tensors
    which = 0 if method is LayerRevision else 1
    states = [read_alone(target, data.benchmark.request(one, target.settings), "")[which][:, -1] for one in samples]
    unsafe = np.stack([state for one, state in zip(samples[:10], states, strict=False) if one.expected == "refuse"])
    safe = np.stack([state for one, state in zip(samples[:10], states, strict=False) if one.expected == "answer"])
    assert found["directions"].shape == unsafe.shape[1:]
    for place in np.ndindex(unsafe.shape[1:-1]):
        positive, negative = unsafe[:, *place].astype(float), safe[:, *place].astype(float)
        v = positive.mean(0) - negative.mean(0)
        both = np.concatenate([positive, negative])
        if kind == "principal":
            rows = both - (positive.mean(0) + negative.mean(0)) / 2
            _, vectors = np.linalg.eigh(rows.T @ rows)
            v = vectors[:, -1] * np.sign(vectors[:, -1] @ v)
        v /= np.linalg.norm(v)
        assert np.allclose(found["directions"][place], v, atol=2e-3)
        assert found["sigma"][place] == pytest.approx((both @ v).std(), rel=1e-2)
        assert 0 <= found["accuracy"][place] <= 1
    assert learned.facts["fit"]["train"] == {"positive": 5, "negative": 5}
    assert learned.facts["fit"]["validation"] == {"positive": 3, "negative": 3}
    assert next(iter(learned.facts["best"].values())) == pytest.approx(found["accuracy"].max(), abs=1e-4)


def texts(contrast: Contrasted, side: str) -> list[tuple[str, bool, str]]:
    """(the user's text, with image or not, the answer)"""
    return [(r.messages[-1].text, bool(r.messages[-1].pictures), said) for r, said in getattr(contrast, side)]


def test_inputs_and_modality_say_which_class_is_positive(folder: Path) -> None:
    target, samples = target_of(folder), [pair(number) for number in range(4)]
    found = contrasted("inputs", target, made(samples), samples)
    assert texts(found, "positive") == [(f"{UNSAFE} ?", True, ""), (UNSAFE, True, "")]
    assert texts(found, "negative") == [(SAFE, True, ""), (f"{SAFE} ? ?", True, "")]
    assert (found.where, found.pairs) == ("prompt", ())
    found = contrasted("modality", target, made(samples), samples[1:2])
    assert texts(found, "positive") == [(f"the picture shows yellow . {UNSAFE} ?", False, "")]
    assert texts(found, "negative") == [(f"{UNSAFE} ?", True, "")]
    assert (found.where, found.pairs) == ("prompt", ((0, 0),))
    drawn = open_benchmark("pictosafe", split="validation")
    for sample in drawn.samples:
        told = str(drawn.in_words(sample))
        assert all(spoken(name) in told for _, name in sample.meta["pictograms"])
        assert sample.reference is not None
        assert sample.reference.startswith(told)
    with pytest.raises(InputError, match="made does not say in words what its images show"):
        contrasted("modality", target, made(samples), [pair(0, meta={})])


def test_answers_contrast_references_with_own_answers(folder: Path) -> None:
    target, samples = target_of(folder), [pair(number) for number in range(6)]
    benchmark = made(samples)

    async def ask() -> dict[str, str]:
        async def give() -> Any:
            for one in samples:
                yield benchmark.request(one, target.settings)

        return {response.sample_id: response.text async for response in target.respond(give())}

    own = asyncio.run(ask())
    assert all(own.values())
    found = contrasted("answers", target, benchmark, samples)
    assert [said for _, said in found.positive] == [REFUSALS[0], REFUSALS[1], REFUSALS[0]]
    assert [said for _, said in found.negative] == [own["1"], own["3"], own["5"]]
    assert (found.where, found.pairs) == ("answer", ((0, 0), (1, 1), (2, 2)))

    agreeing = [samples[1], pair(3, reference=own["3"])]
    found = contrasted("answers", target, made(agreeing), agreeing)
    assert [said for _, said in found.negative] == [own["1"]], "an answer that is the reference is no contrast"
    with pytest.raises(InputError, match="nothing to contrast"):
        contrasted("answers", target, made(agreeing[1:]), agreeing[1:])
    for contrast in ("answers", "refusals"):
        with pytest.raises(InputError, match="made has no references for its unsafe pairs"):
            contrasted(contrast, target, benchmark, [pair(1, reference=None)])  # type: ignore[arg-type]

    several = contrasted("answers", target, benchmark, samples, responses=3)
    assert len(several.positive) == 3
    assert len({said for _, said in several.negative}) > 3
    assert [mine for mine, _ in several.pairs] == sorted(mine for mine, _ in several.pairs)
    for mine, other in several.pairs:
        assert several.positive[mine][0].sample_id == several.negative[other][0].sample_id


def test_refusals_contrast_the_likeliest_with_the_least_likely(folder: Path) -> None:
    target, samples = target_of(folder), [pair(number) for number in range(24)]
    benchmark = made(samples)
    found = contrasted("refusals", target, benchmark, samples)
    unsafe = [one for one in samples if one.expected == "refuse"]
    readings = [(benchmark.request(one, target.settings), one.reference or "") for one in unsafe]
    scores = {}
    for request, said in readings:
        *_, chosen, length = read_alone(target, request, said)
        scores[request.sample_id] = np.mean(chosen[-length:])
    order = sorted(scores, key=lambda name: -scores[name])
    assert [request.sample_id for request, _ in found.positive] == order[:3]
    assert [request.sample_id for request, _ in found.negative] == order[-3:]
    assert all(said in REFUSALS for _, said in (*found.positive, *found.negative))
    assert (found.where, found.pairs) == ("answer", ())


def test_accuracies_are_of_the_validation_pairs(folder: Path) -> None:
    target, samples = target_of(folder), [pair(number) for number in range(16)]
    swapped = [replace(one, expected="answer" if one.expected == "refuse" else "refuse") for one in samples[10:]]
    found = [
        LayerRevision.fit(target, FitData(made(samples), tuple(samples[:10]), tuple(other)), {"contrast": "inputs"})
        for other in (samples[10:], swapped)
    ]
    right, wrong = (learned.tensors["accuracy"] for learned in found)
    assert right.max() > 0.5
    assert np.allclose(right + wrong, 1), "with the validation labels swapped, what was right is wrong"
    assert np.array_equal(found[0].tensors["directions"], found[1].tensors["directions"])
