"""The method as a whole on the shipped tiny model, and on tiny models of other families."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tiny_models
from holisafe.benchmarks import open_benchmark
from holisafe.calibration import calibrated
from holisafe.calibration.base import FitData, fit_data
from holisafe.calibration.learned import Learned, load_learned
from holisafe.calibration.methods.unsafe_weights import UnsafeWeights
from holisafe.calibration.weight.partners import partners
from holisafe.cli import app
from holisafe.errors import InputError
from holisafe.records import GenerationSettings, Request, Response
from holisafe.targets import open_target

SETTINGS = GenerationSettings(max_new_tokens=6)
LAYER = "model.language_model.layers.1.self_attn.o_proj"


@pytest.fixture(scope="module")
def pictovlm() -> Any:
    return open_target("hf/pictovlm,batch_size=8", SETTINGS)


@pytest.fixture(scope="module")
def data() -> FitData:
    return fit_data(open_benchmark("pictosafe"), limit=8, seed=3)


@pytest.fixture(scope="module")
def learned(pictovlm: Any, data: FitData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = UnsafeWeights.fit(pictovlm, data, {"layers": r"language_model.*o_proj$", "tau": "0.9"})
    return found.save(tmp_path_factory.mktemp("learned") / "uw.safetensors")


def bits(target: Any) -> dict[str, bytes]:
    return {n: p.detach().flatten().view(torch.uint8).numpy().tobytes() for n, p in target.model.named_parameters()}


def answers(target: Any, requests: list[Request]) -> dict[str, Response]:
    async def give() -> Any:
        for request in requests:
            yield request

    async def collect() -> list[Response]:
        return [response async for response in target.respond(give())]

    return {response.sample_id: response for response in asyncio.run(collect())}


@pytest.fixture(scope="module")
def asked() -> list[Request]:
    benchmark = open_benchmark("pictosafe", split="validation")
    return [benchmark.request(sample, SETTINGS) for sample in benchmark.samples[:12]]


def score(weight: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Equations 8 and 9 in full, without their structure."""
    s = np.abs(weight) * np.sqrt((rows**2).sum(0))
    return s.mean(1)[:, None] * s.mean(0)[None, :] / (rows.std(0, ddof=1) + 1e-8)


def test_what_is_marked_is_what_the_equations_mark(pictovlm: Any, data: FitData, learned: Path) -> None:
    layer, processor = pictovlm.model.get_submodule(LAYER), pictovlm.processor
    seen: list[torch.Tensor] = []
    ratios = []
    for pair in partners(data):
        found = []
        for sample in (pair.safe, pair.unsafe):
            turn = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": sample.query}]}]
            text = processor.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
            image = data.benchmark.open_image(sample.images[0])
            inputs = processor(text=[text], images=[[image]], return_tensors="pt", add_special_tokens=False)
            hook = layer.register_forward_hook(lambda _, given, __: seen.append(given[0]))
            with torch.no_grad():
                pictovlm.model(**inputs)
            hook.remove()
            found.append(score(layer.weight.detach().double().numpy(), seen.pop()[0].double().numpy()))
        ratios.append(found[1] / found[0])
    final = np.mean(ratios, axis=0).ravel()
    order = np.argsort(final, kind="stable")
    passed = np.cumsum(final[order]) / final.sum() > 0.9
    kept = load_learned(learned)
    assert kept.tensors[LAYER].tolist() == sorted(order[passed].tolist())
    assert kept.facts["layers"][LAYER] == {"shape": list(layer.weight.shape), "marked": int(passed.sum())}
    assert (kept.facts["tau"], kept.facts["pairs"], kept.facts["pairs_of_one_cluster"]) == (0.9, 4, 4)
    assert len(kept.tensors) == 4


def test_alpha_one_answers_alike_negation_does_not_and_nothing_stays(
    pictovlm: Any, learned: Path, asked: list[Request]
) -> None:
    before = bits(pictovlm)
    plain = answers(pictovlm, asked)
    for alpha, same in (("1", True), ("-50", False)):
        target = calibrated(pictovlm, [f"unsafe-weights,file={learned},alpha={alpha}"])
        found = answers(target, asked)
        assert ({n: r.text for n, r in found.items()} == {n: r.text for n, r in plain.items()}) == same
        assert {r.target for r in found.values()} == {f"hf/pictovlm+unsafe-weights,file={learned},alpha={alpha}"}
        assert bits(pictovlm) == before
    (fact,) = calibrated(pictovlm, [f"unsafe-weights,file={learned}"]).describe()["calibration"]
    assert fact == {"method": "unsafe-weights", "file": load_learned(learned).content, "alpha": -1.0}


def test_the_patch_is_in_force_for_likelihoods_too(pictovlm: Any, learned: Path, asked: list[Request]) -> None:
    before, texts = bits(pictovlm), [request.messages[-1].text for request in asked]
    plain = pictovlm.log_likelihoods(asked, texts)
    for alpha, same in (("1", True), ("0", False)):
        target: Any = calibrated(pictovlm, [f"unsafe-weights,file={learned},alpha={alpha}"])
        assert (target.log_likelihoods(asked, texts) == plain) == same
    assert bits(pictovlm) == before


def test_an_answer_that_is_not_waited_for_leaves_nothing_behind(
    pictovlm: Any, learned: Path, asked: list[Request]
) -> None:
    before = bits(pictovlm)
    target = calibrated(pictovlm, [f"unsafe-weights,file={learned}"])

    async def give() -> Any:
        for request in asked:
            yield request

    async def first() -> None:
        stream: Any = target.respond(give())
        await anext(stream)
        assert bits(pictovlm) != before
        await stream.aclose()

    asyncio.run(first())
    assert bits(pictovlm) == before


def test_scores_may_be_multiplied_by_the_weights_and_the_file_tells(
    pictovlm: Any, data: FitData, learned: Path
) -> None:
    options = {"layers": LAYER.replace(".", r"\.") + "$", "tau": "0.9", "times_weight": "true"}
    found = UnsafeWeights.fit(pictovlm, data, options)
    assert (found.facts["times_weight"], load_learned(learned).facts["times_weight"]) == (True, False)
    size = pictovlm.model.get_submodule(LAYER).weight.detach().abs().flatten()
    assert size[found.tensors[LAYER]].mean() > 1.5 * size[load_learned(learned).tensors[LAYER]].mean()


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
def test_the_batch_size_changes_nothing(tmp_path: Path, family: str, data: FitData) -> None:
    folder = tiny_models.FAMILIES[family](tmp_path / family)
    options = {"layers": r"vis.*(fc2|mlp\.down_proj)$|language.*o_proj$", "tau": "0.8"}
    found = [
        UnsafeWeights.fit(open_target(f"hf/{folder},batch_size={size}", SETTINGS), data, options) for size in (1, 8)
    ]
    assert len(found[0].tensors) == 4
    for name, indices in found[0].tensors.items():
        assert indices.tolist() == found[1].tensors[name].tolist()
        assert len(indices)


def test_a_file_for_another_model_or_method_is_refused(pictovlm: Any, learned: Path, tmp_path: Path) -> None:
    kept = load_learned(learned)

    def changed(name: str, **facts: Any) -> str:
        path = tmp_path / f"{name}.safetensors"
        Learned(kept.method, kept.tensors, {**kept.facts, **facts}).save(path)
        return f"unsafe-weights,file={path}"

    layers = kept.facts["layers"]
    for spec, words in (
        (changed("model", model={"fingerprint": "other"}), "was fitted on another model"),
        (changed("layers", layers={**layers, LAYER: {"shape": [1, 2], "marked": 3}}), f"{LAYER} has weights"),
        (f"unsafe-weights,file={learned},tau=0.9", "tau"),
        (f"unsafe-weights,file={learned},alpha=nan", "alpha"),
        ("unsafe-weights", "file"),
    ):
        with pytest.raises(InputError, match=words):
            calibrated(pictovlm, [spec])
    with pytest.raises(InputError, match="layers"):
        UnsafeWeights.fit(pictovlm, fit_data(open_benchmark("pictosafe"), limit=4), {})


@pytest.fixture
def replayed(tmp_path: Path) -> Any:
    (tmp_path / "r.csv").write_text("id,response\n1,no\n")
    return open_target(f"replay/{tmp_path / 'r.csv'}", SETTINGS)


def test_it_needs_a_model_on_this_machine(replayed: Any, learned: Path) -> None:
    with pytest.raises(InputError, match="needs one on this machine"):
        calibrated(replayed, [f"unsafe-weights,file={learned}"])


def test_fit_and_run_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def holisafe(*words: object) -> int:
        with pytest.raises(SystemExit) as left:
            app([str(word) for word in words])
        return int(left.value.code or 0)

    file, run = tmp_path / "uw.safetensors", tmp_path / "run"
    fit = ["calibrate", "fit", r"unsafe-weights,layers=down_proj$,tau=0.95", "--target", "hf/pictovlm"]
    assert holisafe(*fit, "--data", "pictosafe-development", "--limit", 8, "--out", file) == 0
    assert f"--calibrate unsafe-weights,file={file}" in capsys.readouterr().out
    ask = [
        "run",
        "pictosafe-development",
        "--target",
        "hf/pictovlm",
        "--limit",
        5,
        "--max-tokens",
        4,
        "--judge",
        "string-match",
    ]
    assert holisafe(*ask, "--calibrate", f"unsafe-weights,file={file}", "--out", run) == 0
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["target"]["calibration"][0]["method"] == "unsafe-weights"
