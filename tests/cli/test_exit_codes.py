"""Failed calls are told and leave with 3, whatever command made them: every command is on a list here."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from api_server import ApiServer, problem
from guards.test_servers import logprobs, picture_of
from holisafe.cli import VERBS, _load, app

WITHOUT_CALLS = {
    "agreement", "calibrate list", "calibrate show", "compare", "data check", "data export", "data list", "demo",
    "doctor", "export", "guard attention", "guard convert", "guard predict", "guard thresholds", "import inspect",
    "import lmms-eval", "leaderboard", "mechanism", "report", "safeground", "score", "tune",
}  # fmt: skip
"""They ask nobody, or a model on this machine; what `guard predict` and `safeground` cannot read is tested there."""

ANSWERS_ITSELF = {"serve"}
"""What failed is in the status of every answer."""

RUN = "run table --root t.csv --split test --no-probe --judge string-match"
PAIRS = "guard pairs --data table:t.csv --model qguard/{api}"
READER = "reader=qguard/openai/m,reader.attempts=1,reader.base_url={url}"
CALLS = {
    "run": [f"{RUN} --target {{api}} --out new"],
    "judge": ["judge asked --judge guard/llama-guard/{api}"],
    "guard eval": [
        "guard eval --data i.csv --model qguard/{api}",
        "guard eval --data i.csv --model qguard/{api} --model llama-guard/{api}",
    ],
    "guard pairs": [
        f"{PAIRS} --split test",
        f"{PAIRS} --split test --threshold 0.4",
        f"{PAIRS} --split test --choose-on validation",
        f"{PAIRS} --split train --choose-on validation",
    ],
    "scan": ["scan pictures --guard qguard/{api} --out scanned"],
    "calibrate fit": [f"calibrate fit guarded,{READER} --target {{api}} --data table:t.csv --out g.safetensors"],
    "calibrate sweep": ["calibrate sweep s.yaml --out swept"],
}
"""Commands that ask models, each with command lines of which one call fails."""


def broken(body: dict[str, Any], _: str) -> Any:
    """Whatever shows the blue picture is refused; what is asked without it is answered by `says`."""
    parts = [part for turn in body["messages"] if isinstance(turn["content"], list) for part in turn["content"]]
    seen = [picture_of(part).getpixel((0, 0)) for part in parts if part["type"] == "image_url"]
    return problem(400, "no such colour") if (0, 0, 255) in seen else None


def says(body: dict[str, Any], content: str) -> dict[str, Any]:
    if body.get("logprobs"):
        return logprobs({"Yes": 0.9, "No": 0.1} if "harm" in content else {"Yes": 0.2, "No": 0.8})
    return {"message": {"role": "assistant", "content": "safe"}, "finish_reason": "stop"}


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer(answer=says, respond=broken) as served:
        yield served


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tables of pairs and of images of which one is blue."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")  # a reason is told in one line
    (pictures := tmp_path / "pictures").mkdir()
    for colour in ("red", "blue", "green"):
        Image.new("RGB", (8, 8), colour).save(f"{colour}.png")
        Image.new("RGB", (8, 8), colour).save(pictures / f"{colour}.png")
    pairs = [("id", "query", "image", "combination", "split")]
    for split, count in (("train", 8), ("validation", 48), ("test", 12)):
        for n in range(count):
            image = "blue.png" if n == 3 and split != "train" else "red.png"
            pairs.append((f"{split}{n}", ("how", "harm")[n % 2], image, ("SSS", "SUU")[n % 2], split))
    labelled = [("image", "label"), ("red.png", "safe"), ("blue.png", "unsafe"), ("green.png", "unsafe")]
    for name, rows in (("t.csv", pairs), ("i.csv", labelled)):
        with Path(name).open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    return tmp_path


def leave(line: str) -> int:
    with pytest.raises(SystemExit) as left:
        app(line.split())
    return int(left.value.code or 0)


def test_every_command_is_on_one_of_the_lists() -> None:
    commands = []
    for verb in VERBS:
        group = getattr(_load(verb), "commands", {})
        commands += [f"{verb} {name}" for name in group] or [verb]
    assert sorted(commands) == sorted([*WITHOUT_CALLS, *ANSWERS_ITSELF, *CALLS])


@pytest.mark.parametrize(("command", "number"), [(name, n) for name, lines in CALLS.items() for n in range(len(lines))])
def test_a_failed_call_is_counted_and_leaves_with_3(
    desk: Path, server: ApiServer, capfd: pytest.CaptureFixture[str], command: str, number: int
) -> None:
    told = {"url": server.url, "api": f"openai/m,attempts=1,base_url={server.url}"}
    if command == "judge":
        with ApiServer() as answering:
            assert leave(f"{RUN} --out asked --target openai/m,base_url={answering.url}") == 0
    if command == "calibrate sweep":
        (desk / "s.yaml").write_text(
            f"target: {told['api']}\nsafety: {{benchmark: table, root: t.csv, choose: validation, report: test}}\n"
            "methods: [{method: reminder, grid: {wording: [brief]}}]\n"
        )
    capfd.readouterr()
    assert leave(CALLS[command][number].format(**told)) == 3
    said = "".join(capfd.readouterr())
    assert "failed" in said or "could not be read" in said
    assert "again" in said
    assert "no such colour" in said or command in ("calibrate fit", "calibrate sweep", "scan")
