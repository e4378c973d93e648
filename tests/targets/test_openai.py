"""`openai/MODEL` through `holisafe run`: resumed after kill -9 and Ctrl-C without a lost or a double call."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from api_server import ApiServer, Faults, problem
from holisafe.clients.options import KEY
from holisafe.errors import InputError
from holisafe.records import GenerationSettings, Response
from holisafe.runs.folder import read_manifest, read_records
from holisafe.targets import open_target
from stored_run import contents
from toy_plugin import environment, load_benchmark

HOLISAFE = [sys.executable, "-c", "from holisafe.cli import main; main()"]
SAMPLES = len(load_benchmark(None).only("test").samples)
SECRET = "sk-8f2a-not-to-be-seen"
AT_ONCE = 6
SETTINGS = GenerationSettings(seed=4)


def local(**options: str) -> str:
    written = {"base_url": "http://127.0.0.1:9/v1", **options}
    return "openai/org/model-7b," + ",".join(f"{name}={value}" for name, value in written.items())


def test_name_and_description_hold_what_answers_depend_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY, raising=False)
    target = open_target(local(), SETTINGS)
    assert target.name == "openai/org/model-7b"
    assert target.describe() == {
        "kind": "openai",
        "model": "org/model-7b",
        "base_url": "http://127.0.0.1:9/v1",
        "generation": {
            "max_new_tokens": 512,
            "temperature": 0.0,
            "seed": 4,
            "system": None,
            "reasoning_tokens": None,
            "reasoning_effort": None,
        },
        "image_format": "own",
        "max_side": None,
        "detail": None,
    }
    assert target.capabilities.images_per_request is None
    assert json.loads(json.dumps(target.describe())) == target.describe()


def test_how_it_is_called_changes_nothing_and_how_it_answers_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", SECRET)
    plain = open_target(local(), SETTINGS).describe()
    free = {"key": "MY_KEY", "max_in_flight": "3", "timeout": "7", "attempts": "2"}
    assert open_target(local(**free, input_price="1", output_price="2"), SETTINGS).describe() == plain
    for name, value in (
        ("max_tokens", "9"),
        ("temperature", "none"),
        ("reasoning_tokens", "9"),
        ("reasoning_effort", "low"),
        ("max_side", "64"),
        ("image_format", "jpeg"),
        ("detail", "low"),
    ):
        assert open_target(local(**{name: value}), SETTINGS).describe() != plain, name


def test_an_unknown_option_and_a_missing_key_are_the_users_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY, raising=False)
    with pytest.raises(InputError, match="no option 'top_p'; known: base_url, key"):
        open_target(local(top_p="1"), SETTINGS)
    with pytest.raises(InputError, match=KEY):
        open_target("openai/gpt-4o,base_url=https://api.openai.com/v1", SETTINGS)


class Desk:
    """A folder where `holisafe run` asks a local server about the toy benchmark."""

    def __init__(self, folder: Path, server: ApiServer) -> None:
        self.folder, self.server = folder, server
        self.environment = {**environment(folder / "site"), "MY_KEY": SECRET}

    def start(self, out: str, **options: str) -> subprocess.Popen[str]:
        written = {"base_url": self.server.url, "key": "MY_KEY", "max_in_flight": str(AT_ONCE), **options}
        target = "openai/fake," + ",".join(f"{name}={value}" for name, value in written.items())
        words = ["run", "toy", "--target", target, "--judge", "string-match", "--out", out, "--no-probe"]
        return subprocess.Popen(
            [*HOLISAFE, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env=self.environment,
        )

    def run(self, out: str, **options: str) -> tuple[int, str]:
        """The exit code, and all that was printed."""
        process = self.start(out, **options)
        printed = "".join(process.communicate(timeout=120))
        return process.returncode, printed

    def contents(self, out: str) -> dict[str, Any]:
        return contents(self.folder / out)

    def completed(self) -> int:
        return sum(self.server.stats.completed.values())


def wait_until(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while not happened() and process.poll() is None:
        time.sleep(0.001)


def test_ten_kills_cost_at_most_what_was_in_flight(tmp_path: Path) -> None:
    rng = random.Random(5)
    faults = Faults(rate=0.2, seed=2, kinds=("500", "truncated", "no-choices"), most=2)
    with ApiServer(faults, delay=0.02) as server:
        desk = Desk(tmp_path, server)
        assert desk.run("calm")[0] == 0
        assert desk.completed() == SAMPLES
        server.stats.completed.clear()
        server.stats.attempts.clear()
        kills = 0
        while kills < 10:
            before = desk.completed()
            process = desk.start("killed")
            more = rng.randrange(7)
            wait_until(lambda until=before + more: desk.completed() >= until, process)  # type: ignore[misc]
            time.sleep(rng.random() * 0.02)
            assert process.poll() is None, process.communicate()
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
        assert 0 < len(read_records(tmp_path / "killed", Response)) < SAMPLES
        assert desk.run("killed")[0] == 0
        assert desk.completed() - SAMPLES <= kills * AT_ONCE
    assert desk.contents("killed") == desk.contents("calm")


def test_ctrl_c_keeps_what_is_in_flight_and_a_moved_server_goes_on(tmp_path: Path) -> None:
    with ApiServer(delay=0.1) as server:
        desk = Desk(tmp_path, server)
        process = desk.start("run")
        wait_until(lambda: desk.completed() >= 3, process)
        process.send_signal(signal.SIGINT)
        printed = "".join(process.communicate(timeout=60))
        assert process.returncode == 3
        assert "the same command again goes on" in printed
        assert "unclosed" not in printed.lower()
        stored = read_records(tmp_path / "run", Response)
        assert len(stored) == desk.completed() < SAMPLES, "nothing that came back was lost"
    with ApiServer() as moved:
        desk.server = moved
        assert desk.run("run")[0] == 0
        assert desk.completed() == SAMPLES - len(stored)


def test_the_key_is_in_no_file_and_on_no_screen(tmp_path: Path) -> None:
    def echo(*_: object) -> web.Response | None:
        draw = len(server.stats.arrivals) % 3
        return None if draw == 0 else problem(403 - draw, f"Authorization: Bearer {SECRET} is wrong")

    with ApiServer(respond=echo) as server:
        desk = Desk(tmp_path, server)
        code, printed = desk.run("run")
        assert {headers["Authorization"] for headers in server.stats.headers} == {f"Bearer {SECRET}"}
    assert code == 3
    errors = {response.error for response in read_records(tmp_path / "run", Response).values() if response.error}
    assert any("[key]" in error for error in errors)
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert len(files) >= 5
    assert SECRET not in printed + "".join(path.read_text() for path in files)
    manifest = read_manifest(tmp_path / "run")
    assert "MY_KEY" not in json.dumps(manifest["target"])
    written = desk.start("other", key=SECRET)
    assert SECRET not in "".join(written.communicate(timeout=60))
    assert (written.returncode, (tmp_path / "other").exists()) == (2, False)
    assert "MY_KEY" not in os.environ
