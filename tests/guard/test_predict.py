"""`holisafe guard predict`: probabilities against the model's own forward, one pass a batch, and its refusals."""

from __future__ import annotations

import json
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import holisafe
from holisafe.cli import app
from holisafe.errors import InputError
from holisafe.guard import load_model, load_processor, save_guarded
from holisafe.guard.families import text_decoder
from holisafe.guard.predict import each_or_fault, predict, read_logits
from holisafe.images import open_image
from tiny_models import llava, qwen2_5_vl

from .checks import count_calls


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return guard(llava(tmp_path_factory.mktemp("m") / "llava", tower="swin"))


def guard(folder: Path) -> Path:
    """Attach a decided guard to the model of a folder, in place."""
    torch.manual_seed(0)
    guarded = holisafe.attach_guard(load_model(folder))
    for parameter in guarded.img_safety_head.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    save_guarded(guarded, folder)
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder, draw = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    paths = [folder / f"{number}.png" for number in range(5)]
    for number, path in enumerate(paths):
        Image.fromarray(draw.integers(0, 60 + 45 * number, (40, 30 + number, 3), dtype=np.uint8)).save(path)
    return paths


def run(*arguments: Any) -> int:
    with pytest.raises(SystemExit) as stop:
        app([str(argument) for argument in ("guard", "predict", *arguments)])
    code = stop.value.code
    assert isinstance(code, int)
    return code


@pytest.mark.parametrize("family", [llava, qwen2_5_vl])
def test_equals_one_image_at_a_time(family: Any, tmp_path: Path, pictures: list[Path]) -> None:
    folder = guard(family(tmp_path / "m"))
    guarded, processor = load_model(folder), load_processor(folder)
    images = [open_image(path) for path in pictures]
    last: list[int] = []
    guarded.lm_head.register_forward_hook(lambda *_: last.append(1))
    readings, calls = count_calls(
        text_decoder(guarded).layers[-1], lambda: list(predict(guarded, processor, iter(images), batch_size=2))
    )
    assert calls == 3, "five images in batches of two"
    assert not last, "no words are looked for"
    turns = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "another question"}]}]
    prompt = processor.apply_chat_template(turns, add_generation_prompt=True)
    for image, reading in zip(images, readings, strict=True):
        with torch.no_grad():
            alone = guarded(**processor(text=[prompt], images=[image], return_tensors="pt")).img_safety_probs[0]
        assert list(reading.probabilities) == list(holisafe.taxonomy.IMAGE_LABELS)
        assert list(reading.probabilities.values()) == pytest.approx(alone.tolist(), abs=1e-5)
    assert len({reading.label for reading in readings} | {str(reading.unsafe) for reading in readings}) > 2


def test_a_processor_that_shows_no_image(
    model: Path, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guarded, processor, image = load_model(model), load_processor(model), open_image(pictures[0])
    processor.chat_template = "{% for message in messages %}{{ message['content'][1]['text'] }}{% endfor %}"
    with pytest.raises(InputError, match="processor"):
        list(predict(guarded, processor, [image]))
    words = processor.tokenizer(["what"], return_tensors="pt")
    monkeypatch.setattr("holisafe.guard.conversation.encode", lambda *_, **__: dict(words))
    with pytest.raises(InputError, match="no image token"):
        list(predict(guarded, processor, [image]))


def test_json_lines(model: Path, pictures: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*pictures, "--model", model, "--json", "--batch-size", 2) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["image"] for line in lines] == [str(path) for path in pictures]
    for line in lines:
        assert sum(line["probabilities"].values()) == pytest.approx(1, abs=1e-4)
        assert line["label"] == max(line["probabilities"], key=lambda label: line["probabilities"][label])
        assert line["unsafe"] == pytest.approx(1 - line["probabilities"]["safe"], abs=2e-6)
    assert run(pictures[0], "--model", model, "--json", "--top", 2) == 0
    (line,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert line["probabilities"] == pytest.approx(dict(list(lines[0]["probabilities"].items())[:2]), abs=2e-5)


def test_table(model: Path, pictures: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*pictures[:2], "--model", model, "--json") == 0
    likeliest = [json.loads(line)["label"] for line in capsys.readouterr().out.splitlines()]
    assert run(*pictures[:2], "--model", model, "--top", 1) == 0
    table = capsys.readouterr().out
    for label in likeliest:
        assert label in table
    assert table.count("%") == 2


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\x00\x00\x00"
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize("fault", ["missing", "corrupt", "cut short", "huge", "folder"])
def test_bad_image(
    fault: str, tmp_path: Path, model: Path, pictures: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.png"
    if fault == "corrupt":
        bad.write_text("no picture")
    elif fault == "cut short":
        bad.write_bytes(pictures[0].read_bytes()[:-200])
    elif fault == "huge":
        bad.write_bytes(png_header(25_000, 20_000))
    elif fault == "folder":
        bad.mkdir()
    assert run(bad, "--model", model) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert str(bad) in said.err


def test_bad_model(tmp_path: Path, model: Path, pictures: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    unguarded = llava(tmp_path / "unguarded")
    without_processor = tmp_path / "bare"
    without_processor.mkdir()
    for name in ("config.json", "model.safetensors"):
        (without_processor / name).write_bytes((model / name).read_bytes())
    for folder, reason in (
        (unguarded, "has no guard"),
        (without_processor, "holds no processor"),
        (tmp_path / "nowhere", "no such model folder"),
    ):
        capsys.readouterr()
        assert run(pictures[0], "--model", folder) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert len(said.err.splitlines()) == 1
        assert str(folder) in said.err
        assert reason in said.err
    assert run(pictures[0]) == 2
    assert "--model" in capsys.readouterr().err


def test_the_question_is_each_images_own(model: Path, pictures: list[Path]) -> None:
    """Batches mix questions of different length; the guard here pools images before the text, so none changes it."""
    guarded, processor = load_model(model), load_processor(model)
    images = [open_image(path) for path in pictures[:3]]
    seen: list[str] = []
    guarded.register_forward_pre_hook(
        lambda _module, _args, given: seen.extend(processor.tokenizer.batch_decode(given["input_ids"])),
        with_kwargs=True,
    )
    texts = ["red ?", "which colour is the blue square ?", "is it a picture"]
    asked = list(read_logits(guarded, processor, images, texts=iter(texts), batch_size=2))
    assert all(text in prompt for text, prompt in zip(texts, seen, strict=True))
    plain = list(read_logits(guarded, processor, images))
    assert np.abs(np.array(asked) - np.array(plain)).max() < 1e-4


def test_temperature_divides_the_logits(model: Path, pictures: list[Path]) -> None:
    guarded, processor, images = load_model(model), load_processor(model), [open_image(pictures[0])]
    (logits,) = read_logits(guarded, processor, images)
    (warm,) = predict(guarded, processor, images, temperature=2.5)
    expected = np.exp(np.array(logits) / 2.5) / np.exp(np.array(logits) / 2.5).sum()
    assert list(warm.probabilities.values()) == pytest.approx(expected.tolist(), abs=1e-9)


def test_one_bad_item_harms_no_other() -> None:
    calls = []

    def read(items: Any) -> list[str]:
        calls.append(list(items))
        if 3 in items:
            raise RuntimeError("three is too much\nfor it")
        return [f"read {item}" for item in items]

    def opened(number: int) -> Any:
        def opener() -> int:
            if number == 1:
                raise InputError("no such image", where="1.png")
            return number

        return opener

    found = list(each_or_fault(read, (opened(n) for n in range(7)), 4))
    assert [str(f) if isinstance(f, InputError) else f for f in found] == [
        "read 0", "1.png: no such image", "read 2", "cannot be read (three is too much)", "read 4", "read 5", "read 6",
    ]  # fmt: skip
    assert calls == [[0, 2, 3], [0], [2], [3], [4, 5, 6]]


def test_help_loads_no_torch() -> None:
    code = "import sys\nfrom holisafe.cli import guard\nprint('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
