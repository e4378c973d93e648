"""Help as it is read on a terminal of 80 columns and 24 lines."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import pytest

from holisafe import cli
from holisafe.cli.command import RARE

LINES, COLUMNS = 24, 80
LONGER = {"judge": 28, "guard pairs": 27}
"""Verbs whose common options do not fit a screen, and how many lines they take."""


def commands() -> Iterator[str]:
    for name in cli.VERBS:
        loaded = cli._load(name)
        yield from (f"{name} {one}" for one in loaded.commands) if hasattr(loaded, "commands") else [name]


def shown(words: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    with pytest.raises(SystemExit) as left:
        cli.app([*words.split(), "--help"])
    assert not left.value.code
    return capsys.readouterr().out.splitlines()


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(COLUMNS))


@pytest.mark.parametrize("words", ["", *(name for name in cli.VERBS if hasattr(cli._load(name), "commands"))])
def test_what_there_is_fits_a_screen(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(words, capsys)
    assert len(lines) <= LINES
    assert max(map(len, lines)) <= COLUMNS
    assert not [line for line in lines[2:] if line.endswith(("...", "/guard_thresholds", " ."))], "cut before its end"


@pytest.mark.parametrize("words", list(commands()))
def test_help_begins_with_an_example_and_fits_a_screen(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(words, capsys)
    assert max(map(len, lines)) <= COLUMNS
    assert lines[0].startswith(f"holisafe {words}")
    joined = "\n".join(lines).replace("\\\n", "").splitlines()
    for example in (line for line in joined if line.startswith("holisafe ")):
        name, *rest = shlex.split(example)[1:]
        parse(name, rest)
    common = lines[: lines.index(f"{RARE}:")] if f"{RARE}:" in lines else lines
    assert len("\n".join(common).rstrip().splitlines()) <= LONGER.get(words, LINES)
    assert len(lines) <= 2 * LINES


def parse(name: str, words: list[str]) -> None:
    """Raise where an example would be refused for its words."""
    command = cli._load(name)
    if hasattr(command, "commands"):
        command, words = command.commands[words[0]], words[1:]
    command.make_context(name, words)
