"""What a shell offers at Tab: asked of a real bash, and of the words that zsh and fish ask by."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def shell(tmp_path: Path) -> dict[str, str]:
    command = tmp_path / "holisafe"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m holisafe "$@"\n')
    command.chmod(0o755)
    return {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}


def offered(shell: dict[str, str], line: str) -> list[str]:
    """What bash would offer for the last word of a line."""
    words = line.split(" ")
    script = f"""eval "$(_HOLISAFE_COMPLETE=source_bash holisafe)"
    COMP_WORDS=({" ".join(f"'{word}'" for word in words)}); COMP_CWORD={len(words) - 1}
    _holisafe_completion holisafe; printf '%s\\n' "${{COMPREPLY[@]}}"; complete -p holisafe"""
    done = subprocess.run(["bash", "-c", script], env=shell, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    *words, registered = done.stdout.splitlines()
    assert registered == "complete -o default -F _holisafe_completion holisafe"
    return [word for word in words if word]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("holisafe ru", ["run"]),
        ("holisafe data ", ["list", "export", "check"]),
        ("holisafe run --fail", ["--fail-if"]),
        ("holisafe run figs", ["figstep", "figstep-tiny"]),
        ("holisafe run figstep --judge string", ["string-match"]),
        ("holisafe data check pictosafe-ut", ["pictosafe-utility", "pictosafe-utility-unseen"]),
        ("holisafe report ru", []),  # files, which the shell knows
    ],
)
def test_bash_completes_verbs_options_and_names(shell: dict[str, str], line: str, words: list[str]) -> None:
    assert offered(shell, line) == words


def test_zsh_and_fish_have_their_scripts(shell: dict[str, str]) -> None:
    for name, said in (("zsh", "compdef _holisafe_completion holisafe"), ("fish", "complete --command holisafe")):
        asked = {**shell, "_HOLISAFE_COMPLETE": f"source_{name}"}
        assert said in subprocess.run(["holisafe"], env=asked, capture_output=True, text=True, check=True).stdout
