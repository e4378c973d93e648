"""Attention of generated tokens, against a loop over full forwards without a cache."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from PIL import Image
from torch import Tensor

import holisafe
from holisafe.cli import app
from holisafe.errors import InputError
from holisafe.guard import load_model, load_processor, save_guarded
from holisafe.guard.attention import ask_attention, generated_attention
from holisafe.guard.meta_token import add_meta_token
from holisafe.report.figures.attention import as_file, attention_heat, attention_lines
from tiny_models import FAMILIES, llava

from .tiny_families import FAMILIES as CONFIGS
from .tiny_families import IMAGE, build, collate, samples

NEW = 6
INSIDE = ["llava-clip", "qwen2_5_vl", "gemma3", "smolvlm", "internvl", "blip-2"]


def positions_of(ids: Tensor) -> Tensor:
    """The first position after each sample's last image token; none for a sample without image."""
    chosen = torch.zeros_like(ids, dtype=torch.bool)
    for row, sequence in enumerate(ids.tolist()):
        if IMAGE in sequence:
            chosen[row, len(sequence) - sequence[::-1].index(IMAGE)] = True
    return chosen


def loop(model: Any, family: Any, rows: Any, answers: Tensor) -> Iterator[tuple[int, int, int, float, float]]:
    """(sample, layer, generated token, weight on the position, mean weight on image tokens), each sample alone and
    unpadded, its whole answer appended, one forward without a cache."""
    model.set_attn_implementation("eager")
    for index, (row, answer) in enumerate(zip(rows, answers.tolist(), strict=True)):
        if not row.images:
            continue
        whole = collate(family, [type(row)(row.ids + answer, row.images)])
        output = model(**whole, output_attentions=True, use_cache=False)
        attentions = output.get("language_model_outputs", output).attentions
        image = [place for place, token in enumerate(row.ids) if token == IMAGE]
        for layer, weights in enumerate(attentions):
            for step in range(len(answer) - 1):
                heads = [head[len(row.ids) + step] for head in weights[0]]
                on_target = sum(float(head[image[-1] + 1]) for head in heads) / len(heads)
                on_image = sum(float(head[place]) for head in heads for place in image) / len(heads) / len(image)
                yield index, layer, step, on_target, on_image


@pytest.mark.parametrize("name", INSIDE)
@torch.no_grad()
def test_cached_generation_equals_full_forwards(name: str) -> None:
    family = CONFIGS[name]
    model = build(family)
    rows = samples(family)
    batch = collate(family, rows, side="left")
    found = generated_attention(model, batch, positions=positions_of(batch["input_ids"]), max_new_tokens=NEW)
    answers = model.generate(**batch, max_new_tokens=NEW, do_sample=False)[:, -NEW:]
    assert found.to_token.shape == (3, 2, NEW - 1)
    seen = 0
    largest = 0.0
    for sample, layer, step, on_target, on_image in loop(model, family, rows, answers):
        assert float(found.to_token[sample, layer, step]) == pytest.approx(on_target, abs=2e-5), (sample, layer, step)
        assert float(found.to_image[sample, layer, step]) == pytest.approx(on_image, abs=2e-5), (sample, layer, step)
        seen, largest = seen + 1, max(largest, on_target)
    assert seen == 2 * 2 * (NEW - 1)
    assert largest > 0.02, "vacuous: nothing is attended to"
    assert found.to_image[2].isnan().all(), "a sample without image"
    assert [row["n"] for row in found.table()] == [2 * (NEW - 1)] * 2


@torch.no_grad()
def test_a_window_that_slid_past_the_images() -> None:
    family = CONFIGS["gemma3"]
    model = build(family)
    (row,) = samples(family, images=(1,))
    batch = collate(family, [row])
    long = 14
    found = generated_attention(model, batch, positions=positions_of(batch["input_ids"]), max_new_tokens=long)
    answers = model.generate(**batch, max_new_tokens=long, do_sample=False)[:, -long:]
    for sample, layer, step, on_target, on_image in loop(model, family, [row], answers):
        assert float(found.to_token[sample, layer, step]) == pytest.approx(on_target, abs=2e-5)
        assert float(found.to_image[sample, layer, step]) == pytest.approx(on_image, abs=2e-5)
    sliding, full = found.to_token[0]
    assert sliding[-1] == 0, "out of the window"
    assert full[-1] > 0


@torch.no_grad()
def test_nothing_counts_from_the_end_of_an_answer_on() -> None:
    family = CONFIGS["llava-clip"]
    model = build(family)
    batch = collate(family, samples(family, images=(1, 1)), side="left")
    answers = model.generate(**batch, max_new_tokens=NEW, do_sample=False)[:, -NEW:]
    end = int(answers[0, 2])
    model.generation_config.eos_token_id = [end]
    found = generated_attention(model, batch, positions=positions_of(batch["input_ids"]), max_new_tokens=NEW)
    for row in range(2):
        said = answers[row].tolist()
        lives = min(said.index(end) if end in said else NEW, NEW - 1)
        assert (~found.to_token[row, 0].isnan()).sum() == min(lives, found.to_token.shape[2])
    table, by_token = found.table(), found.by_token()
    values = found.to_token[:, 1][~found.to_token[:, 1].isnan()].tolist()
    assert table[1]["to_token"] == pytest.approx(sum(values) / len(values))
    assert table[1]["n"] == len(values)
    column = [float(w) for w in found.to_token[:, 1, 0]]
    assert by_token[1][0] == pytest.approx(sum(column) / 2)


def test_batches_join() -> None:
    family = CONFIGS["llava-clip"]
    model = build(family)
    rows = samples(family, images=(1, 2))
    batches = [collate(family, [row]) for row in rows]
    kernel = model.config.text_config._attn_implementation
    one, two = (
        generated_attention(model, batch, positions=positions_of(batch["input_ids"]), max_new_tokens=length)
        for batch, length in zip(batches, (NEW, NEW - 2), strict=True)
    )
    assert model.config.text_config._attn_implementation == kernel
    both = one.joined(two)
    assert both.to_token.shape == (2, 2, NEW - 1)
    assert [row["n"] for row in both.table()] == [2 * NEW - 4] * 2
    assert both.by_token()[0][-1] == pytest.approx(float(one.to_token[0, 0, -1]))


def test_what_cannot_be_looked_at() -> None:
    family = CONFIGS["llava-clip"]
    model = build(family)
    batch = collate(family, samples(family, images=(1,)))
    with pytest.raises(InputError, match=r"reads no token: tune one that does \(guard.pool=token\)"):
        generated_attention(model, batch)
    with pytest.raises(InputError, match="no sample has both"):
        generated_attention(model, batch, positions=torch.zeros_like(batch["input_ids"]))
    with pytest.raises(InputError, match="too short"):
        generated_attention(model, batch, positions=positions_of(batch["input_ids"]), max_new_tokens=1)


@pytest.mark.parametrize("make", FAMILIES.values(), ids=FAMILIES)
def test_the_meta_token_of_a_real_prompt(make: Any, tmp_path: Path) -> None:
    make(tmp_path / "m")
    model, processor = load_model(tmp_path / "m"), load_processor(tmp_path / "m")
    token = add_meta_token(model, processor)
    holisafe.attach_guard(model, pool="token", token_id=token)
    pictures = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue", "green")]
    found = ask_attention(model, processor, pictures, "what is it", max_new_tokens=4, batch_size=2)
    assert found.to_token.shape[:2] == (3, 2)
    assert all(0 <= row[field] <= 1 for row in found.table() for field in ("to_token", "to_image_mean"))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    llava(tmp_path / "m")
    model, processor = load_model(tmp_path / "m"), load_processor(tmp_path / "m")
    holisafe.attach_guard(model, pool="token", token_id=add_meta_token(model, processor))
    save_guarded(model, tmp_path / "g")
    processor.save_pretrained(tmp_path / "g")
    Image.new("RGB", (32, 32), "red").save(tmp_path / "red.png")
    words = ["guard", "attention", str(tmp_path / "red.png"), "--model", str(tmp_path / "g"), "--max-tokens", "4"]

    def run(*more: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as left:
            app([*words, *more])
        return int(left.value.code or 0), capsys.readouterr().out

    code, said = run("--json", "--out", str(tmp_path / "out"))
    assert code == 0
    table = json.loads(said)
    assert [list(row) for row in table] == [["layer", "to_token", "to_image_mean", "n"]] * 2
    lines = (tmp_path / "out" / "attention.csv").read_text().splitlines()
    assert lines[0] == "layer,to_token,to_image_mean,n"
    assert len(lines) == 3
    for name in ("layers", "tokens"):
        root = ElementTree.parse(tmp_path / "out" / f"attention_{name}.svg").getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
    code, said = run()
    assert code == 0
    assert "To an image token" in said


TABLE = [
    {"layer": 0, "to_token": 0.004, "to_image_mean": 0.001, "n": 8},
    {"layer": 1, "to_token": None, "to_image_mean": None, "n": 0},
    {"layer": 2, "to_token": 0.008, "to_image_mean": 0.002, "n": 8},
    {"layer": 3, "to_token": 0.006, "to_image_mean": 0.002, "n": 8},
]


def test_the_line_figure_places_each_layer() -> None:
    root = ElementTree.fromstring(attention_lines(TABLE, target="<token>", title="t", name="a"))
    traces = [node for node in root.iter("polyline") if "tone1" in str(node.get("class"))]
    places = [tuple(map(float, place.split(","))) for node in traces for place in str(node.get("points")).split()]
    assert len(traces) == 2, "layer 1 leaves a gap"
    assert [x for x, _ in places] == pytest.approx([52, 52 + 312 * 2 / 3, 364])
    assert [y for _, y in places] == pytest.approx([240 - 210 * value / 0.01 for value in (0.004, 0.008, 0.006)])
    assert "layer 1: <token> not measured" in str(root.findtext("desc"))
    assert "n=8" in str(root.findtext("desc"))


def test_the_heat_figure_shows_each_weight_once() -> None:
    root = ElementTree.fromstring(attention_heat([[0.1, 0.2], [0.4, None]], target="x", title="t", name="a"))
    cells = {node.findtext("title"): node for node in root.iter("rect") if node.get("class") == "hit"}
    assert {title: float(str(node.get("fill-opacity"))) for title, node in cells.items()} == {
        "layer 0, generated token 1: 10 %": 0.25,
        "layer 0, generated token 2: 20 %": 0.5,
        "layer 1, generated token 1: 40 %": 1.0,
    }
    below, above = (cells[f"layer {layer}, generated token 1: {said} %"] for layer, said in ((0, 10), (1, 40)))
    assert float(str(below.get("y"))) > float(str(above.get("y")))


@pytest.mark.parametrize("layers", [1, 4, 28, 80])
def test_figures_of_any_depth_stay_inside(layers: int) -> None:
    table = [{"layer": n, "to_token": 0.5, "to_image_mean": 0.1, "n": 1} for n in range(layers)]
    figures = [
        attention_lines(table, target="safety meta token", title="t", name="a"),
        attention_heat([[0.1] * 40] * layers, target="the safety meta token", title="t", name="b"),
    ]
    for svg in figures:
        root = ElementTree.fromstring(as_file(svg))
        width, height = map(float, str(root.get("viewBox")).split()[2:])
        for node in root.iter("{http://www.w3.org/2000/svg}text"):
            if node.get("x"):
                assert 0 <= float(str(node.get("x"))) <= width
                assert 0 <= float(str(node.get("y"))) <= height
        assert not math.isnan(width)
