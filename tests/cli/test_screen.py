"""No text from a file drives the terminal, whichever way it is printed."""

from __future__ import annotations

import io
import json
import sys
from typing import Any

import pytest
from rich.table import Table
from rich.text import Text

from holisafe.cli import screen as module
from holisafe.cli.progress import showing_progress
from holisafe.cli.screen import Visible, guarded, screen
from holisafe.visible import one_line, visible

FOREIGN = "a\x1b[31mred\x1b]0;title\x07\x9b2J \r\u202eevil\u2066\u200f [red]boo[/] :smile: \ud83d\x00z"
SHOWN = (
    "a\\u001b[31mred\\u001b]0;title\\u0007\\u009b2J \\r\\u202eevil\\u2066\\u200f [red]boo[/] :smile: \\ud83d\\u0000z"
)


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_what_moves_a_terminal_is_written_out() -> None:
    assert visible(FOREIGN) == SHOWN
    assert json.loads(f'"{visible(FOREIGN)}"') == FOREIGN  # in JSON it means the same
    assert visible("plain\n\ttext – ümläut 図 👩‍🔬 नि\u200dि") == "plain\n\ttext – ümläut 図 👩‍🔬 नि\u200dि"
    assert one_line("two\nlines\r\n\tand \x07") == "two lines   and \\u0007"


@pytest.mark.parametrize("make", [str, Text, lambda text: Text(text, style="bold")])
def test_tables_titles_and_lines(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "400")
    console = screen()
    table = Table(title=make(FOREIGN), caption=make(FOREIGN))
    table.add_column(make(FOREIGN))
    table.add_row(make(FOREIGN))
    console.print(table)
    console.print(make(FOREIGN))
    printed = terminal.getvalue()
    assert printed.count("[red]boo[/] :smile:") == (5 if make is str else 3)  # rich measured Text before it was shown
    for raw in ("\x1b[31m", "\x1b]0", "\x07", "\x9b", "\r", "\u202e", "\u2066", "\u200f", "\ud83d", "\x00"):
        assert raw not in printed


def test_our_own_colours_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    screen().print("word", style="bold")
    assert "\x1b[1mword" in sys.stdout.getvalue()  # type: ignore[attr-defined]


def test_plain_prints_on_both_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with guarded():
        print(FOREIGN)
        print(FOREIGN.replace("\r", ""), file=sys.stderr)
        sys.stderr.write("\r 50 %\x1b[A")  # as bars of libraries move
    assert out.getvalue() == SHOWN + "\n"
    assert err.getvalue() == SHOWN.replace("\\r", "") + "\n\r 50 %\x1b[A"
    assert (sys.stdout, sys.stderr) == (out, err)


def test_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "400")
    with showing_progress() as show:
        show(FOREIGN, 1, 2, FOREIGN)
    printed = terminal.getvalue()
    assert "[red]boo[/] :smile:" in printed
    for raw in ("\x1b[31mred", "\x1b]0", "\x07", "\u202e", "\ud83d"):
        assert raw not in printed


def test_all_else_is_the_streams_own() -> None:
    stream = Terminal()
    assert Visible(stream).isatty()
    assert Visible(stream).encoding == "utf-8"
    assert module.PIPED_WIDTH > 80
