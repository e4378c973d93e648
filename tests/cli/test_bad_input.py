"""What a user can get wrong: each gets one line that names file, row and field, exit code 2, nothing half-written."""

from __future__ import annotations

import json
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import toy_plugin  # noqa: F401  (registers the toy target)
from holisafe import cli

RECORDS = "holisafe_bench.json"


def release(folder: Path) -> Path:
    """A benchmark folder in the published form: three pairs, two images."""
    (folder / "images" / "hate").mkdir(parents=True)
    for name in ("a", "b"):
        Image.effect_noise((64, 64), 50).convert("RGB").save(folder / "images" / "hate" / f"{name}.png")
    records = [
        {
            "id": number,
            "image": f"hate/{image}.png",
            "query": "What is this?",
            "category": "hate",
            "subcategory": "race",
            "type": kind,
            "image_safe": kind[0] == "S",
            "image_safety_label": 0 if kind[0] == "S" else 2,
        }
        for number, (image, kind) in enumerate([("a", "SSS"), ("a", "SSU"), ("b", "USU")])
    ]
    (folder / RECORDS).write_text(json.dumps(records))
    return folder


def image(root: Path) -> Path:
    return root / "images" / "hate" / "b.png"


def rewrite(row: int, **fields: Any) -> Callable[[Path], None]:
    """A fault made by changing one record; None takes a field away."""

    def make(root: Path) -> None:
        records = json.loads((root / RECORDS).read_text())
        changed = {**records[row], **fields}
        records[row] = {name: value for name, value in changed.items() if value is not None}
        (root / RECORDS).write_text(json.dumps(records))

    return make


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def huge(root: Path) -> None:
    """A PNG file of a few bytes that claims 500 megapixels."""
    header = struct.pack(">IIBBBBB", 25_000, 20_000, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 9)), (b"IEND", b""))
    image(root).write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks)
    )


def link_out(root: Path) -> None:
    outside = root.parent / "outside.png"
    shutil.move(image(root), outside)
    image(root).symlink_to(outside)


def cut(path: Callable[[Path], Path]) -> Callable[[Path], None]:
    """A fault made by keeping the first half of a file."""

    def make(root: Path) -> None:
        content = path(root).read_bytes()
        path(root).write_bytes(content[: len(content) // 2])

    return make


FAULTS: dict[str, tuple[Callable[[Path], Any], list[str]]] = {
    "missing image": (lambda root: image(root).unlink(), ["row 3", "'image'", "b.png", "no such image"]),
    "corrupt image": (
        lambda root: image(root).write_bytes(b"no picture"),
        ["row 3", "'image'", "b.png", "not an image"],
    ),
    "image cut short": (cut(image), ["row 3", "'image'", "b.png", "broken image"]),
    "500 megapixels": (huge, ["row 3", "'image'", "b.png", "100,000,000"]),
    "folder for an image": (lambda root: as_folder(image(root)), ["row 3", "'image'", "not a file"]),
    "unknown label": (rewrite(1, image_safety_label="danger"), ["row 2", "'image_safety_label'", "danger"]),
    "unknown label number": (rewrite(1, image_safety_label=20), ["row 2", "'image_safety_label'", "20"]),
    "unknown type": (rewrite(2, type="UUS"), ["row 3", "'type'", "UUS"]),
    "unknown category": (rewrite(0, category="fun"), ["row 1", "'category'", "fun"]),
    "duplicate id": (rewrite(2, id=0), ["row 3", "'id'", "duplicate id '0'"]),
    "missing field": (rewrite(1, query=None), ["row 2", "'query'", "missing"]),
    "path that climbs": (rewrite(1, image="../../secret.png"), ["row 2", "'image'", "outside"]),
    "absolute path": (rewrite(1, image="/etc/passwd"), ["row 2", "'image'", "outside"]),
    "link that leads out": (link_out, ["row 3", "'image'", "outside", "link"]),
    "control characters": (rewrite(1, type="S\nS\x1b[2JS"), ["row 2", "'type'"]),
    "half-written JSON": (cut(lambda root: root / RECORDS), ["not JSON"]),
    "empty JSON": (lambda root: (root / RECORDS).write_text("[]"), ["holds no rows"]),
    "not UTF-8": (lambda root: (root / RECORDS).write_bytes(b'[{"id": "\xff"}]'), ["row 1", "'id'", "not UTF-8"]),
    "no records at all": (lambda root: (root / RECORDS).unlink(), ["no such file"]),
    "records that are a folder": (lambda root: as_folder(root / RECORDS), ["not a file"]),
}


def complaint(capfd: pytest.CaptureFixture[str], *args: str) -> str:
    """The one line that a command line which cannot work leaves on stderr."""
    with pytest.raises(SystemExit) as left:
        cli.app(list(args))
    out, err = capfd.readouterr()
    assert left.value.code == 2
    assert out == ""
    assert err.startswith("holisafe: ")
    assert err.count("\n") == 1
    assert "\x1b" not in err
    return err


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_benchmark(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    root, (spoil, tokens) = release(tmp_path / "data"), FAULTS[name]
    spoil(root)
    out, calls = tmp_path / "run", tmp_path / "calls.log"
    judged = ("--target", f"toy/a,log={calls}", "--judge", "string-match", "--out", str(out))
    said = complaint(capfd, "run", "holisafe-bench", "--root", str(root), *judged)
    for token in [RECORDS, *tokens]:
        assert token in said
    assert not out.exists()
    assert not calls.exists()


def test_the_same_folder_without_a_fault_runs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    root, out = release(tmp_path / "data"), tmp_path / "run"
    with pytest.raises(SystemExit) as left:
        cli.app(["run", "holisafe-bench", "--root", str(root), *WORDS[:-1], str(out)])
    assert left.value.code == 0
    assert json.loads((out / "scores.json").read_text())["responses"]["n"] == 3


TABLES = {
    "empty CSV": (".csv", "", []),
    "CSV of a header alone": (".csv", "id,response\n", []),
    "CSV without the column": (".csv", "id,answer\n1,No.\n", ["row 1", "response"]),
    "CSV with a short row": (".csv", "id,response\n1,No.\n2\n", ["row 2"]),
    "duplicate id": (".csv", "id,response\n1,No.\n1,Yes.\n", ["row 2", "'id'", "duplicate id '1'"]),
    "not UTF-8": (".csv", b"id,response\n1,\xff\n", ["UTF-8"]),
    "half-written line": (".jsonl", '{"id": "1", "response": "No."}\n{"id": "2", "resp', ["row 2", "not JSON"]),
    "empty JSONL": (".jsonl", "", []),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_faulty_file_of_responses(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    suffix, content, tokens = TABLES[name]
    file, out = tmp_path / f"answers{suffix}", tmp_path / "run"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    said = complaint(capfd, "run", "toy", "--target", f"replay/{file}", "--judge", "string-match", "--out", str(out))
    for token in [file.name, *tokens]:
        assert token in said
    assert not out.exists()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny_models import llava

    return llava(tmp_path_factory.mktemp("model"))


def without(*patterns: str) -> Callable[[Path], None]:
    """A fault made by deleting files."""

    def make(folder: Path) -> None:
        for pattern in patterns:
            for file in folder.glob(pattern):
                file.unlink()

    return make


def only_a_pickle(folder: Path) -> None:
    without("*.safetensors*")(folder)
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch pickled'\ntR.")


MODELS: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "no processor": (without("*processor*", "*tokenizer*", "*template*", "special_tokens*"), ["processor"]),
    "only a pickle": (only_a_pickle, ["safetensors", "pytorch_model.bin is a pickle"]),
    "no weights": (without("*.safetensors*"), ["model.safetensors is missing"]),
    "no config": (without("config.json"), ["config.json is missing"]),
    "half a config": (cut(lambda folder: folder / "config.json"), ["config.json", "not JSON"]),
    "half the weights": (cut(lambda folder: folder / "model.safetensors"), ["broken safetensors file"]),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_faulty_model_folder(name: str, model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder, out, (spoil, tokens) = tmp_path / "model", tmp_path / "run", MODELS[name]
    shutil.copytree(model, folder)
    spoil(folder)
    said = complaint(capfd, "run", "toy", "--target", f"hf/{folder}", "--judge", "string-match", "--out", str(out))
    for token in [str(folder), *tokens]:
        assert token in said
    assert not out.exists()
    assert not Path("pickled").exists()


WORDS = ["--target", "toy/a", "--judge", "string-match", "--out", "run"]
COMMANDS: dict[str, tuple[list[str], str]] = {
    "benchmark": (["run", "toi", *WORDS], "no benchmark is called 'toi'; did you mean 'toy'?"),
    "split": (["run", "toy", "--split", "dev", *WORDS], "toy has no split 'dev'; it has: test, train"),
    "no root": (["run", "holisafe-bench", *WORDS], "--root"),
    "root that is not there": (["run", "holisafe-bench", "--root", "nowhere", *WORDS], "nowhere"),
    "target": (["run", "toy", *WORDS[2:], "--target", "tyo/a"], "no target is called 'tyo'; did you mean 'toy'?"),
    "target without name": (["run", "toy", *WORDS[2:], "--target", "toy"], "is not written KIND/NAME"),
    "judge": (["run", "toy", *WORDS[:2], *WORDS[4:], "--judge", "strong-match"], "did you mean 'string-match'?"),
    "judge mode": (["run", "toy", *WORDS[:2], *WORDS[4:], "--judge", "string-match:loud"], "loud"),
    "out that is a file": (["run", "toy", *WORDS[:-1], "file"], "file: is a file, not a run folder"),
    "out that is something else": (["run", "toy", *WORDS[:-1], "."], ".: the folder is not empty and holds no run"),
    "report of nothing": (["report", "nowhere"], "nowhere"),
    "score of no table": (["score", "file"], "file"),
    "judge of no table": (
        ["judge", "file", "--judge", "string-match", "--response-column", "text", "--out", "out.csv"],
        "file",
    ),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_name_that_leads_nowhere(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    args, says = COMMANDS[name]
    assert says in complaint(capfd, *args)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "mine"
