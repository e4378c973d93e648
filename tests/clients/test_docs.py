"""Every `holisafe` command of docs/api_models.md runs, against the local server instead of the addresses named."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from api_server import ApiServer
from holisafe.clients.options import OPTIONS
from holisafe.records import Response
from holisafe.runs.folder import read_records

PAGE = (Path(__file__).parents[2] / "docs" / "api_models.md").read_text(encoding="utf-8")
HOLISAFE = [sys.executable, "-c", "from holisafe.cli import main; main()"]
COMMANDS = re.findall(r"^    holisafe (.*)$", PAGE, re.MULTILINE)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("docs")


@pytest.mark.parametrize("command", COMMANDS)
def test_command(command: str, desk: Path) -> None:
    with ApiServer() as server:
        words = shlex.split(re.sub(r"https?://[^,\s]+/v1", server.url, command))
        keys = {"OPENAI_API_KEY": "sk-of-nobody", "OPENROUTER_API_KEY": "sk-of-nobody"}
        done = subprocess.run(
            [*HOLISAFE, *words],
            cwd=desk,
            env={**os.environ, **keys, "OPENAI_BASE_URL": server.url},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        asked = sum(server.stats.completed.values())
    assert done.returncode == 0, done.stderr
    runs, probe = words[0] == "run" and "--dry-run" not in words, 2  # with and without a picture
    assert asked == (20 + probe if runs else 0)
    if asked:
        assert len(read_records(desk / words[words.index("--out") + 1], Response)) == 20


def test_every_option_is_explained() -> None:
    assert set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`\w+`.*?) \|", PAGE, re.MULTILINE)))) >= set(OPTIONS)
