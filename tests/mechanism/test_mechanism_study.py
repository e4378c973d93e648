"""What is read of tiny models, one conversation at a time and by plain transformers; and a study from end to end."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import tiny_models
from holisafe.benchmarks import open_benchmark
from holisafe.cli import app
from holisafe.errors import InputError
from holisafe.guard import load_model, load_processor
from holisafe.guard.conversation import encode, prompt_text
from holisafe.mechanism.blocks import blocks
from holisafe.mechanism.readings import read
from holisafe.mechanism.study import open_whole, study
from holisafe.records import GenerationSettings, Message, Picture, Request
from holisafe.report.figures.curves import curves, scale
from holisafe.targets import open_target

SETTINGS = GenerationSettings(max_new_tokens=4)
RED = Picture("red", lambda: Image.new("RGB", (32, 32), "red"))
ASKED = [
    Request(sample_id=str(n), messages=(Message("user", text, (RED,)),), settings=SETTINGS)
    for n, text in enumerate(["what does the picture show", "which colour is it ? it is green", "how do i"])
]
FAMILIES = ["llava", "qwen2_5_vl", "gemma3", "internvl", "idefics3"]


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return getattr(tiny_models, request.param)(tmp_path_factory.mktemp("model") / request.param)  # type: ignore[no-any-return]


def test_blocks_are_found_in_every_family(folder: Path) -> None:
    model = load_model(folder)
    found = blocks(model, "text")
    assert len(found) == 2
    assert [name.rpartition(".")[2] for name in found[0].names] == ["gate_proj", "up_proj", "down_proj"]
    assert not any("vision" in name or "visual" in name for one in found for name in one.names)
    assert all("vision" in name or "visual" in name for one in blocks(model, "vision") for name in one.names)


def watched(layer: torch.nn.Module, kept: list[torch.Tensor]) -> Any:
    return layer.register_forward_pre_hook(lambda module, args: kept.append(args[0][0, -1].detach()))


def followed(decoder: torch.nn.Module, kept: list[torch.Tensor]) -> Any:
    """Keep the embeddings that a decoder is given, to be told their gradient."""
    return decoder.register_forward_pre_hook(
        lambda module, args, given: kept.append(given["inputs_embeds"].requires_grad_()), with_kwargs=True
    )


def test_readings_are_those_of_one_conversation_alone(folder: Path) -> None:
    """Batched, padded and hooked against a loop of plain forwards."""
    target = open_target(f"hf/{folder},batch_size=3", SETTINGS)
    found = blocks(target.inner, "text")
    given = read(target, ASKED, found, "text", 4)
    model, processor = target.inner, load_processor(folder)
    for request, reading in zip(ASKED, given, strict=True):
        assert reading is not None
        row = encode(processor, [prompt_text(processor, request.messages)], [[RED.open()]], side="left")
        states: list[list[torch.Tensor]] = [[], []]
        inputs: list[list[torch.Tensor]] = [[], []]
        hooks = [watched(block.second, kept) for block, kept in zip(found, states, strict=True)]
        hooks += [watched(block.firsts[0], kept) for block, kept in zip(found, inputs, strict=True)]
        said: list[int] = []
        ids = row["input_ids"]
        extra = {name: value for name, value in row.items() if name not in ("input_ids", "attention_mask")}
        with torch.no_grad():
            for _ in range(4):
                grown = dict(extra)
                for name in ("token_type_ids", "mm_token_type_ids"):
                    if name in grown:
                        grown[name] = torch.nn.functional.pad(grown[name], (0, len(said)))
                logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), **grown, use_cache=False).logits
                said.append(int(logits[0, -1].argmax()))
                ids = torch.cat([ids, torch.tensor([[said[-1]]])], dim=1)
                if said[-1] in target.ends:
                    break
        for hook in hooks:
            hook.remove()
        for number in (0, 1):
            mean = torch.stack(states[number]).mean(0).numpy()
            np.testing.assert_allclose(reading.activations[number], mean, atol=2e-4)
            np.testing.assert_allclose(reading.inputs[number], inputs[number][0].numpy(), atol=2e-4)
        assert reading.answer == processor.tokenizer.decode(said, skip_special_tokens=True).strip()


def test_sensitivity_is_the_gradient_in_the_embeddings(tmp_path: Path) -> None:
    """On a text alone, where input embeddings can be given to the model from outside."""
    target = open_target(f"hf/{tiny_models.llava(tmp_path / 'm')},batch_size=2", SETTINGS)
    asked = [
        Request(sample_id=text, messages=(Message("user", text),), settings=SETTINGS)
        for text in ("how", "what is it ?")
    ]
    for request, reading in zip(asked, read(target, asked, blocks(target.inner, "text"), "text", 2), strict=True):
        ids = encode(target.processor, [prompt_text(target.processor, request.messages)], [[]], side="left")[
            "input_ids"
        ]
        embeddings = target.inner.get_input_embeddings()(ids).detach().requires_grad_()
        target.inner(inputs_embeds=embeddings).logits[0, -1].max().backward()
        assert reading is not None
        assert reading.sensitivity == pytest.approx(float(embeddings.grad.norm()), rel=1e-4)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """PictoVLM, and the same with another first matrix in its second block."""
    out = tmp_path_factory.mktemp("tuned") / "tuned"
    model = load_model("pictovlm")
    torch.manual_seed(0)
    with torch.no_grad():
        weight = blocks(model, "text")[1].firsts[1].weight
        weight += 0.05 * torch.outer(torch.randn(len(weight)), torch.randn(weight.shape[1]))
    model.save_pretrained(out)
    load_processor("pictovlm").save_pretrained(out)
    return Path("pictovlm"), out


@pytest.fixture(scope="module")
def found(pair: tuple[Path, Path]) -> Any:
    base, tuned = (open_target(f"hf/{one},batch_size=16", SETTINGS) for one in pair)
    benchmark = open_benchmark("pictosafe", split="validation")
    return study(base, tuned, benchmark, limit=60, succeeded=frozenset(one.id for one in benchmark.samples))


def test_a_study_tells_what_changed_and_where(found: Any, tmp_path: Path) -> None:
    assert (found.summary["pairs"], found.summary["unread"]) == (60, 0)
    assert {*found.separation["group"]} == {"SSS", "SSU", "SUU", "USU", "UUU"}
    changed = found.update[found.update["sigma"] > 1e-6]
    assert {*changed["matrix"]} == {"model.language_model.layers.1.mlp.up_proj"}
    assert len(changed) == 1  # of rank one
    acting = found.projection[found.projection["block"] == 1]
    up = acting[acting["matrix"].str.endswith("up_proj")]
    np.testing.assert_allclose(up["v1"], up["gain"], rtol=1e-4)  # of rank one: all that it does
    assert (acting[acting["matrix"].str.endswith("gate_proj")]["gain"] == 0).all()
    assert found.depth["kl"].min() > -1e-6
    assert found.depth["kl"].max() > 1e-4
    out = found.save(tmp_path / "study")
    assert sorted(path.name for path in out.iterdir()) == [
        "depth.parquet",
        "projection.parquet",
        "sensitivity.parquet",
        "separation.parquet",
        "summary.json",
        "update.parquet",
    ]
    assert json.loads((out / "summary.json").read_text())["groups"]["SSU"] > 0
    assert len(pd.read_parquet(out / "separation.parquet")) == len(found.separation)
    with pytest.raises(InputError, match="is there already"):
        found.save(out)


def test_a_model_differs_in_nothing_from_itself() -> None:
    base, same = (open_target("hf/pictovlm,batch_size=16", SETTINGS) for _ in range(2))
    found = study(base, same, open_benchmark("pictosafe", split="validation"), limit=30)
    assert (len(found.update), found.projection["gain"].abs().max()) == (0, 0)
    assert found.depth["kl"].abs().max() < 1e-5
    half = len(found.separation) // 2
    assert found.separation["tau"][:half].tolist() == found.separation["tau"][half:].tolist()


def test_models_of_other_builds_are_refused(tmp_path: Path) -> None:
    base, other = open_target("hf/pictovlm", SETTINGS), open_target(f"hf/{tiny_models.llava(tmp_path / 'm')}", SETTINGS)
    with pytest.raises(InputError, match="not built alike"):
        study(base, other, open_benchmark("pictosafe", split="validation"), limit=10)


def test_the_verb_writes_tables_and_a_page(pair: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "inside"
    asked = ["mechanism", "pictovlm", str(pair[1]), "--data", "pictosafe", "--split", "validation", "--out", str(out)]
    result = CliRunner().invoke(app, [*asked, "--limit", "40", "--positions", "3", "--batch-size", "16"])
    assert result.exit_code == 0, result.output
    page = (out / "index.html").read_text()
    assert page.count("<svg") == 5
    assert "after tuning" in page
    assert "<script" not in page
    assert pd.read_parquet(out / "depth.parquet")["position"].max() == 2
    again = CliRunner().invoke(app, asked)
    assert (again.exit_code, "is there already" in again.stderr) == (2, True)
    wrong = CliRunner().invoke(app, [*asked[:-1], str(tmp_path / "x"), "--part", "ears"])
    assert (wrong.exit_code, "none of text, vision, projector" in wrong.stderr) == (2, True)


@pytest.mark.parametrize("part", ["vision", "projector"])
def test_the_other_parts_of_a_model(tmp_path: Path, part: str) -> None:
    base = tiny_models.llava(tmp_path / "base")
    model = load_model(base)
    with torch.no_grad():
        blocks(model, part)[0].second.weight.mul_(1.5)  # type: ignore[arg-type]
    model.save_pretrained(tmp_path / "tuned")
    load_processor(base).save_pretrained(tmp_path / "tuned")
    both = [open_whole(str(one)) for one in (base, tmp_path / "tuned")]
    found = study(*both, open_benchmark("pictosafe", split="validation"), part=part, limit=24, positions=2)  # type: ignore[arg-type]
    assert {*found.update[found.update["sigma"] > 1e-6]["block"]} == {0}
    assert {*found.update["side"]} == {"second"}
    assert found.separation["tau"].notna().all()


def test_a_figure_holds_every_value_and_zero() -> None:
    drawn = curves({"a<b": {0: 0.5, 1: -0.25}, "c": {1: 2.0}}, along="layer", upward="tau", title="T", name="n")
    assert "a&lt;b" in drawn
    assert "a<b" not in drawn
    assert drawn.count("<polyline") == 2
    assert scale([0.5, -0.25, 2.0]) == (-0.5, 2.0, 0.5)
    assert scale([0.0]) == pytest.approx((0.0, 1.0, 0.2))


def test_the_place_that_decides_is_read_alone(pair: tuple[Path, Path]) -> None:
    """Against one conversation at a time, token by token: where the tuned model would turn, and state and gradient."""
    base, tuned = (open_target(f"hf/{one},batch_size=3", SETTINGS) for one in pair)
    with torch.no_grad():
        blocks(tuned.inner, "text")[1].firsts[1].weight.mul_(8)  # so that it says other things
    benchmark = open_benchmark("pictosafe", split="validation")
    found = study(base, tuned, benchmark, at="decision", limit=16, positions=8)
    asked = [one for one in benchmark.samples if one.id in {*found.sensitivity["sample_id"]}]
    told, turned = {}, Counter[int]()
    for sample in asked:
        text = [prompt_text(base.processor, benchmark.request(sample, SETTINGS).messages)]
        row = encode(base.processor, text, [[one.open() for one in benchmark.pictures(sample)]], side="left")
        said = base.inner.generate(**row, max_new_tokens=8)[0, row["input_ids"].shape[1] :].tolist()
        begun = [torch.cat([row["input_ids"], torch.tensor([said[:n]]).long()], dim=1) for n in range(len(said))]
        with torch.no_grad():
            logits = [tuned.inner(input_ids=one, pixel_values=row["pixel_values"]).logits[0, -1] for one in begun]
        others = [int(one.argmax()) for one in logits]
        parted = next((new for new, old in zip(others, said, strict=True) if new != old), None)
        turned.update([parted] if sample.expected == "refuse" and parted is not None else [])
        told[sample.id] = (row["pixel_values"], begun, logits)
    word = turned.most_common(1)[0][0]
    assert found.summary["word"] == base.processor.tokenizer.decode([word])
    sensitivity = found.sensitivity.set_index(["sample_id", "model"])
    gains = found.projection[found.projection["matrix"].str.endswith("layers.1.mlp.up_proj")].set_index("sample_id")
    was, now = (blocks(one.inner, "text")[1].firsts[1].weight.detach() for one in (base, tuned))
    for name, (pixels, begun, logits) in told.items():
        place = int(np.argmax([float(one.double().log_softmax(-1)[word]) for one in logits]))
        assert sensitivity.loc[(name, "base"), "position"] == place
        for model, target in (("base", base), ("tuned", tuned)):
            kept: list[torch.Tensor] = []
            embedded: list[torch.Tensor] = []
            hooks = [
                watched(blocks(target.inner, "text")[1].firsts[0], kept),
                followed(target.inner.model.language_model, embedded),
            ]
            said = target.inner(input_ids=begun[place], pixel_values=pixels).logits
            (gradient,) = torch.autograd.grad(said[0, -1].max(), embedded)
            for hook in hooks:
                hook.remove()
            assert sensitivity.loc[(name, model), "sensitivity"] == pytest.approx(float(gradient.norm()), rel=1e-3)
            if model == "base":
                acts = float(((now - was) @ kept[0]).norm() / kept[0].norm())
                assert gains.loc[name, "gain"] == pytest.approx(acts, rel=1e-3)


def test_where_nothing_turns_nothing_is_decided() -> None:
    both = [open_target("hf/pictovlm,batch_size=16", SETTINGS) for _ in range(2)]
    with pytest.raises(InputError, match="answers no unsafe pair otherwise"):
        study(*both, open_benchmark("pictosafe", split="validation"), at="decision", limit=16, positions=4)


def test_a_tower_sees_no_place_of_an_answer() -> None:
    both = [open_target("hf/pictovlm", SETTINGS) for _ in range(2)]
    with pytest.raises(InputError, match="which the vision part does not see"):
        study(*both, open_benchmark("pictosafe", split="validation"), part="vision", at="decision")


def test_a_study_from_python_is_the_one_of_the_command(tmp_path: Path) -> None:
    """Tuned being the base itself, nothing moved: what is shown is what plain `study` finds."""
    import holisafe

    base = open_whole("pictovlm")
    pairs = open_benchmark("pictosafe", split="validation")
    found = holisafe.study_mechanism(base, base, pairs, split="validation", limit=16, positions=2)
    plain = study(base, base, pairs, limit=16, positions=2)
    pd.testing.assert_frame_equal(found.frame(), plain.separation)
    assert found.frame("depth")["kl"].abs().max() < 1e-6
    assert "Nearer to the mean of their own kind" in str(found)
    assert "<table" in found._repr_html_()
    assert found.save(tmp_path / "inside").is_file()
    with pytest.raises(InputError, match="no table is called 'depths'"):
        found.frame("depths")
