"""Real models from packages, served in an environment of their own by `make test-real`; tests talk to them by HTTP."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PYTHON = HERE.parents[1] / ".venv-real" / "bin" / "python"
HOLISAFE = [sys.executable, "-c", "from holisafe.cli import main; main()"]

Run = Callable[..., subprocess.CompletedProcess[str]]


@dataclass
class Served:
    """A server in a process of its own, its address, and the file of what it prints."""

    url: str
    log: Path

    def asked(self) -> int:
        """How many calls the server has seen, by its own words: those it answered, and those it refused."""
        said = self.log.read_text(errors="replace")
        return said.count("| processing task") + said.count("got exception")


def serve(script: str, log: Path) -> Iterator[Served]:
    if not PYTHON.exists():
        pytest.fail(f"{PYTHON} is missing: make test-real sets it up")
    with log.open("w") as out:
        process = subprocess.Popen([PYTHON, HERE / script], stdout=out, stderr=subprocess.STDOUT)
    try:
        until = time.monotonic() + 120
        while not (address := re.search(r"serving at (\S+/v1)\n", log.read_text(errors="replace"))):
            assert process.poll() is None, log.read_text(errors="replace")
            assert time.monotonic() < until, "the server does not come up"
            time.sleep(0.1)
        yield Served(address[1], log)
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    yield from serve("smollm2_server.py", tmp_path_factory.mktemp("smollm2") / "log.txt")


@pytest.fixture(scope="session")
def ocr(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    yield from serve("ocr_server.py", tmp_path_factory.mktemp("ocr") / "log.txt")


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """Where commands are typed."""
    return tmp_path


@pytest.fixture
def holisafe(desk: Path) -> Run:
    def run(*words: object) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
        return subprocess.run(
            [*HOLISAFE, *map(str, words)],
            cwd=desk,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run
